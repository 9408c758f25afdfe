package archtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// The checkers are checked: each of these breaks one law and must be told.

func TestImportViolations(t *testing.T) {
	const m = "github.com/merlon/merlon/"
	for _, c := range []struct {
		from, to string
		test     bool
		want     string // part of the message; "" when the import is lawful
	}{
		{"internal/event", "internal/contract", false, ""},
		{"internal/event", "internal/kernel", false, "layer 0 may not import layer 1"},
		{"internal/kernel", "internal/event", false, ""},
		{"internal/kernel", "internal/ring", false, "do not import each other"},
		{"internal/kernel", "internal/ring", true, ""},
		{"internal/sensors/process", "internal/kernel", false, ""},
		{"internal/sensors/process", "internal/store", false, "layer 2 may not import layer 1"},
		{"internal/sensors/process", "internal/sensors/file", false, "do not import each other"},
		{"internal/sensors/process", "internal/sensors/file", true, "do not import each other"},
		{"internal/sensors/process", "internal/ring/ringtest", false, "outside a test"},
		{"internal/sensors/process", "internal/ring/ringtest", true, ""},
		{"internal/detectors/shell", "internal/kernel", false, "layer 2 may not import layer 1"},
		{"internal/enforce/lsm", "internal/policy", false, ""},
		{"internal/actions/kill", "internal/ban", false, ""},
		{"internal/dataplane", "internal/dataplane/stages/syn", false, ""},
		{"internal/dataplane/stages/syn", "internal/dataplane/stages/ban", false, "do not import each other"},
		{"internal/engine", "internal/ring", false, ""},
		{"internal/engine", "internal/store", false, "layer 3 may not import layer 1"},
		{"internal/engine", "internal/detectors/shell", false, "layer 3 may not import layer 2"},
		{"internal/engine", "internal/catalog", false, "layer 3 may not import layer 4"},
		{"internal/api/client", "internal/api", false, ""},
		{"internal/catalog", "internal/sensors/process", false, ""},
		{"internal/app", "internal/catalog", false, ""},
		{"internal/app", "internal/sensors/process", false, "layer 5 may not import layer 2"},
		{"internal/cli", "internal/app", false, ""},
		{"internal/app", "internal/cli", false, "do not import each other"},
		{"cmd/merlon", "internal/cli", false, ""},
		{"cmd/merlon", "internal/app", false, "do not import each other"},
		{"tests/bench", "internal/sensors/process", false, ""},
		{"internal/app", "tests/bench", false, "may not import layer 6"},
		{"internal/utils", "internal/event", false, "not in the table of layers"},
		{"internal/app", "internal/utils", false, "not in the table of layers"},
		{"internal/filter", "cel.dev/cel-go/cel", false, ""},
		{"internal/engine", "cel.dev/cel-go/cel", false, "is for internal/filter only"},
		{"internal/sensors/process", "github.com/cilium/ebpf", false, ""},
		{"internal/sensors/process", "github.com/cilium/ebpf/link", false, "is for internal/kernel, tests/* only"},
		{"internal/sensors/process", "github.com/cilium/ebpf/link", true, "is for internal/kernel, tests/* only"},
		{"internal/app", "github.com/cilium/ebpf", false, "only"},
		{"internal/app", "github.com/cilium/ebpf", true, ""},
		{"internal/store", "modernc.org/sqlite", false, ""},
		{"internal/event", "github.com/google/go-cmp/cmp", false, "is for tests only"},
		{"internal/event", "github.com/google/go-cmp/cmp", true, ""},
		{"internal/event", "example.org/left-pad", false, "a library the law does not name"},
		{"internal/event", "net/http", false, ""},
		{"internal/event", "C", false, "pure Go"},
	} {
		imp := c.to
		if strings.HasPrefix(imp, "internal/") || strings.HasPrefix(imp, "tests/") {
			imp = m + imp
		}
		p := pkg{ImportPath: m + c.from, Imports: []string{imp}}
		if c.test {
			p.Imports, p.XTestImports = nil, p.Imports
		}
		got := strings.Join(merlon.check([]pkg{p}), "\n")
		if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s (test: %v): got %q, want %q", c.from, c.to, c.test, got, c.want)
		}
	}
}

func TestPlacesDoNotOverlap(t *testing.T) {
	for i, p := range merlon.places {
		for j, q := range merlon.places {
			if i != j && matches(p.dir, q.dir) {
				t.Errorf("%s hides %s", p.dir, q.dir)
			}
		}
	}
}

func TestSourceViolations(t *testing.T) {
	const file = "internal/engine/x.go"
	for _, c := range []struct {
		name, path, body string
		want             string
	}{
		{"clean", file, `func f() error { return nil }`, ""},
		{"panic", file, `func f() { panic("x") }`, "x.go:2: panic outside main"},
		{"panic in a test", "internal/engine/x_test.go", `func f() { panic("x") }`, ""},
		{"init", file, `func init() {}`, "func init"},
		{"method called init", file, `type T int; func (T) init() {}`, ""},
		{"cgo", file, `import "C"`, "cgo"},
		{"global logger", file, "import \"log/slog\"\nfunc f() { slog.Info(\"x\") }", "the logger is passed in"},
		{"renamed logger", file, "import l \"log/slog\"\nfunc f() { l.Default() }", "the logger is passed in"},
		{"passed logger", file, "import \"log/slog\"\nfunc f(log *slog.Logger) { log.Info(\"x\") }", ""},
		{"package log", file, "import \"log\"\nfunc f() { log.Fatal(1) }", "log/slog is passed in"},
		{"load", file, "import \"github.com/cilium/ebpf\"\nvar _ = ebpf.NewCollection", "only internal/kernel loads BPF"},
		{"load and assign", file, "func f(s spec) { s.LoadAndAssign(nil, nil) }", "only internal/kernel loads BPF"},
		{"load objects", file, "func f() { loadProcessObjects(nil, nil) }", "only internal/kernel loads BPF"},
		{"load objects in a test", "internal/engine/x_test.go", "func f() { loadProcessObjects(nil, nil) }", "only internal/kernel loads BPF"},
		{"load a spec", file, "func f() { loadProcess() }", ""},
		{"load in kernel", "internal/kernel/x.go", "import \"github.com/cilium/ebpf\"\nvar _ = ebpf.NewCollection", ""},
		{"too long", file, strings.Repeat("// x\n", maxLines+1), "lines, at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := parse(c.path, []byte("package engine\n"+c.body+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkSource(s), c.want)
		})
	}
}

func TestGeneratedFilesMayBeLong(t *testing.T) {
	s, err := parse("internal/x/x.go", []byte("// Code generated by hand; DO NOT EDIT.\n\npackage x\n"+strings.Repeat("// x\n", maxLines+1)))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, checkSource(s), "")
}

func TestDocViolations(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"// Package x does.\npackage x\n", ""},
		{"// It does.\npackage x\n", "package x has no package comment"},
		{"package x\n", "package x has no package comment"},
		{"// Command x does.\npackage main\n", ""},
	} {
		s, err := parse("internal/x/x.go", []byte(c.content))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, checkDocs([]source{s}), c.want)
	}
}

func TestContractViolations(t *testing.T) {
	for _, c := range []struct{ content, want string }{
		{"type I interface { A(); B(); C(); D(); E() }", ""},
		{"type I interface { A(); B(); C(); D(); E(); F() }", "interface I has 6 methods"},
		{"type I interface { A(); B(); C(); D(); J }; type J interface { E(); F() }", "interface I has 6 methods"},
	} {
		s, err := parse("internal/contract/x.go", []byte("package contract\n"+c.content))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, checkContracts([]source{s}), c.want)
	}
}

func TestCViolations(t *testing.T) {
	const head = "//go:build ignore\n// " + spdx + "\n"
	const end = "char l[] SEC(\"license\") = \"Dual BSD/GPL\";\n"
	for _, c := range []struct{ name, path, content, want string }{
		{"clean", "internal/sensors/x/x.bpf.c", head + end, ""},
		{"clean header", "bpf/lib/x.h", "/* " + spdx + " */\n", ""},
		{"no SPDX", "bpf/lib/x.h", "int x;\n", "SPDX"},
		{"late SPDX", "bpf/lib/x.h", "\n\n\n/* " + spdx + " */\n", "SPDX"},
		{"no build line", "internal/sensors/x/x.bpf.c", "// " + spdx + "\n" + end, "go:build ignore"},
		{"other license", "internal/sensors/x/x.bpf.c", head + "char l[] = \"GPL\";\n", "no license string"},
		{"program among headers", "bpf/lib/x.h", "/* " + spdx + " */\nSEC(\"license\")\n", "only what they share"},
		{"too long", "bpf/lib/x.h", "/* " + spdx + " */\n" + strings.Repeat("\n", maxLines), "lines, at most"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, checkC(c.path, []byte(c.content)), c.want) })
	}
}

func TestObjectViolations(t *testing.T) {
	for _, c := range []struct{ name, license, prog, mapName, want string }{
		{"clean", license, "exec", "events_crit", ""},
		{"15 characters", license, strings.Repeat("p", 15), strings.Repeat("m", 15), ""},
		{"program name", license, strings.Repeat("p", 16), "m", "program pppppppppppppppp: over 15"},
		{"map name", license, "p", strings.Repeat("m", 16), "map mmmmmmmmmmmmmmmm: over 15"},
		{"license", "GPL", "p", "m", `license is "GPL`},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj := object(t, c.license, c.prog, c.mapName)
			expect(t, checkObject("x_x86_bpfel.o", bytes.NewReader(obj)), c.want)
		})
	}
	expect(t, checkObject("x_x86_bpfel.o", strings.NewReader("not an object")), "x_x86_bpfel.o: ")
}

func TestTargetViolations(t *testing.T) {
	expect(t, checkTargets([]string{"internal/x/x.bpf.c", "internal/x/x_x86_bpfel.o", "internal/x/x_arm64_bpfel.o"}), "")
	expect(t, checkTargets([]string{"internal/x/x.bpf.c", "internal/x/x_x86_bpfel.o"}), "no committed object for arm64")
}

func expect(t *testing.T, bad []string, want string) {
	t.Helper()
	got := strings.Join(bad, "\n")
	if want == "" && got != "" || want != "" && !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// object builds a small BPF object: one program, one map, one license.
func object(t *testing.T, license, prog, mapName string) []byte {
	t.Helper()
	const progSec, mapSec, licSec, strSec, symSec = 1, 2, 3, 4, 5
	names := []string{"", "tp_btf/sched", ".maps", "license", ".strtab", ".symtab"}
	var strtab bytes.Buffer
	at := func(s string) uint32 {
		n := strtab.Len()
		fmt.Fprintf(&strtab, "%s\x00", s)
		return uint32(n)
	}
	nameAt := make([]uint32, len(names))
	for i, n := range names {
		nameAt[i] = at(n)
	}
	var syms bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&syms, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	put(elf.Sym64{})
	put(elf.Sym64{Name: at(prog), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: progSec, Size: 8})
	put(elf.Sym64{Name: at(mapName), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_OBJECT), Shndx: mapSec, Size: 8})

	data := [][]byte{nil, make([]byte, 8), make([]byte, 8), []byte(license + "\x00"), strtab.Bytes(), syms.Bytes()}
	types := []elf.SectionType{elf.SHT_NULL, elf.SHT_PROGBITS, elf.SHT_PROGBITS, elf.SHT_PROGBITS, elf.SHT_STRTAB, elf.SHT_SYMTAB}
	hdr := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_BPF), Version: 1,
		Ehsize: 64, Shoff: 64, Shentsize: 64, Shnum: uint16(len(names)), Shstrndx: strSec,
	}
	var out, body bytes.Buffer
	if err := binary.Write(&out, binary.LittleEndian, hdr); err != nil {
		t.Fatal(err)
	}
	off := uint64(64 + 64*len(names))
	for i := range names {
		s := elf.Section64{Name: nameAt[i], Type: uint32(types[i]), Off: off + uint64(body.Len()), Size: uint64(len(data[i])), Addralign: 1}
		if i == symSec {
			s.Link, s.Info, s.Entsize = strSec, 1, elf.Sym64Size
		}
		if err := binary.Write(&out, binary.LittleEndian, s); err != nil {
			t.Fatal(err)
		}
		body.Write(data[i])
	}
	return append(out.Bytes(), body.Bytes()...)
}
