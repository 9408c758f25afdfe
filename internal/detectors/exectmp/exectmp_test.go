package exectmp

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

func run(p event.Process, script event.Text) *event.Event {
	return &event.Event{Kind: event.KindExec, Process: &p, Exec: &event.Exec{Script: script}}
}

func uid(n uint32) event.Creds { return event.Creds{UID: n, EUID: n} }

func TestDetect(t *testing.T) {
	const high, medium = "exec-tmp-service high", "exec-tmp-service medium"
	for _, c := range []struct {
		name   string
		p      event.Process
		script event.Text
		want   string
	}{
		{"www-data in /tmp", event.Process{Exe: "/tmp/x", Creds: uid(33), LoginUID: unset}, "", high},
		{"nobody in /dev/shm", event.Process{Exe: "/dev/shm/a/x", Creds: uid(nobody), LoginUID: unset}, "", high},
		{"/var/tmp in a container", event.Process{Exe: "/var/tmp/x", Creds: uid(101), LoginUID: unset, Container: &event.Container{ID: "1"}}, "", high},
		{"script", event.Process{Exe: "/bin/sh", Creds: uid(33), LoginUID: unset}, "/tmp/x.sh", high},
		{"script by relative path", event.Process{Exe: "/bin/sh", CWD: "/tmp", Creds: uid(33), LoginUID: unset}, "./x.sh", high},
		{"root in a service", event.Process{Exe: "/tmp/x", LoginUID: unset, Service: "web.service", Slice: "system.slice"}, "", medium},
		{"root of a template unit", event.Process{Exe: "/tmp/x", LoginUID: unset, Service: "w@1.service", Slice: "system-w.slice"}, "", medium},

		{"www-data elsewhere", event.Process{Exe: "/usr/bin/php", Creds: uid(33), LoginUID: unset}, "", ""},
		{"alike names", event.Process{Exe: "/tmpfoo/x", CWD: "/tmpfoo", Creds: uid(33), LoginUID: unset}, "x", ""},
		{"script from an open file", event.Process{Exe: "/bin/sh", CWD: "/tmp", Creds: uid(33), LoginUID: unset}, "/dev/fd/3/x", ""},
		{"a person", event.Process{Exe: "/tmp/x", Creds: uid(1000), LoginUID: 1000}, "", ""},
		{"a person by sudo -u www-data", event.Process{Exe: "/tmp/x", Creds: uid(33), LoginUID: 1000}, "", ""},
		{"root logged in", event.Process{Exe: "/tmp/x", LoginUID: 0, Service: "session-1.scope", Slice: "user-0.slice"}, "", ""},
		{"root in a container", event.Process{Exe: "/tmp/x", LoginUID: unset, Container: &event.Container{ID: "1"}}, "", ""},
		{"root on a terminal", event.Process{Exe: "/tmp/x", LoginUID: unset, TTY: "tty1", Service: "getty@tty1.service", Slice: "system-getty.slice"}, "", ""},
		{"user manager", event.Process{Exe: "/tmp/x", LoginUID: unset, Service: "user@0.service", Slice: "user-0.slice"}, "", ""},
	} {
		if got := detectest.Detect(t, New(), run(c.p, c.script)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), run(event.Process{Exe: "/bin/ls", Creds: uid(33)}, ""), run(event.Process{Exe: "/tmp/x", Creds: uid(1000), LoginUID: 1000}, ""))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), run(event.Process{Exe: "/bin/ls", CWD: "/"}, ""))
}
