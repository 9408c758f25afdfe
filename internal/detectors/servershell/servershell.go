// Package servershell finds shells started by web and database servers: what
// command injection, web shells and SQL injection with code execution end in.
//
// A server counts as the parent, the grandparent (a CGI program or a sandbox
// between them), or the process itself before its exec. It is known by its
// binary's name.
//
// Some servers start shells by design, which is reported as medium: Apache and
// PHP (CGI, piped logs, mail() through sendmail), servlet containers, and
// PostgreSQL (archive_command, restore_command; but COPY ... FROM PROGRAM looks
// the same). Nginx, MySQL, Redis and the like never do: high. Node, Python and
// Ruby servers are not known, because their binaries do not tell a server from
// a script.
package servershell

import (
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "server-shell",
	Title:    "A web or database server started a shell",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1190", "T1505.003", "T1059.004"},
}

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
	parent := ev.Process.Parent
	if program.ServerOf(parent) != program.None {
		return parent, "process.parent.exe"
	}
	if program.ServerOf(ev.Was) != program.None {
		return ev.Was, "exec.previous_exe"
	}
	if parent != nil && program.ServerOf(parent.Parent) != program.None {
		return parent.Parent, "process.parent.parent.exe"
	}
	return nil, ""
}
