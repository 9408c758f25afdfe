package preload

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

func run(secure bool, env ...event.Var) *event.Event {
	return &event.Event{Kind: event.KindExec, Exec: &event.Exec{Secure: secure, Env: env},
		Process: &event.Process{PID: 9, Exe: "/usr/bin/sudo", File: &event.File{Mode: 0o104755}, Parent: &event.Process{PID: 8, Exe: "/bin/bash"}}}
}

func TestDetect(t *testing.T) {
	lib := event.Var{Name: "LD_PRELOAD", Value: "/tmp/x\x1b.so"}
	detectest.Table(t, New, []detectest.Case{
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
	})
	New().Detect(run(true, lib, event.Var{Name: "HISTFILE", Value: "x"}), func(f event.Finding) {
		if !f.UserMemory() || len(f.Evidence) != 3 || f.Evidence[2].Value != "LD_PRELOAD=/tmp/x\x1b.so" {
			t.Errorf("evidence %+v", f.Evidence)
		}
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), run(false, event.Var{Name: "LD_PRELOAD", Value: "/x"}), run(true, event.Var{Name: "HISTFILE", Value: "x"}))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), run(true, event.Var{Name: "HISTFILE", Value: "x"}))
}
