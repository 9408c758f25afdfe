package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// pkg is one package of the module, as `go list -json` tells it.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// list returns the module's packages as the go command sees them for goarch.
func list(root, goarch string) ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("decode package list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// check returns every import of pkgs that breaks the law.
func (l *law) check(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		dir, ok := l.own(p.ImportPath)
		if !ok {
			continue
		}
		from, ok := l.find(dir)
		if !ok {
			bad = append(bad, dir+": not in the table of layers: decide on its layer in internal/archtest")
			continue
		}
		for _, imp := range p.Imports {
			bad = l.add(bad, dir, from, imp, false)
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			bad = l.add(bad, dir, from, imp, true)
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}

func (l *law) add(bad []string, dir string, from place, imp string, test bool) []string {
	if why := l.refuse(dir, from, imp, test); why != "" {
		what := dir
		if test {
			what += " (test)"
		}
		bad = append(bad, fmt.Sprintf("%s imports %s: %s", what, imp, why))
	}
	return bad
}

// refuse tells why the package in dir may not import imp; "" when it may.
func (l *law) refuse(dir string, from place, imp string, test bool) string {
	first, _, _ := strings.Cut(imp, "/")
	to, own := l.own(imp)
	switch {
	case imp == "C":
		return "the agent is pure Go, without cgo"
	case own:
		return l.refuseOwn(dir, from, to, test)
	case !strings.Contains(first, "."):
		return "" // the standard library
	}
	for _, lib := range l.libraries {
		if !strings.HasPrefix(imp, lib.prefix) {
			continue
		}
		if slices.ContainsFunc(lib.dirs, func(d string) bool { return matches(d, dir) }) ||
			(test || from.layer == layerTests) && slices.Contains(lib.dirs, testFiles) {
			return ""
		}
		return fmt.Sprintf("%s is for %s only", lib.prefix, strings.Join(lib.dirs, ", "))
	}
	return "a library the law does not name: each is allowed to one folder by name"
}

func (l *law) refuseOwn(dir string, from place, to string, test bool) string {
	if to == dir || strings.HasPrefix(to, dir+"/") && !isTestHelper(to) {
		return "" // an external test of the package itself, or its own sub-package
	}
	dest, ok := l.find(to)
	if !ok {
		return "not in the table of layers"
	}
	test = test || from.layer == layerTests || isTestHelper(dir)
	if isTestHelper(to) {
		if test {
			return ""
		}
		return "a helper of tests, outside a test"
	}
	if slices.ContainsFunc(from.may, func(p string) bool { return matches(p, to) }) {
		return ""
	}
	if test && dest.layer <= layerGround {
		return "" // tests may stand on real ground
	}
	// The same layer in a reach means the layer's members know each other,
	// which only nouns and tests do.
	if slices.Contains(l.reachOf(from), dest.layer) {
		return ""
	}
	if dest.layer == from.layer {
		return fmt.Sprintf("folders of layer %d do not import each other", from.layer)
	}
	return fmt.Sprintf("layer %d may not import layer %d", from.layer, dest.layer)
}

// own returns the folder of one of the module's own packages.
func (l *law) own(importPath string) (string, bool) {
	if importPath == l.module {
		return ".", true
	}
	return strings.CutPrefix(importPath, l.module+"/")
}

// isTestHelper reports whether a folder helps tests, as net/http/httptest
// does: only tests import it.
func isTestHelper(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

func matches(pattern, dir string) bool {
	ok, err := path.Match(pattern, dir)
	return ok && err == nil
}
