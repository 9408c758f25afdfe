package vm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file of testdata, or with -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func parse(t testing.TB, output []byte) *Results {
	var r Results
	if err := eachLine(bytes.NewReader(output), r.Line); err != nil {
		t.Fatal(err)
	}
	return &r
}

// TestResults reads what a machine sent whose tests passed, failed, skipped,
// ran in parallel, printed what looks like results, panicked, hung and were
// cut off.
func TestResults(t *testing.T) {
	out, err := os.ReadFile("testdata/output.txt")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "output.golden", describe(parse(t, out)))
}

func describe(r *Results) string {
	var b strings.Builder
	fmt.Fprintf(&b, "release %s, lsm %s, boot %.1f, problems %q\n", r.Release, r.LSM, r.Boot, r.Problems)
	for _, p := range r.Packages {
		fmt.Fprintf(&b, "package %s: ended %v, exit %d, problem %q\n", p.Name, p.Ended, p.Exit, p.Problem())
		describeTests(&b, "  ", p.Tests)
		for _, o := range p.Output {
			fmt.Fprintf(&b, "  | %q\n", o)
		}
		for _, f := range r.Facts[p.Name] {
			fmt.Fprintf(&b, "  fact %+v\n", f)
		}
	}
	return b.String()
}

func describeTests(b *strings.Builder, indent string, tests []*Test) {
	for _, t := range tests {
		fmt.Fprintf(b, "%s%s: %s\n", indent, t.Name, t.Status)
		for _, o := range t.Output {
			fmt.Fprintf(b, "%s| %q\n", indent, o)
		}
		describeTests(b, indent+"  ", t.Subtests)
	}
}

func TestPackageProblem(t *testing.T) {
	failed := []*Test{{Name: "TestA", Status: Passed, Subtests: []*Test{{Name: "TestA/b", Status: Failed}}}}
	passed := []*Test{{Name: "TestA", Status: Passed}}
	for _, c := range []struct {
		p    Package
		want string
	}{
		{Package{Ended: true, Tests: passed}, ""},
		{Package{Ended: true, Exit: 1, Tests: failed}, ""},
		{Package{Ended: true, Exit: 1, Tests: passed}, "exit status 1 without a failing test"},
		{Package{Ended: true}, "no tests ran"},
		{Package{Tests: passed}, "the machine ended before these tests did"},
		{Package{Ended: true, Exit: 137, Text: "signal: killed", Tests: passed}, "signal: killed"},
	} {
		if got := c.p.Problem(); got != c.want {
			t.Errorf("Problem of %+v = %q, want %q", c.p, got, c.want)
		}
	}
}

// FuzzResults: whatever a machine sends, each test is in the tree once, under
// its parent.
func FuzzResults(f *testing.F) {
	out, err := os.ReadFile("testdata/output.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Add([]byte("\x16@@@ {\"stage\":\"begin\",\"job\":\"p\"}\n\x16=== RUN   A/\n\x16--- PASS: A/ (1.2.3s)\n\x16=== NAME  /\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := parse(t, b)
		for _, p := range r.Packages {
			seen := map[string]bool{}
			checkTree(t, seen, "", p.Tests)
			_ = p.Problem()
		}
	})
}

func checkTree(t *testing.T, seen map[string]bool, parent string, tests []*Test) {
	for _, x := range tests {
		if seen[x.Name] {
			t.Errorf("%q is there twice", x.Name)
		}
		seen[x.Name] = true
		if parent != "" && !strings.HasPrefix(x.Name, parent+"/") {
			t.Errorf("%q is under %q", x.Name, parent)
		}
		checkTree(t, seen, x.Name, x.Subtests)
	}
}
