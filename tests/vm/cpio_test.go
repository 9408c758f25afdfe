package vm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleTree(t *testing.T) Tree {
	host := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(host, []byte("from the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := Tree{}
	tree.AddHost("bin/tool", host, 0o4755)
	tree.AddData("etc/passwd", []byte("root\n"), 0o644)
	tree.AddDir("root", 0o700)
	tree.AddDevice("dev/console", 0o600, 5, 1)
	tree["bin/sh"] = File{Mode: typeLink | 0o777, Data: []byte("tool")}
	return tree
}

func TestWriteCPIO(t *testing.T) {
	var b bytes.Buffer
	if err := sampleTree(t).WriteCPIO(&b); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bin 40755 0 0,0 ",
		"bin/sh 120777 0 0,0 tool",
		"bin/tool 104755 0 0,0 from the host",
		"dev 40755 0 0,0 ",
		"dev/console 20600 0 5,1 ",
		"etc 40755 0 0,0 ",
		"etc/passwd 100644 0 0,0 root\n",
		"root 40700 0 0,0 ",
	}
	if diff := cmp.Diff(want, readCPIO(t, b.Bytes())); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// readCPIO is written after the kernel's init/initramfs.c: 13 fields of eight
// hexadecimal digits after the magic, name and body padded to 4 bytes.
func readCPIO(t *testing.T, b []byte) []string {
	t.Helper()
	var entries []string
	inodes := map[uint32]bool{}
	align := func(n int) int { return (n + 3) &^ 3 }
	for at := 0; ; {
		var f [13]uint32
		if at%4 != 0 || at+110 > len(b) || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d of %d bytes", at, len(b))
		}
		for i := range f {
			if _, err := fmt.Sscanf(string(b[at+6+8*i:at+14+8*i]), "%x", &f[i]); err != nil {
				t.Fatalf("field %d at %d: %v", i, at, err)
			}
		}
		size, nameSize := int(f[6]), int(f[11])
		name := string(b[at+110 : at+110+nameSize-1])
		body := align(at + 110 + nameSize)
		at = align(body + size)
		if name == "TRAILER!!!" {
			if at != len(b) {
				t.Fatalf("%d bytes after the trailer", len(b)-at)
			}
			return entries
		}
		if inodes[f[0]] {
			t.Errorf("%s: inode %d twice: the kernel would make a hard link", name, f[0])
		}
		inodes[f[0]] = true
		entries = append(entries, fmt.Sprintf("%s %o %d %d,%d %s", name, f[1], f[2], f[9], f[10], b[body:body+size]))
	}
}

// TestWriteCPIOForOthers asks a reader that is not ours.
func TestWriteCPIOForOthers(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("needs cpio: apt-get install cpio")
	}
	var b bytes.Buffer
	if err := sampleTree(t).WriteCPIO(&b); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("cpio", "--quiet", "-t")
	c.Stdin = &b
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	if got, want := strings.Fields(string(out)), "bin bin/sh bin/tool dev dev/console etc etc/passwd root"; strings.Join(got, " ") != want {
		t.Errorf("cpio lists %v, want %v", got, want)
	}
}

func TestWriteCPIORefuses(t *testing.T) {
	for name, f := range map[string]File{
		"/abs":       {Mode: typeReg},
		"a/../b":     {Mode: typeReg},
		"not/there":  {Mode: typeReg, Host: filepath.Join(t.TempDir(), "missing")},
		"trailing/ ": {Mode: typeReg, Host: "/"},
	} {
		if err := (Tree{name: f}).WriteCPIO(io.Discard); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}
