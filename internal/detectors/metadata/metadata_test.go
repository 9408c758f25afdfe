package metadata

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

const unset = ^uint32(0)

func connect(addr string, p *event.Process) *event.Event {
	return &event.Event{Kind: event.KindNetConnect, Process: p,
		Net: &event.Net{Family: "inet", Type: "stream", RemoteAddr: addr, RemotePort: 80, Result: -115}}
}

func service(exe event.Text, unit string) *event.Process {
	return &event.Process{PID: 9, Exe: exe, LoginUID: unset, Service: unit, Slice: "system.slice", File: &event.File{Mode: 0o100755}}
}

func change(ev *event.Event, f func(*event.Event)) *event.Event {
	f(ev)
	return ev
}

func TestDetect(t *testing.T) {
	const aws = "169.254.169.254"
	pod := func(exe event.Text) *event.Process {
		p := service(exe, "")
		p.Container = &event.Container{ID: "a"}
		return p
	}
	port := func(n uint16, kind string) func(*event.Event) {
		return func(ev *event.Event) { ev.Net.RemotePort, ev.Net.Type = n, kind }
	}
	detectest.Table(t, New, []detectest.Case{
		{"a service", connect(aws, service("/opt/app", "app.service")), "cloud-metadata medium"},
		{"IPv6", connect("fd00:ec2::254", service("/opt/app", "app.service")), "cloud-metadata medium"},
		{"Alibaba", connect("100.100.100.200", service("/opt/app", "app.service")), "cloud-metadata medium"},
		{"Oracle", connect("192.0.0.192", service("/opt/app", "app.service")), "cloud-metadata medium"},
		{"a container", connect(aws, pod("/app")), "cloud-metadata medium"},
		{"curl in a container", connect(aws, pod("/usr/bin/curl")), "cloud-metadata high"},
		{"python -c", connect(aws, change(connect(aws, pod("/usr/bin/python3")), func(ev *event.Event) { ev.Process.Args = []event.Text{"python3", "-c", "x"} }).Process), "cloud-metadata high"},
		{"a script in python", connect(aws, change(connect(aws, pod("/usr/bin/python3")), func(ev *event.Event) { ev.Process.Args = []event.Text{"python3", "/app.py"} }).Process), "cloud-metadata medium"},
		{"a server", connect(aws, service("/usr/sbin/nginx", "nginx.service")), "cloud-metadata high"},
		{"a person", connect(aws, &event.Process{Exe: "/usr/bin/curl", LoginUID: 1000}), "cloud-metadata low"},
		{"a name alone proves nothing", connect(aws, &event.Process{Exe: "/tmp/cloud-init", LoginUID: unset, File: &event.File{UID: 33}}), "cloud-metadata medium"},
		{"unknown", change(connect(aws, nil), func(ev *event.Event) { ev.Thread = event.Thread{PID: 5, Comm: "x\x1b"} }), "cloud-metadata medium"},

		{"cloud-init", connect(aws, service("/usr/bin/python3", "cloud-init.service")), ""},
		{"guest agent", connect(aws, service("/usr/bin/google_guest_agent", "x.service")), ""},
		{"chronyd", connect(aws, service("/usr/sbin/chronyd", "chrony.service")), ""},
		{"DNS over TCP", change(connect(aws, service("/opt/app", "app.service")), port(53, "stream")), ""},
		{"getaddrinfo, which sends nothing", change(connect(aws, service("/opt/app", "app.service")), port(0, "dgram")), ""},
		{"elsewhere", connect("169.254.169.253", service("/opt/app", "app.service")), ""},
		{"another event", &event.Event{Kind: event.KindFork}, ""},
	})
	New().Detect(connect(aws, service("/usr/sbin/nginx", "nginx.service")), func(f event.Finding) {
		if !strings.Contains(f.Reason, "169.254.169.254:80") {
			t.Error(f.Reason)
		}
	})
}

func TestMissAllocatesNothing(t *testing.T) {
	detectest.MissAllocatesNothing(t, New(), connect("10.0.0.1", service("/opt/app", "app.service")),
		connect("169.254.169.254", service("/usr/sbin/chronyd", "chrony.service")))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), connect("169.254.169.253", service("/opt/app", "app.service")))
}
