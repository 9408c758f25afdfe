package vm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/merlon/merlon/tests/vm/plan"
)

func TestEachLine(t *testing.T) {
	for in, want := range map[string][]string{
		"":                     nil,
		"a\nb\r\n\nc":          {"a", "b", "", "c"},
		"text\x16=== RUN\n":    {"text", "\x16=== RUN"},
		"\x16a\x16\x16b":       {"\x16a", "\x16", "\x16b"},
		"long " + long + "\nx": {"long " + long, "x"},
	} {
		var got []string
		if err := eachLine(strings.NewReader(in), func(s string) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines of %.40q (-want +got):\n%s", in, diff)
		}
	}
}

var long = strings.Repeat("x", 1<<20)

// testMachine is a machine of the quickest kernel with the program hang in it.
func testMachine(t *testing.T) (m *Machine, hang string) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine: run without -short")
	}
	k, err := KernelNamed("amd64-6.1")
	if err != nil {
		t.Fatal(err)
	}
	m = prepare(t.Context(), t, k, newBinaries(nil, t.TempDir()), false)
	b, err := NewBuilder(t.Context(), k.Arch, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if hang, err = b.Command(t.Context(), "tests/vm/testdata/hang"); err != nil {
		t.Fatal(err)
	}
	return m, hang
}

func TestMachineTellsOfPanic(t *testing.T) {
	m, hang := testMachine(t)
	m.Init = hang
	err := m.Run(t.Context(), func(s string) { t.Errorf("unexpected output %q", s) })
	if err == nil || !strings.Contains(err.Error(), "Kernel panic - not syncing: Attempted to kill init!") {
		t.Errorf("Run = %v, want the console's panic", err)
	}
}

func TestMachineIsStopped(t *testing.T) {
	m, hang := testMachine(t)
	m.Tree.AddHost("hang", hang, 0o755)
	m.Jobs = []plan.Job{{Name: "hang", Path: "/hang", Dir: "/", Timeout: time.Hour}}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("seen enough")
	var r Results
	err := m.Run(ctx, func(s string) {
		r.Line(s)
		if e, ok := plan.Parse(s); ok && e.Stage == plan.Begin {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) {
		t.Errorf("Run = %v, want the cause of the cancellation", err)
	}
	if len(r.Packages) != 1 || r.Packages[0].Problem() != "the machine ended before these tests did" {
		t.Errorf("packages %+v, want one that did not end", r.Packages)
	}
}

func TestJobEnds(t *testing.T) {
	m, hang := testMachine(t)
	m.Tree.AddHost("hang", hang, 0o755)
	m.Jobs = []plan.Job{
		{Name: "late", Path: "/hang", Dir: "/", Timeout: 200 * time.Millisecond},
		{Name: "missing", Path: "/none", Dir: "/", Timeout: time.Minute},
		{Name: "status", Path: "/init", Dir: "/", Timeout: time.Minute},
	}
	var r Results
	if err := m.Run(t.Context(), r.Line); err != nil {
		t.Fatal(err)
	}
	type end struct {
		Exit int
		Text string
	}
	got := map[string]end{}
	for _, p := range r.Packages {
		got[p.Name] = end{p.Exit, p.Text}
	}
	want := map[string]end{
		"late":    {124, "killed after 200ms"},
		"missing": {127, "start: fork/exec /none: no such file or directory"},
		"status":  {1, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	if len(r.Problems) > 0 {
		t.Errorf("init had problems: %q", r.Problems)
	}
}
