// Package servershell finds shells started by web and database servers: what
// command injection, web shells and SQL injection with code execution end in.
//
// A server counts as the parent, the process itself before its exec, or an
// ancestor at most eight levels up with nothing between but shells, programs
// made to run another (env, timeout, sudo), and one program of another kind (a
// CGI program, a sandbox). It is known by its binary's name.
//
// Some servers start shells by design, which is reported as medium: Apache and
// PHP (CGI, piped logs, mail() through sendmail), servlet containers, and
// PostgreSQL (archive_command, restore_command; but COPY ... FROM PROGRAM looks
// the same). Nginx, MySQL, Redis and the like never do: high. Node, Python and
// Ruby servers are not known, because their binaries do not tell a server from
// a script.
//
// Not found: a shell behind two programs of other kinds (the first of them is
// the injected code then), one below a process whose creator had ended before
// Merlon started, and a copy of a shell or of a server under another name.
package servershell

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "server-shell",
	Title:    "A web or database server started a shell",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1190", "T1505.003", "T1059.004"},
}

// maxLevels bounds the walk to the server.
const maxLevels = 8

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "servershell".
func (*Detector) Name() string { return "servershell" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns exec.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindExec} }

// Detect looks at one exec.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	p := ev.Process
	if ev.Exec == nil || p == nil || !program.Shell(p) {
		return
	}
	server, field := culprit(ev)
	if server == nil {
		return
	}
	kind := program.ServerOf(server)
	r := rule
	if kind == program.App || kind == program.DatabaseHooks {
		r.Severity = event.SeverityMedium
	}
	found(event.Finding{Rule: r, Time: ev.Time, Event: ev.Clone(),
		Reason: program.Describe(server) + ", a " + string(kind) + ", started the shell " + program.Describe(p),
		Evidence: []event.Evidence{
			{Field: "process.exe", Value: p.Exe, Source: "kernel"},
			{Field: field, Value: server.Exe, Source: "kernel"},
		}})
}

// culprit returns the server that started the shell, and the field that names
// its binary.
func culprit(ev *event.Event) (*event.Process, string) {
	level, others := 1, 0
	for p := ev.Process.Parent; p != nil && level <= maxLevels; p = p.Parent {
		if program.ServerOf(p) != program.None {
			return p, "process" + strings.Repeat(".parent", level) + ".exe"
		}
		if level == 1 && program.ServerOf(ev.Was) != program.None {
			break
		}
		if !wrapper(p) {
			others++
		}
		if others > 1 {
			break
		}
		level++
	}
	if program.ServerOf(ev.Was) != program.None {
		return ev.Was, "exec.previous_exe"
	}
	return nil, ""
}

// wrapper reports whether p runs a program that is there to run another one.
func wrapper(p *event.Process) bool {
	if program.Shell(p) {
		return true
	}
	switch program.Of(p) {
	case "env", "timeout", "nice", "ionice", "nohup", "setsid", "stdbuf", "sudo", "su", "doas", "runuser", "setpriv",
		"chroot", "unshare", "nsenter", "bwrap", "xargs", "find", "flock", "script", "time", "watch", "chrt", "taskset",
		"prlimit", "strace", "dumb-init", "tini":
		return true
	}
	return false
}
