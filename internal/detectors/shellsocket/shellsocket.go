// Package shellsocket finds shells that talk to the network: the mark of
// reverse and bind shells.
//
// A shell counts when its standard input or output is an IPv4 or IPv6 socket
// with a peer at the moment of exec; an interpreter (python, perl, ...) only
// when it reads commands or runs code given as an argument, because servers
// written in these languages are started with a script. Unix sockets don't
// count: sshd, sudo and container runtimes use them. What the kernel says is
// enough for a shell; an interpreter's role rests on its arguments, which the
// process could have written.
//
// Known false alarms: a shell script run per connection by inetd, xinetd or a
// systemd unit with Accept=yes and StandardInput=socket (reported as medium),
// and rshd. Not found: a shell behind a pty or a pipe that another process
// copies to the network, and a socket opened after the exec.
package shellsocket

import (
	"net"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "shell-socket",
	Title:    "A shell talks to the network on its standard input or output",
	Severity: event.SeverityCritical,
	Attack:   []string{"T1059", "T1059.004", "T1095"},
}

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "shellsocket".
func (*Detector) Name() string { return "shellsocket" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns exec.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindExec} }

// Detect looks at one exec.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	if ev.Exec == nil || ev.Process == nil {
		return
	}
	fd := remote(ev.Exec.FDs)
	if fd == nil {
		return
	}
	shell := program.Shell(ev.Process)
	if !shell && (!program.Interpreter(ev.Process) || program.RoleOf(ev.Exec.Args) == program.Script) {
		return
	}
	found(finding(ev, fd, shell))
}

// remote returns the first of standard input and output that is a network
// socket with a peer.
func remote(fds []event.FD) *event.FD {
	for i := range fds {
		fd := &fds[i]
		s := fd.Socket
		if fd.Num > 1 || s == nil || s.RemoteAddr == "" {
			continue
		}
		if (s.Family == "inet" || s.Family == "inet6") && (s.Type == "stream" || s.Type == "dgram") {
			return fd
		}
	}
	return nil
}

func finding(ev *event.Event, fd *event.FD, shell bool) event.Finding {
	p, s := ev.Process, fd.Socket
	name := "input"
	if fd.Num == 1 {
		name = "output"
	}
	peer := net.JoinHostPort(s.RemoteAddr, strconv.Itoa(int(s.RemotePort)))
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(),
		Reason: program.Describe(p) + " has its standard " + name + " connected to " + event.Safe(peer),
		Evidence: []event.Evidence{
			{Field: "process.exe", Value: p.Exe, Source: "kernel"},
			{Field: "exec.fds", Value: event.Text(strconv.Itoa(fd.Num) + " " + s.Family + " " + s.Type + " " + peer), Source: "kernel"},
		}}
	if !shell {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "exec.args", Value: arguments(ev.Exec.Args), Source: "user"})
	}
	if by := superserver(ev); by != "" {
		f.Rule.Severity = event.SeverityMedium
		f.Reason += "; " + by + " starts programs this way"
	}
	return f
}

// superserver names the program that starts a service per connection, if one
// has started this process.
func superserver(ev *event.Event) string {
	p := ev.Process.Parent
	if p == nil {
		return ""
	}
	switch name := program.Of(p); {
	case name == "inetd" || name == "xinetd" || name == "inetutils-inetd" || name == "rlinetd" || name == "tcpserver":
		return name
	case p.PID == 1 && strings.Contains(ev.Process.Service, "@"):
		return "a socket unit of systemd"
	}
	return ""
}

// arguments joins the first arguments for the evidence.
func arguments(args []event.Text) event.Text {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(a[:min(len(a), 256)]))
		if b.Len() > 512 {
			break
		}
	}
	return event.Text(b.String())
}
