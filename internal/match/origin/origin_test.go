package origin

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

var rootFile = &event.File{Mode: 0o100755}

func chain(ps ...*event.Process) *event.Process {
	for i := range len(ps) - 1 {
		ps[i].Parent = ps[i+1]
	}
	return ps[0]
}

func prog(exe event.Text) *event.Process {
	return &event.Process{Exe: exe, File: rootFile, LoginUID: unset, SID: 5}
}

func TestTool(t *testing.T) {
	script := func(exe event.Text, args ...event.Text) *event.Process {
		p := prog(exe)
		p.Args = args
		return p
	}
	mine := prog("/usr/bin/dpkg")
	mine.File = &event.File{Mode: 0o100755, UID: 1000}
	open := prog("/usr/bin/dpkg")
	open.File = &event.File{Mode: 0o100775}
	memory := prog("memfd:dpkg")
	memory.File = &event.File{Mode: 0o100755, Memfd: true}
	for _, c := range []struct {
		name string
		p    *event.Process
		want string
	}{
		{"a program", prog("/usr/bin/dpkg"), "dpkg"},
		{"a script of the system", script("/usr/bin/python3.11", "python3", "-u", "/usr/bin/unattended-upgrade"), "unattended-upgrade"},
		{"a script of /usr/local", script("/usr/bin/python3.11", "python3", "/usr/local/bin/dnf"), "python"},
		{"a path that leads elsewhere", script("/usr/bin/perl", "perl", "/usr/bin/../../tmp/dnf"), "perl"},
		{"a script elsewhere", script("/usr/bin/python3.11", "python3", "/tmp/x", "/usr/bin/dnf"), "python"},
		{"code", script("/usr/bin/python3.11", "python3", "-c", "x", "/usr/bin/dnf"), "python"},
		{"a user's file", mine, ""},
		{"a file that a group may write", open, ""},
		{"memory", memory, ""},
		{"file unknown", &event.Process{Exe: "/usr/bin/dpkg"}, ""},
		{"nothing known", nil, ""},
	} {
		if got := Tool(c.p); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestInstaller(t *testing.T) {
	daemon := prog("/usr/sbin/sshd")
	daemon.SID = 9
	inside, outside := prog("/bin/sh"), prog("/usr/bin/apt")
	inside.Container = &event.Container{ID: "a"}
	both, apt := prog("/bin/sh"), prog("/usr/bin/apt-get")
	both.Container, apt.Container = &event.Container{ID: "a"}, &event.Container{ID: "a"}
	for _, c := range []struct {
		name string
		p    *event.Process
		want bool
	}{
		{"itself", prog("/usr/bin/dpkg"), true},
		{"its script", chain(prog("/bin/sed"), prog("/bin/sh"), prog("/usr/bin/dpkg"), prog("/usr/bin/apt-get")), true},
		{"within one container", chain(both, apt), true},
		{"of another container", chain(inside, outside), false},
		{"a daemon it started", chain(daemon, prog("/usr/bin/dpkg")), false},
		{"a shell", chain(prog("/bin/sed"), prog("/bin/bash")), false},
	} {
		if got := Installer(c.p) != nil; got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestWho(t *testing.T) {
	service := &event.Process{LoginUID: unset, Service: "cron.service", Slice: "system.slice"}
	user := &event.Process{LoginUID: 1000, Service: "user@1000.service", Slice: "user-1000.slice"}
	session := &event.Process{LoginUID: 1000, Service: "session-3.scope", Slice: "user-1000.slice"}
	manager := &event.Process{LoginUID: unset, Service: "user@1000.service", Slice: "user-1000.slice"}
	container := &event.Process{LoginUID: unset, Service: "docker.service", Slice: "system.slice", Container: &event.Container{ID: "a"}}
	if Service(service) != "cron.service" || Service(user) != "" || Service(session) != "" || Service(manager) != "" || Service(container) != "" {
		t.Error("wrong services")
	}
	shell := chain(&event.Process{LoginUID: unset, TTY: "pts0"}, prog("/usr/sbin/nginx"))
	if Person(service) || !Person(user) || !Person(session) || Person(container) || Person(shell) || !Person(&event.Process{TTY: "tty1", LoginUID: unset}) {
		t.Error("wrong people")
	}
	if Server(shell) == nil || Server(service) != nil || !Kernel(&event.Process{PPID: 2}) || Kernel(service) {
		t.Error("wrong ancestors")
	}
	if Account(0) || !Account(33) || Account(1000) || !Account(nobody) {
		t.Error("wrong accounts")
	}
	if Lower(event.SeverityCritical) != event.SeverityHigh || Lower(event.SeverityLow) != event.SeverityLow {
		t.Error("wrong severities")
	}
}

func TestNothingAllocates(t *testing.T) {
	p := chain(prog("/bin/sed"), prog("/bin/sh"), prog("/usr/bin/python3"), prog("/bin/bash"))
	if n := testing.AllocsPerRun(100, func() { Installer(p); Server(p); Person(p); Service(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
