package rootgain

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

func creds(uid uint32) event.Creds { return event.Creds{UID: uid, EUID: uid, SUID: uid} }

func with(c event.Creds, caps event.CapSet) event.Creds {
	c.Effective, c.Permitted = caps, caps
	return c
}

const all = event.CapSet(1<<41 - 1)

var (
	user = creds(1000)
	root = with(creds(0), all)
)

// run is an event of a process that was known with the credentials before.
func run(kind event.Kind, before, after event.Creds) *event.Event {
	ev := &event.Event{Kind: kind, Boot: 100e9, Was: &event.Process{PID: 9, Exe: "/bin/bash", Creds: before},
		Process: &event.Process{PID: 9, Exe: "/bin/sh", Creds: after, File: &event.File{Mode: 0o100755}}}
	if kind == event.KindExec {
		ev.Exec = &event.Exec{}
	}
	return ev
}

func change(ev *event.Event, f func(*event.Event)) *event.Event {
	f(ev)
	return ev
}

func TestDetect(t *testing.T) {
	const hit = "root-gained critical"
	setuid := func(ev *event.Event) {
		ev.Process.File = &event.File{Mode: 0o104755}
		ev.Exec.Secure = true
	}
	secure := func(ev *event.Event) { ev.Exec.Secure = true }
	child := func(ev *event.Event) { ev.Process.NS.User = 4026532001 }
	sudo := user
	sudo.EUID, sudo.SUID, sudo.Effective, sudo.Permitted = 0, 0, all, all
	detectest.Table(t, New, []detectest.Case{
		{"exec as root", run(event.KindExec, user, root), hit},
		{"... of a file that is setuid, but not root's", change(run(event.KindExec, user, root), func(ev *event.Event) {
			ev.Process.File = &event.File{Mode: 0o104755, UID: 5}
		}), hit},
		{"root before the exec", change(run(event.KindExec, user, root), func(ev *event.Event) { ev.Exec.Before = &root }), hit},
		{"... even if a setuid file follows", change(change(run(event.KindExec, user, sudo), setuid), func(ev *event.Event) { ev.Exec.Before = &root }), hit},
		{"the child of a fork is root", run(event.KindFork, user, root), hit},
		{"capabilities without a file", run(event.KindExec, user, with(user, 1<<capSysAdmin)), hit},
		{"fork with capabilities", run(event.KindFork, user, with(user, 1<<capSysModule)), hit},
		{"file capabilities don't give uid 0", change(run(event.KindExec, user, root), secure), hit},
		{"root in a user namespace of its own, as seen from the host", change(run(event.KindExec, user, root), child), hit},
		{"all capabilities of a user namespace of its own don't excuse root on the host",
			change(run(event.KindExec, with(user, all), root), func(ev *event.Event) {
				ev.Was.NS.User, ev.Process.NS.User = 4026532001, initUserNS
			}), hit},
		{"seen in a resync", run(event.KindTask, user, root), "root-gained medium"},
		{"... the same setuid file ran before", change(run(event.KindTask, user, root), func(ev *event.Event) {
			ev.Process.Exe, ev.Process.File = ev.Was.Exe, &event.File{Mode: 0o104755}
		}), "root-gained medium"},

		{"a resync shows a setuid root file", change(run(event.KindTask, user, root), func(ev *event.Event) {
			ev.Process.File = &event.File{Mode: 0o104755}
		}), ""},
		{"a resync shows no gain", run(event.KindTask, user, user), ""},
		{"setuid root", change(run(event.KindExec, user, sudo), setuid), ""},
		{"setuid root, with the kernel's own before", change(change(run(event.KindExec, user, sudo), setuid), func(ev *event.Event) { ev.Exec.Before = &user }), ""},
		{"what sudo starts", run(event.KindExec, sudo, root), ""},
		{"file capabilities", change(run(event.KindExec, user, with(user, 1<<capSysAdmin)), secure), ""},
		{"root stays root", run(event.KindExec, root, root), ""},
		{"a daemon takes its root back", run(event.KindFork, event.Creds{UID: 33, EUID: 33, SUID: 0}, root), ""},
		{"CAP_SETUID may", run(event.KindExec, with(user, 1<<capSetuid), root), ""},
		{"drops root", run(event.KindExec, root, user), ""},
		{"a harmless capability", run(event.KindExec, user, with(user, 1<<10)), ""},
		{"capabilities in a user namespace", change(run(event.KindFork, user, with(user, all)), child), ""},
		{"kept capabilities", run(event.KindExec, with(user, 1<<capBPF), with(user, 1<<capBPF)), ""},
		{"not known before", change(run(event.KindExec, user, root), func(ev *event.Event) { ev.Was = nil }), ""},
		{"known by key only", change(run(event.KindExec, user, root), func(ev *event.Event) {
			ev.Was = &event.Process{Origin: event.OriginInferred, Creds: user}
		}), ""},
	})
}

func TestLossCastsDoubt(t *testing.T) {
	d := New()
	loss := func(boot uint64, of event.Kind) *event.Event {
		return &event.Event{Kind: event.KindLoss, Boot: boot, Loss: &event.Loss{Of: of, Count: 1}}
	}
	detectest.Detect(t, d, loss(99e9, event.KindCgroup))
	if got := detectest.Detect(t, d, run(event.KindExec, user, root)); got != "root-gained critical" {
		t.Errorf("after a loss of cgroup events: %q", got)
	}
	detectest.Detect(t, d, loss(99e9, event.KindExec))
	if got := detectest.Detect(t, d, run(event.KindExec, user, root)); got != "root-gained medium" {
		t.Errorf("after a loss of exec events: %q", got)
	}
	late := run(event.KindExec, user, root)
	late.Boot = 110e9
	if got := detectest.Detect(t, d, late); got != "root-gained critical" {
		t.Errorf("long after it: %q", got)
	}
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), run(event.KindExec, user, user), run(event.KindExec, root, root), run(event.KindFork, user, user))
}

func BenchmarkMiss(b *testing.B) { detectest.Benchmark(b, New(), run(event.KindExec, user, user)) }
