package ptracecross

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

func act(kind event.Kind, exe event.Text, uid, target uint32) *event.Event {
	return &event.Event{Kind: kind, Thread: event.Thread{PID: 9, UID: uid, EUID: uid, Comm: "x\x1b"},
		Process:   &event.Process{PID: 9, Exe: exe, LoginUID: 1000, File: &event.File{Mode: 0o100755}, Creds: event.Creds{UID: uid, EUID: uid}},
		Privilege: &event.Privilege{Call: "PTRACE_ATTACH", Target: &event.Target{PID: 5, Start: 1, UID: target, EUID: target, Comm: "t\x1b"}}}
}

func change(ev *event.Event, f func(*event.Event)) *event.Event {
	f(ev)
	return ev
}

func TestDetect(t *testing.T) {
	const trace, write, mem = event.KindPtrace, event.KindVMWrite, event.KindMemWrite
	none := func(ev *event.Event) { ev.Privilege.Cause = "none" }
	detectest.Table(t, New, []detectest.Case{
		{"a user", act(trace, "/tmp/x", 1000, 1001), "ptrace-other-user high"},
		{"a user's debugger", act(trace, "/usr/bin/gdb", 1000, 1001), "ptrace-other-user high"},
		{"a user, a setuid program", change(act(trace, "/tmp/x", 1000, 1000), func(ev *event.Event) { ev.Privilege.Target.EUID = 0 }), "ptrace-other-user high"},
		{"a user, refused", change(act(trace, "/tmp/x", 1000, 0), func(ev *event.Event) { ev.Privilege.Result = -1 }), "ptrace-other-user medium"},
		{"root by hand", act(write, "/root/x", 0, 1000), "vm-write-other-user medium"},
		{"root of nobody known", change(act(mem, "/root/x", 0, 1000), func(ev *event.Event) { ev.Process.LoginUID = unset }), "proc-mem-other-user high"},
		{"root with gdb", act(trace, "/usr/bin/gdb", 0, 1000), "ptrace-other-user low"},
		{"root with a user's gdb", change(act(trace, "/home/u/gdb", 0, 1000), func(ev *event.Event) { ev.Process.File.UID = 1000 }), "ptrace-other-user medium"},
		{"a container's gdb", change(act(trace, "/usr/bin/gdb", 0, 1000), func(ev *event.Event) { ev.Process.Container = &event.Container{ID: "a"} }), "ptrace-other-user high"},
		{"a server", change(act(mem, "/usr/bin/gdb", 0, 1000), func(ev *event.Event) { ev.Process.Parent = &event.Process{Exe: "/usr/sbin/nginx"} }), "proc-mem-other-user critical"},
		{"became root since its exec", change(act(write, "/x", 0, 1000), func(ev *event.Event) { ev.Process.Creds = event.Creds{UID: 1000, EUID: 1000} }), "vm-write-other-user medium"},
		{"one user, no cause", change(act(trace, "/x", 1000, 1000), none), "ptrace-other-user high"},
		{"only the capability seen", change(act(trace, "/x", 0, 0), func(ev *event.Event) { ev.Privilege = &event.Privilege{Via: "capable", Cap: "CAP_SYS_PTRACE"} }), "ptrace-other-user low"},
		{"... and refused", change(act(trace, "/x", 1000, 0), func(ev *event.Event) {
			ev.Privilege = &event.Privilege{Via: "capable", Cap: "CAP_SYS_PTRACE", Result: -1}
		}), "ptrace-other-user low"},
		{"rootless container", change(act(mem, "/usr/bin/crun", 1000, 100000), func(ev *event.Event) { ev.Privilege.Cause = "user_namespace" }), "proc-mem-other-user medium"},
		{"a process gone", change(act(trace, "/x", 1000, 0), func(ev *event.Event) { ev.Process = nil }), "ptrace-other-user high"},

		{"one user", act(trace, "/usr/bin/gdb", 1000, 1000), ""},
		{"root on root", act(write, "/x", 0, 0), ""},
		{"of the target the pid alone", change(change(act(trace, "/x", 1000, 0), none), func(ev *event.Event) { ev.Privilege.Target.Start = 0 }), ""},
		{"no target", change(act(trace, "/x", 0, 1000), func(ev *event.Event) { ev.Privilege.Target = nil }), ""},
		{"another event", &event.Event{Kind: event.KindFork}, ""},
	})
}

func TestReason(t *testing.T) {
	New().Detect(act(event.KindPtrace, "/usr/bin/gdb", 0, 1000), func(f event.Finding) {
		if !strings.Contains(f.Reason, "gdb is known to do so") || !strings.Contains(f.Reason, "pid 5, uid 1000") {
			t.Error(f.Reason)
		}
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), act(event.KindPtrace, "/usr/bin/gdb", 1000, 1000), &event.Event{Kind: event.KindFork})
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), act(event.KindPtrace, "/usr/bin/gdb", 1000, 1000))
}
