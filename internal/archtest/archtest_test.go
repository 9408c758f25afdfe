package archtest

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestImports(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command in PATH: it lists the imports")
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			pkgs, err := list(root(t), arch)
			if err != nil {
				t.Fatal(err)
			}
			if len(pkgs) < 10 {
				t.Fatalf("go list found %d packages", len(pkgs))
			}
			report(t, merlon.check(pkgs))
		})
	}
}

func TestGoFiles(t *testing.T) {
	files := goFiles(t)
	if len(files) < 20 {
		t.Fatalf("found %d Go files", len(files))
	}
	for _, f := range files {
		report(t, checkSource(f))
	}
	report(t, checkDocs(files))
	report(t, checkContracts(slices.DeleteFunc(files, func(s source) bool {
		return path.Dir(s.path) != "internal/contract"
	})))
}

func TestBPFFiles(t *testing.T) {
	paths := tree(t)
	n := 0
	for _, p := range paths {
		switch path.Ext(p) {
		case ".c", ".h":
			report(t, checkC(p, read(t, p)))
		case ".o":
			n++
			b := read(t, p)
			report(t, checkObject(p, bytes.NewReader(b)))
			if r := root(t); bytes.Contains(b, []byte(r+"/")) {
				t.Errorf("%s: holds the name of the folder it was built in, %s", p, r)
			}
		}
	}
	if n == 0 {
		t.Error("found no BPF object")
	}
	report(t, checkTargets(paths))
}

func report(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}

// root returns the root of the tree.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Skip("needs the source tree around it")
	}
	return dir
}

// tree returns the paths of all files of the tree, from its root.
func tree(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := fs.WalkDir(os.DirFS(root(t)), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || p == "build") {
				return fs.SkipDir
			}
			return nil
		}
		paths = append(paths, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func goFiles(t *testing.T) []source {
	t.Helper()
	var files []source
	for _, p := range tree(t) {
		if path.Ext(p) != ".go" {
			continue
		}
		s, err := parse(p, read(t, p))
		if err != nil {
			t.Error(err)
			continue
		}
		files = append(files, s)
	}
	return files
}

func read(t *testing.T, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), p))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
