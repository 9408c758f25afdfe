package shellsocket

import (
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/detectest"
	"github.com/merlon/merlon/internal/event"
)

var _ contract.Detector = (*Detector)(nil)

func socket(num int, family, kind, peer string) event.FD {
	return event.FD{Num: num, Type: "socket", Socket: &event.Socket{Family: family, Type: kind, RemoteAddr: peer, RemotePort: 4444}}
}

func run(exe, comm event.Text, args []event.Text, fds ...event.FD) *event.Event {
	return &event.Event{Kind: event.KindExec, Process: &event.Process{PID: 9, Exe: exe, Comm: comm},
		Exec: &event.Exec{Args: args, FDs: fds}}
}

func TestDetect(t *testing.T) {
	const hit = "shell-socket critical"
	tcp, tty := socket(0, "inet", "stream", "10.0.0.1"), event.FD{Num: 0, Type: "char", Path: "/dev/pts/0"}
	perConnection := run("/bin/bash", "bash", nil, tcp)
	perConnection.Process.Parent = &event.Process{PID: 1, Exe: "/usr/lib/systemd/systemd"}
	bySystemd := *perConnection
	q := *perConnection.Process
	q.Service = "echo@4-10.0.0.1:7-10.0.0.2:4444.service"
	bySystemd.Process = &q
	byInetd := run("/bin/sh", "sh", nil, tcp)
	byInetd.Process.Parent = &event.Process{PID: 7, Exe: "/usr/sbin/inetd"}
	detectest.Table(t, New, []detectest.Case{
		{"bash, stdin", run("/bin/bash", "bash", []event.Text{"bash", "-i"}, tcp), hit},
		{"sh, stdout only", run("/bin/sh", "sh", nil, tty, socket(1, "inet6", "stream", "2001:db8::1")), hit},
		{"dash, UDP", run("/bin/dash", "sh", nil, socket(0, "inet", "dgram", "10.0.0.1")), hit},
		{"busybox sh", run("/bin/busybox", "sh", nil, tcp), hit},
		{"a script", run("/bin/sh", "x", []event.Text{"sh", "/x"}, tcp), hit},
		{"python -c", run("/usr/bin/python3.11", "python3", []event.Text{"python3", "-c", "x"}, tcp), hit},
		{"perl, commands from the socket", run("/usr/bin/perl", "perl", []event.Text{"perl"}, tcp), hit},
		{"child of systemd without a socket unit", perConnection, hit},
		{"socket unit of systemd", &bySystemd, "shell-socket medium"},
		{"inetd", byInetd, "shell-socket medium"},

		{"python server", run("/usr/bin/python3.11", "python3", []event.Text{"python3", "serve.py"}, tcp), ""},
		{"terminal", run("/bin/bash", "bash", nil, tty), ""},
		{"unix socket", run("/bin/bash", "bash", nil, socket(0, "unix", "stream", "")), ""},
		{"listening socket", run("/bin/bash", "bash", nil, socket(0, "inet", "stream", "")), ""},
		{"raw socket", run("/bin/bash", "bash", nil, socket(0, "inet", "raw", "10.0.0.1")), ""},
		{"stderr only", run("/bin/bash", "bash", nil, socket(2, "inet", "stream", "10.0.0.1")), ""},
		{"cat", run("/bin/cat", "cat", nil, tcp), ""},
		{"busybox nc", run("/bin/busybox", "nc", nil, tcp), ""},
		{"fork", &event.Event{Kind: event.KindFork, Process: &event.Process{Exe: "/bin/sh"}}, ""},
	})
}

func TestEvidenceNamesUserMemory(t *testing.T) {
	tcp := socket(0, "inet", "stream", "10.0.0.1")
	for exe, want := range map[event.Text]bool{"/bin/sh": false, "/usr/bin/perl": true} {
		New().Detect(run(exe, "x", []event.Text{"x", "-e", "\x1b[31m"}, tcp), func(f event.Finding) {
			if f.UserMemory() != want {
				t.Errorf("%s: user memory is %v", exe, !want)
			}
			if !strings.Contains(f.Reason, "10.0.0.1:4444") {
				t.Errorf("the reason does not name the peer: %s", f.Reason)
			}
		})
	}
}

func TestMissAllocatesNothing(t *testing.T) {
	tcp := socket(0, "inet", "stream", "10.0.0.1")
	detectest.MissAllocatesNothing(t, New(), run("/bin/bash", "bash", nil, event.FD{Num: 0, Type: "char"}), run("/bin/cat", "cat", nil, tcp),
		run("/usr/bin/python3", "python3", []event.Text{"python3", "x.py"}, tcp))
}

func BenchmarkMiss(b *testing.B) {
	detectest.Benchmark(b, New(), run("/bin/bash", "bash", nil, event.FD{Num: 0, Type: "char"}, event.FD{Num: 1, Type: "char"}))
}
