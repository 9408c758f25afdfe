package persistence

import (
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

// proc runs exe from a file of root, as a service.
func proc(exe event.Text, ancestors ...event.Text) *event.Process {
	p := &event.Process{PID: 9, Exe: exe, LoginUID: unset, Service: "x.service", Slice: "system.slice", File: &event.File{Mode: 0o100755}}
	at := p
	for i, e := range ancestors {
		up := &event.Process{PID: uint32(8 - i), Exe: e, LoginUID: unset, File: &event.File{Mode: 0o100755}}
		at.Parent, at = up, up
	}
	return p
}

func act(kind event.Kind, p *event.Process, path event.Text) *event.Event {
	return &event.Event{Kind: kind, Process: p, File: &event.FileAct{Path: path, Type: "file", Write: true}}
}

func change(ev *event.Event, f func(*event.Event)) *event.Event {
	f(ev)
	return ev
}

func person(p *event.Process) *event.Process {
	p.LoginUID, p.Service, p.Slice = 1000, "session-1.scope", "user-1000.slice"
	return p
}

func boxed(p *event.Process) *event.Process {
	for a := p; a != nil; a = a.Parent {
		a.Container = &event.Container{ID: "3ec1a3b7cf9d1f4c8e0a"}
	}
	return p
}

func mine(p *event.Process) *event.Process {
	p.File = &event.File{Mode: 0o100755, UID: 1000}
	return p
}

func TestDetect(t *testing.T) {
	const open, create = event.KindFileOpen, event.KindFileCreate
	move := func(from, to event.Text) *event.Event {
		return change(act(event.KindFileRename, proc("/bin/mv"), from), func(ev *event.Event) { ev.File.NewPath = to })
	}
	moveDir := func(to event.Text) *event.Event {
		return change(move("/tmp/evil.d", to), func(ev *event.Event) { ev.File.Type = "dir" })
	}
	chmod := func(was uint32, partial bool) *event.Event {
		return change(act(event.KindFileChmod, proc("/bin/chmod"), "/etc/passwd"), func(ev *event.Event) {
			ev.File.Mode, ev.File.OldMode, ev.File.Partial = 0o100644, was, partial
		})
	}
	result := func(n int) *event.Event {
		return change(act(open, proc("/bin/sh"), "/etc/shadow"), func(ev *event.Event) { ev.File.Result = n })
	}
	fanotify := act(event.KindFileClose, nil, "/root/.ssh/authorized_keys")
	fanotify.File = &event.FileAct{Path: "/root/.ssh/authorized_keys", Merged: true, Partial: true, NoResult: true}
	fanotify.Thread = event.Thread{PID: 77, Comm: "x\x1b"}
	guest := act(create, proc("/usr/bin/python3"), "/home/u/.ssh/authorized_keys")
	guest.Process.Service = "google-guest-agent.service"
	detectest.Table(t, New, []detectest.Case{
		{"key", act(open, proc("/bin/sh"), "/home/u/.ssh/authorized_keys"), "persist-ssh-key high"},
		{"key, by a person", act(open, person(proc("/usr/bin/vim")), "/root/.ssh/authorized_keys"), "persist-ssh-key medium"},
		{"key in an odd home", act(create, proc("/bin/sh"), "/data/git/.ssh/authorized_keys2"), "persist-ssh-key high"},
		{"key, as fanotify tells it, of a process gone", fanotify, "persist-ssh-key high"},
		{"key, by redis", act(create, proc("/usr/bin/redis-server"), "/var/lib/redis/.ssh/authorized_keys"), "persist-ssh-key critical"},
		{"cron, by what nginx started", act(create, proc("/bin/sh", "/usr/sbin/nginx"), "/etc/cron.d/x"), "persist-cron critical"},
		{"cron table", act(event.KindFileClose, proc("/bin/sh"), "/var/spool/cron/crontabs/root"), "persist-cron high"},
		{"a user's file named crontab", act(open, mine(proc("/tmp/crontab")), "/var/spool/cron/crontabs/root"), "persist-cron high"},
		{"moved to sudoers.d", move("/tmp/x", "/etc/sudoers.d/x"), "persist-sudoers high"},
		{"linked to sudoers.d", change(move("/tmp/x", "/etc/sudoers.d/x"), func(ev *event.Event) { ev.Kind = event.KindFileLink }), "persist-sudoers high"},
		{"a directory moved below systemd", change(move("/tmp/x", "/etc/systemd/system/x.service.d"), func(ev *event.Event) { ev.File.Type = "dir" }), "persist-systemd-unit high"},
		{"a directory moved to cron.d", moveDir("/etc/cron.d"), "persist-cron high"},
		{"a directory moved to .ssh", moveDir("/root/.ssh"), "persist-ssh-key high"},
		{"a directory moved to a user's units", moveDir("/home/u/.config/systemd"), "persist-systemd-unit high"},
		{"a directory moved to the units of packages", moveDir("/usr/local/lib/systemd/system"), "persist-systemd-unit high"},
		{"a directory moved to udev's rules", moveDir("/etc/udev/rules.d"), "persist-udev-rule high"},
		{"a link to a directory moved to sudoers.d", change(moveDir("/etc/sudoers.d"), func(ev *event.Event) { ev.File.Type = "symlink" }), "persist-sudoers high"},
		{"a link in place of cron.d", change(act(event.KindFileSymlink, proc("/bin/ln"), "/etc/cron.d"), func(ev *event.Event) { ev.File.Type = "symlink" }), "persist-cron high"},
		{"mode as fanotify tells it", chmod(0o100600, true), "persist-accounts high"},
		{"mode that stayed, by a hook that knows", chmod(0o100644, false), "persist-accounts high"},
		{"preload", act(create, proc("/bin/sh"), "/etc/ld.so.preload"), "persist-ld-preload critical"},
		{"preload, in a container", act(create, boxed(proc("/bin/sh")), "/etc/ld.so.preload"), "persist-ld-preload high"},
		{"shadow", act(open, proc("/bin/sh"), "/etc/shadow"), "persist-accounts high"},
		{"shadow, refused", result(eacces), "persist-accounts medium"},
		{"mode of shadow", act(event.KindFileChmod, proc("/bin/chmod"), "/etc/shadow"), "persist-accounts high"},
		{"passwd by visudo", act(open, proc("/usr/sbin/visudo"), "/etc/passwd"), "persist-accounts high"},
		{"unit", act(create, proc("/bin/cp"), "/usr/lib/systemd/system/x.service"), "persist-systemd-unit high"},
		{"unit of a user", act(create, person(mine(proc("/home/u/x"))), "/home/u/.config/systemd/user/x.service"), "persist-systemd-unit medium"},
		{"unit enabled by hand", act(event.KindFileSymlink, proc("/bin/ln"), "/etc/systemd/system/multi-user.target.wants/x.service"), "persist-systemd-unit high"},
		{"profile", act(open, person(proc("/bin/bash")), "/home/u/.bashrc"), "persist-shell-profile low"},
		{"profile of a service", act(open, proc("/bin/bash"), "/var/www/.profile"), "persist-shell-profile medium"},
		{"profile of all", act(create, proc("/bin/bash"), "/etc/profile.d/x.sh"), "persist-shell-profile medium"},
		{"rc.local", act(create, proc("/bin/bash"), "/etc/rc.local"), "persist-startup-script high"},
		{"init.d", act(create, proc("/bin/bash"), "/etc/init.d/x"), "persist-startup-script high"},
		{"pam", act(open, proc("/bin/sed"), "/etc/pam.d/sshd"), "persist-pam high"},
		{"udev", act(create, proc("/bin/sh"), "/etc/udev/rules.d/99-x.rules"), "persist-udev-rule high"},
		{"truncated", act(event.KindFileTruncate, proc("/bin/sh"), "/etc/passwd"), "persist-accounts high"},

		{"dpkg", act(create, proc("/usr/bin/dpkg"), "/etc/cron.d/x.dpkg-new"), ""},
		{"a script of dpkg", act(open, proc("/bin/sed", "/bin/sh", "/usr/bin/dpkg"), "/etc/pam.d/common-auth"), ""},
		{"apt in a container", act(open, boxed(proc("/usr/sbin/x", "/usr/bin/apt-get")), "/etc/ld.so.preload"), ""},
		{"passwd", act(open, person(proc("/usr/bin/passwd")), "/etc/shadow"), ""},
		{"crontab", act(create, person(proc("/usr/bin/crontab")), "/var/spool/cron/crontabs/u"), ""},
		{"systemctl", act(event.KindFileSymlink, proc("/usr/bin/systemctl"), "/etc/systemd/system/multi-user.target.wants/x.service"), ""},
		{"guest agent", guest, ""},
		{"read", change(act(open, proc("/bin/cat"), "/etc/passwd"), func(ev *event.Event) { ev.File.Write = false }), ""},
		{"a directory", change(act(create, proc("/bin/mkdir"), "/etc/systemd/system/x.d"), func(ev *event.Event) { ev.File.Type = "dir" }), ""},
		{"no such file", result(-2), ""},
		{"some attribute, as fanotify tells it", chmod(0o100644, true), ""},
		{"a directory moved elsewhere", moveDir("/etc/cron.dx"), ""},
		{"a directory moved home", moveDir("/home/u/src"), ""},
		{"a directory moved from cron.d", change(moveDir("/tmp/x"), func(ev *event.Event) { ev.File.Path = "/etc/cron.d" }), ""},
		{"a file of a directory's name", move("/tmp/x", "/root/.ssh"), ""},
		{"a directory made", change(act(create, proc("/bin/mkdir"), "/root/.ssh"), func(ev *event.Event) { ev.File.Type = "dir" }), ""},
		{"moved away", move("/etc/shadow", "/tmp/x"), ""},
		{"alike", act(create, proc("/bin/sh"), "/etc/cron.dx/y"), ""},
		{"alike passwd", act(create, proc("/bin/sh"), "/srv/etc/passwd"), ""},
		{"keys not in .ssh", act(create, proc("/bin/sh"), "/tmp/authorized_keys"), ""},
		{"somebody's dotfiles", act(create, proc("/usr/bin/git"), "/home/u/dotfiles/.bashrc"), ""},
		{"elsewhere", act(create, proc("/bin/sh"), "/var/log/x"), ""},
		{"no path", act(create, proc("/bin/sh"), ""), ""},
		{"another event", &event.Event{Kind: event.KindFork}, ""},
	})
}

func TestReasonTellsOfContainersAndRefusals(t *testing.T) {
	ev := act(event.KindFileOpen, boxed(proc("/bin/sh")), "/etc/shadow")
	ev.File.Result = eperm
	New().Detect(ev, func(f event.Finding) {
		if !strings.Contains(f.Reason, "of the container") || !strings.Contains(f.Reason, "refused") || f.Rule.Severity != event.SeverityLow {
			t.Errorf("%s %s", f.Rule.Severity, f.Reason)
		}
	})
}

func TestEvidenceTellsOfParts(t *testing.T) {
	for _, partial := range []bool{false, true} {
		ev := act(event.KindFileClose, proc("/bin/sh"), "/etc/shadow")
		ev.File.Partial = partial
		found := false
		New().Detect(ev, func(f event.Finding) {
			found = true
			got := slices.Contains(f.Evidence, event.Evidence{Field: "file.partial", Value: "true", Source: "merlon"})
			if got != partial {
				t.Errorf("partial %v: %+v", partial, f.Evidence)
			}
		})
		if !found {
			t.Error("no finding")
		}
	}
}

// A directory is of the family that its files are of.
func TestDirectoriesAgreeWithTheirFiles(t *testing.T) {
	for dir, below := range map[string]string{
		"/etc/cron.d": "x", "/etc/cron.daily": "x", "/etc/sudoers.d": "x", "/etc/profile.d": "x", "/etc/pam.d": "x", "/etc/init.d": "x",
		"/etc/systemd": "system/x", "/etc/udev": "rules.d/x", "/etc/udev/rules.d": "x", "/run/systemd/system": "x", "/run/udev/rules.d": "x",
		"/lib/systemd": "system/x", "/usr/lib/systemd/user": "x", "/usr/local/lib/udev/rules.d": "x", "/lib/udev": "rules.d/x", "/usr/lib/pam.d": "x",
		"/var/spool/cron": "x", "/var/spool/at": "x", "/var/cron": "tabs/x", "/var/cron/tabs": "x", "/root/.ssh": "authorized_keys",
		"/home/u/.config/systemd": "user/x", "/root/.local/share/systemd/user": "x",
	} {
		if got, want := familyOfDir(dir), familyOf(dir+"/"+below); got != want || got == none {
			t.Errorf("%s is %d, its %s is %d", dir, got, below, want)
		}
	}
	for _, dir := range []string{"", "/", "/etc", "/root", "/home/u", "/home/u/.config", "/usr/lib", "/usr", "/var/spool", "/run/systemd", "/etc/ssh", "/etc/nginx"} {
		if got := familyOfDir(dir); got != none {
			t.Errorf("%q is %d", dir, got)
		}
	}
}

func misses() []*event.Event {
	return []*event.Event{act(event.KindFileCreate, proc("/bin/sh"), "/var/log/nginx/access.log"),
		act(event.KindFileOpen, proc("/usr/bin/dpkg"), "/etc/cron.d/x"), act(event.KindFileClose, proc("/bin/sh"), "/home/u/src/a/b/c.go"),
		act(event.KindFileOpen, proc("/bin/sh"), "/tmp/x"),
		change(act(event.KindFileRename, proc("/bin/mv"), "/tmp/x"), func(ev *event.Event) { ev.File.Type, ev.File.NewPath = "dir", "/home/u/src/a" })}
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), misses()...)
}

func FuzzFamilyOf(f *testing.F) {
	for _, s := range []string{"/etc/", "/etc/cron.d/", "/home/u/.bashrc", "/.ssh/authorized_keys", "/usr/lib/", "/run/", "//////"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if w := familyOf(s); w != none && (w < 0 || int(w) >= len(families) || s[0] != '/') {
			t.Errorf("%q is %d", s, w)
		}
		if w := familyOfDir(s); w != none && (w < 0 || int(w) >= len(families)) {
			t.Errorf("directory %q is %d", s, w)
		}
	})
}

func BenchmarkMiss(b *testing.B) { detectest.Benchmark(b, New(), misses()[0]) }
func BenchmarkMissEtc(b *testing.B) {
	detectest.Benchmark(b, New(), act(event.KindFileOpen, proc("/bin/sh"), "/etc/nginx/nginx.conf"))
}
func BenchmarkMissHome(b *testing.B) {
	detectest.Benchmark(b, New(), act(event.KindFileClose, proc("/bin/sh"), "/home/u/src/a/b/c.go"))
}
func BenchmarkPackageManager(b *testing.B) { detectest.Benchmark(b, New(), misses()[1]) }
