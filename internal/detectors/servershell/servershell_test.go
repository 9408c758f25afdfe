package servershell

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

// run is a shell whose ancestors run exes, nearest first.
func run(exe event.Text, exes ...event.Text) *event.Event {
	p := &event.Process{PID: 9, Exe: exe, Comm: "sh"}
	at := p
	for i, e := range exes {
		up := &event.Process{PID: uint32(8 - i), Exe: e}
		at.Parent, at = up, up
	}
	return &event.Event{Kind: event.KindExec, Process: p, Exec: &event.Exec{}}
}

func TestDetect(t *testing.T) {
	const high, medium = "server-shell high", "server-shell medium"
	replaced := run("/bin/sh", "/usr/lib/systemd/systemd")
	replaced.Was = &event.Process{PID: 9, Exe: "/usr/sbin/nginx"}
	tomcat := run("/bin/sh", "/usr/bin/java")
	tomcat.Process.Parent.Service = "tomcat10.service"
	jenkins := run("/bin/sh", "/usr/bin/java")
	jenkins.Process.Parent.Service = "jenkins.service"
	detectest.Table(t, New, []detectest.Case{
		{"nginx", run("/bin/sh", "/usr/sbin/nginx", "/usr/sbin/nginx"), high},
		{"redis", run("/bin/bash", "/usr/bin/redis-server"), high},
		{"mysql through a helper", run("/bin/bash", "/tmp/helper", "/usr/sbin/mysqld"), high},
		{"busybox", run("/bin/busybox", "/usr/sbin/nginx"), high},
		{"the server itself", replaced, high},
		{"php-fpm", run("/bin/dash", "/usr/sbin/php-fpm8.2"), medium},
		{"apache, cgi", run("/bin/bash", "/usr/lib/cgi-bin/x", "/usr/sbin/apache2"), medium},
		{"postgres", run("/bin/sh", "/usr/lib/postgresql/15/bin/postgres"), medium},
		{"tomcat", tomcat, medium},
		{"env and timeout", run("/bin/sh", "/usr/bin/timeout", "/usr/bin/env", "/usr/sbin/nginx"), high},
		{"a chain of shells", run("/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/sudo", "/bin/sh", "/usr/sbin/nginx"), high},
		{"eight levels up", run("/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/usr/sbin/nginx"), high},
		{"a helper among wrappers", run("/bin/sh", "/usr/bin/nice", "/tmp/helper", "/usr/bin/timeout", "/usr/sbin/mysqld"), high},

		{"nine levels up", run("/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/usr/sbin/nginx"), ""},
		{"two helpers among wrappers", run("/bin/sh", "/a", "/bin/sh", "/b", "/usr/sbin/nginx"), ""},
		{"behind two programs", run("/bin/sh", "/a", "/b", "/usr/sbin/nginx"), ""},
		{"build server", jenkins, ""},
		{"node", run("/bin/sh", "/usr/bin/node"), ""},
		{"sshd", run("/bin/bash", "/usr/sbin/sshd", "/usr/sbin/sshd"), ""},
		{"no shell", run("/usr/sbin/nginx", "/usr/sbin/nginx"), ""},
		{"nothing known", run("/bin/sh"), ""},
		{"parent known by key only", run("/bin/sh", ""), ""},
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), run("/bin/bash", "/usr/sbin/sshd", "/usr/sbin/sshd"), run("/bin/ls", "/usr/sbin/nginx"),
		run("/bin/sh", "/bin/bash", "/usr/bin/sudo", "/bin/bash", "/usr/sbin/sshd"))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), run("/bin/bash", "/usr/sbin/sshd", "/usr/sbin/sshd"))
}
