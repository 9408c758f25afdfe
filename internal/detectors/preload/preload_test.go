package preload

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

// detect returns "rule severity" of every finding, after checking what all
// findings must hold.
func detect(t *testing.T, d contract.Detector, ev *event.Event) string {
	t.Helper()
	var got []string
	d.Detect(ev, func(f event.Finding) {
		got = append(got, f.Rule.ID+" "+string(f.Rule.Severity))
		if f.Event == ev || f.Event == nil || f.Reason != event.Safe(f.Reason) || f.Reason == "" || len(f.Evidence) == 0 {
			t.Errorf("a bad finding: %+v", f)
		}
		for _, e := range f.Evidence {
			if e.Field == "" || (e.Source != "kernel" && e.Source != "user" && e.Source != "merlon") {
				t.Errorf("bad evidence: %+v", e)
			}
		}
	})
	return strings.Join(got, ",")
}

func benchmark(b *testing.B, ev *event.Event) {
	d := New()
	b.ReportAllocs()
	for b.Loop() {
		d.Detect(ev, func(event.Finding) {})
	}
}

func missAllocatesNothing(t *testing.T, evs ...*event.Event) {
	t.Helper()
	d := New()
	found := func(event.Finding) { t.Error("a finding") }
	if n := testing.AllocsPerRun(100, func() {
		for _, ev := range evs {
			d.Detect(ev, found)
		}
	}); n != 0 {
		t.Errorf("a miss makes %v allocations", n)
	}
}

func run(secure bool, env ...event.Var) *event.Event {
	return &event.Event{Kind: event.KindExec, Exec: &event.Exec{Secure: secure, Env: env},
		Process: &event.Process{PID: 9, Exe: "/usr/bin/sudo", File: &event.File{Mode: 0o104755}, Parent: &event.Process{PID: 8, Exe: "/bin/bash"}}}
}

func TestDetect(t *testing.T) {
	lib := event.Var{Name: "LD_PRELOAD", Value: "/tmp/x\x1b.so"}
	for _, c := range []struct {
		name string
		ev   *event.Event
		want string
	}{
		{"path", run(true, lib), "ld-preload-setuid high"},
		{"audit", run(true, event.Var{Name: "LD_AUDIT", Value: "x"}), "ld-preload-setuid high"},
		{"tunables", run(true, event.Var{Name: "GLIBC_TUNABLES", Value: "glibc.malloc.mxfast=glibc.malloc.mxfast=A"}), "ld-preload-setuid high"},
		{"library by name", run(true, event.Var{Name: "LD_PRELOAD", Value: "libeatmydata.so"}), "ld-preload-setuid medium"},
		{"search path", run(true, event.Var{Name: "LD_LIBRARY_PATH", Value: "/opt/lib"}), "ld-preload-setuid low"},
		{"the worst counts, once", run(true, event.Var{Name: "LD_LIBRARY_PATH", Value: "/x"}, lib, event.Var{Name: "LOCPATH", Value: "x"}), "ld-preload-setuid high"},

		{"not privileged", run(false, lib), ""},
		{"empty", run(true, event.Var{Name: "LD_PRELOAD"}), ""},
		{"harmless variable", run(true, event.Var{Name: "PYTHONPATH", Value: "/tmp"}), ""},
		{"no variables", run(true), ""},
		{"fork", &event.Event{Kind: event.KindFork, Process: &event.Process{}}, ""},
	} {
		if got := detect(t, New(), c.ev); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	New().Detect(run(true, lib, event.Var{Name: "HISTFILE", Value: "x"}), func(f event.Finding) {
		if !f.UserMemory() || len(f.Evidence) != 3 || f.Evidence[2].Value != "LD_PRELOAD=/tmp/x\x1b.so" {
			t.Errorf("evidence %+v", f.Evidence)
		}
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	missAllocatesNothing(t, run(false, event.Var{Name: "LD_PRELOAD", Value: "/x"}), run(true, event.Var{Name: "HISTFILE", Value: "x"}))
}

func BenchmarkMiss(b *testing.B) { benchmark(b, run(true, event.Var{Name: "HISTFILE", Value: "x"})) }
