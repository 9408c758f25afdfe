package dockersock

import (
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

func connect(path event.Text, p *event.Process) *event.Event {
	return &event.Event{Kind: event.KindUnixConnect, Process: p, Net: &event.Net{Family: "unix", Type: "stream", Path: path}}
}

func proc(exe event.Text, uid uint32, group string) *event.Process {
	return &event.Process{PID: 9, Exe: exe, LoginUID: unset, Group: group, File: &event.File{Mode: 0o100755},
		Creds: event.Creds{UID: uid, EUID: uid}}
}

func boxed(exe event.Text) *event.Process {
	p := proc(exe, 0, "root")
	p.Container = &event.Container{ID: "3ec1a3b7cf9d1f4c8e0a"}
	return p
}

func change(ev *event.Event, f func(*event.Event)) *event.Event {
	f(ev)
	return ev
}

func TestDetect(t *testing.T) {
	const docker = "/var/run/docker.sock"
	server := proc("/usr/bin/curl", 33, "www-data")
	server.Parent = proc("/usr/sbin/nginx", 33, "www-data")
	person := proc("/usr/bin/docker", 33, "www-data")
	person.LoginUID = 1000
	detectest.Table(t, New, []detectest.Case{
		{"a container", connect(docker, boxed("/usr/bin/curl")), "runtime-socket-container high"},
		{"containerd", connect("/run/containerd/containerd.sock", boxed("/x")), "runtime-socket-container high"},
		{"podman of a user", connect("/run/user/1000/podman/podman.sock", boxed("/x")), "runtime-socket-container high"},
		{"crio, mounted elsewhere", connect("/host/run/crio/crio.sock", boxed("/x")), "runtime-socket-container high"},
		{"relative", connect("docker.sock", boxed("/x")), "runtime-socket-container high"},
		{"LXD", connect("/var/snap/lxd/common/lxd/unix.socket", boxed("/x")), "runtime-socket-container high"},
		{"traefik", connect(docker, boxed("/usr/local/bin/traefik")), "runtime-socket-container medium"},
		{"a traefik that anybody may write", connect(docker, change(connect(docker, boxed("/tmp/traefik")), func(ev *event.Event) { ev.Process.File.Mode |= 2 }).Process), "runtime-socket-container high"},
		{"a container, in vain", change(connect(docker, boxed("/x")), func(ev *event.Event) { ev.Net.Result = -13 }), "runtime-socket-container medium"},
		{"a service", connect(docker, proc("/opt/x", 999, "x")), "runtime-socket-service medium"},
		{"a service, in vain", change(connect(docker, proc("/opt/x", 999, "x")), func(ev *event.Event) { ev.Net.Result = -13 }), "runtime-socket-service low"},
		{"dropped root since its exec", change(connect(docker, proc("/opt/x", 0, "x")), func(ev *event.Event) { ev.Thread = event.Thread{PID: 9, EUID: 33} }), "runtime-socket-service medium"},
		{"behind a server", connect(docker, server), "runtime-socket-service high"},

		{"root", connect(docker, proc("/usr/bin/docker", 0, "root")), ""},
		{"a person", connect(docker, proc("/usr/bin/docker", 1000, "u")), ""},
		{"a person as another", connect(docker, person), ""},
		{"a service of the group", connect(docker, proc("/opt/x", 999, "docker")), ""},
		{"another socket", connect("/run/dbus/system_bus_socket", boxed("/x")), ""},
		{"another .sock", connect("/run/x/notdocker.sock", boxed("/x")), ""},
		{"abstract", connect("@docker.sock", boxed("/x")), ""},
		{"another unix.socket", connect("/run/x/unix.socket", boxed("/x")), ""},
		{"no name", connect("", boxed("/x")), ""},
		{"unknown process", connect(docker, nil), ""},
		{"another event", &event.Event{Kind: event.KindFork}, ""},
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), connect("/run/systemd/journal/dev-log", boxed("/x")),
		connect("/run/docker.sock", proc("/usr/bin/docker", 0, "root")))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), connect("/run/x/mysqld.sock", boxed("/x")))
}
func BenchmarkMissRoot(b *testing.B) {
	detectest.Benchmark(b, New(), connect("/run/docker.sock", proc("/x", 0, "root")))
}
