package moduleload

import (
	"os"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

func proc(exe event.Text, ancestors ...event.Text) *event.Process {
	p := &event.Process{PID: 900000, PPID: 899999, Exe: exe, LoginUID: unset, File: &event.File{Mode: 0o100755}}
	at := p
	for i, e := range ancestors {
		up := &event.Process{PID: uint32(899999 - i), Exe: e, LoginUID: unset, File: &event.File{Mode: 0o100755}}
		at.Parent, at = up, up
	}
	return p
}

func with(p *event.Process, f func(*event.Process)) *event.Process {
	f(p)
	return p
}

func service(name string, p *event.Process) *event.Process {
	p.Service, p.Slice = name, "system.slice"
	return p
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

func load(p *event.Process, path event.Text) *event.Event {
	return &event.Event{Kind: event.KindModuleLoad, Process: p, Privilege: &event.Privilege{Name: "x\x1b", Path: path, Call: "finit_module"}}
}

func prog(p *event.Process, kind string, helpers ...string) *event.Event {
	return &event.Event{Kind: event.KindBPFLoad, Process: p, Privilege: &event.Privilege{Name: "x", BPFType: kind, Helpers: helpers}}
}

func result(ev *event.Event, n int) *event.Event {
	ev.Privilege.Result = n
	return ev
}

func capable(ev *event.Event) *event.Event {
	ev.Privilege.Via, ev.Privilege.Cap = "capable", "CAP_BPF"
	return ev
}

func TestModules(t *testing.T) {
	const libs = "/lib/modules/6.1.0/kernel/net/x.ko"
	detectest.Table(t, New, []detectest.Case{
		{"a program of its own", load(proc("/tmp/x"), ""), "kernel-module-load high"},
		{"insmod of a person, from elsewhere", load(person(proc("/usr/bin/kmod", "/bin/bash")), "/tmp/x.ko"), "kernel-module-load high"},
		{"modprobe of a person", load(person(proc("/usr/bin/kmod", "/usr/bin/sudo")), libs), "kernel-module-load medium"},
		{"modprobe of nobody known", load(proc("/usr/bin/kmod", "/bin/sh"), libs), "kernel-module-load high"},
		{"a service", load(service("web.service", proc("/usr/bin/kmod")), libs), "kernel-module-load low"},
		{"a server", load(service("nginx.service", proc("/usr/bin/kmod", "/bin/sh", "/usr/sbin/nginx")), libs), "kernel-module-load critical"},
		{"a container", load(boxed(proc("/usr/bin/kmod")), libs), "kernel-module-load high"},
		{"a container, refused", result(load(boxed(proc("/usr/bin/kmod")), libs), -1), "kernel-module-load medium"},
		{"a modprobe of a user, started by the kernel", load(with(proc("/tmp/modprobe"), func(p *event.Process) { p.PPID, p.File = 2, &event.File{Mode: 0o100755, UID: 5} }), ""), "kernel-module-load high"},
		{"started by the kernel, no modprobe", load(with(proc("/usr/bin/sh"), func(p *event.Process) { p.PPID = 2 }), ""), "kernel-module-load high"},
		{"a child of systemd", load(proc("/usr/bin/kmod", "/usr/lib/systemd/systemd"), libs), "kernel-module-load high"},
		{"of an unknown process", &event.Event{Kind: event.KindModuleLoad, Thread: event.Thread{PID: 7, Comm: "x"}, Privilege: &event.Privilege{Via: "capable"}}, "kernel-module-load low"},

		{"the kernel", load(with(proc("/usr/bin/kmod"), func(p *event.Process) { p.PPID = 2 }), libs), ""},
		{"udev", load(service("systemd-udevd.service", proc("/usr/bin/udevadm")), libs), ""},
		{"a rule of udev", load(proc("/usr/bin/kmod", "/bin/sh", "/usr/lib/systemd/systemd-udevd"), libs), ""},
		{"systemd-modules-load", load(service("systemd-modules-load.service", proc("/usr/lib/systemd/systemd-modules-load")), libs), ""},
		{"init", load(with(proc("/usr/lib/systemd/systemd"), func(p *event.Process) { p.PID = 1 }), libs), ""},
		{"dpkg", load(person(proc("/usr/bin/kmod", "/bin/sh", "/usr/bin/dpkg")), libs), ""},
		{"docker", load(service("docker.service", proc("/usr/bin/kmod", "/usr/bin/dockerd")), libs), ""},
		{"a template unit", load(service("wg-quick@wg0.service", proc("/usr/bin/kmod")), libs), ""},
		{"loaded already", result(load(proc("/tmp/x"), ""), eexist), ""},
		{"another event", &event.Event{Kind: event.KindFork}, ""},
	})
}

func TestPrograms(t *testing.T) {
	self := proc("/tmp/anything")
	self.PID = uint32(os.Getpid())
	inside := proc("/usr/bin/merlon")
	inside.NSPID = uint32(os.Getpid())
	detectest.Table(t, New, []detectest.Case{
		{"a program of its own", prog(proc("/tmp/x"), "kprobe"), "bpf-load high"},
		{"a person", prog(person(proc("/home/u/x")), "kprobe"), "bpf-load medium"},
		{"a person, with helpers that harm", prog(person(proc("/home/u/x")), "kprobe", "probe_write_user"), "bpf-load high"},
		{"a service", prog(service("x.service", proc("/opt/x")), "xdp"), "bpf-load medium"},
		{"a service, with helpers that harm", prog(service("x.service", proc("/opt/x")), "kprobe", "bpf_override_return"), "bpf-load high"},
		{"bpftrace", prog(person(proc("/usr/bin/bpftrace")), "kprobe"), "bpf-load low"},
		{"a user's bpftrace", prog(person(with(proc("/home/u/bpftrace"), func(p *event.Process) { p.File = &event.File{UID: 1000} })), "kprobe"), "bpf-load medium"},
		{"falco", prog(service("falco-modern-bpf.service", proc("/opt/falco")), "tracing", "send_signal"), "bpf-load low"},
		{"docker, not for a container", prog(service("docker.service", proc("/usr/bin/dockerd")), "kprobe"), "bpf-load low"},
		{"a container", prog(boxed(proc("/x")), "sched_cls"), "bpf-load high"},
		{"a server", prog(proc("/x", "/usr/sbin/mysqld"), "socket_filter"), "bpf-load critical"},
		{"only the capability seen", capable(prog(proc("/tmp/x"), "")), "bpf-load medium"},
		{"refused", result(prog(person(proc("/home/u/x")), "kprobe"), -1), "bpf-load low"},

		{"a mistake", result(prog(proc("/tmp/x"), "kprobe"), -22), ""},
		{"the agent", prog(self, "tracing", "send_signal"), ""},
		{"the agent in a pid namespace", prog(inside, "tracing"), ""},
		{"runc", prog(proc("/usr/bin/runc", "/usr/bin/containerd-shim-runc-v2"), "cgroup_device"), ""},
		{"systemd", prog(with(proc("/usr/lib/systemd/systemd"), func(p *event.Process) { p.PID = 1 }), "cgroup_device"), ""},
		{"systemd of a user", prog(person(proc("/usr/lib/systemd/systemd")), "cgroup_device"), ""},
	})
}

func TestReason(t *testing.T) {
	New().Detect(result(prog(proc("/x", "/usr/sbin/nginx"), "kprobe", "probe_write_user"), -1), func(f event.Finding) {
		for _, want := range []string{"refused", "kprobe", "probe_write_user", "nginx"} {
			if !strings.Contains(f.Reason, want) {
				t.Errorf("the reason lacks %s: %s", want, f.Reason)
			}
		}
	})
}

func miss() *event.Event {
	return load(with(proc("/usr/bin/kmod"), func(p *event.Process) { p.PPID = 2 }), "/lib/modules/6.1.0/x.ko")
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), miss(), prog(proc("/usr/bin/runc"), "cgroup_device"), &event.Event{Kind: event.KindFork})
}

func BenchmarkMiss(b *testing.B) { detectest.Benchmark(b, New(), miss()) }
func BenchmarkMissOwn(b *testing.B) {
	p := proc("/usr/bin/merlon")
	p.PID = uint32(os.Getpid())
	detectest.Benchmark(b, New(), prog(p, "tracing"))
}
