// Package exectmp finds programs and scripts that a service runs from a
// directory everybody may write: /tmp, /var/tmp, /dev/shm.
//
// A service is a process of a system account (effective uid 1 to 999, or
// nobody) or of a systemd service unit of the system, when nobody logged in to
// start it. Whether the account has a login shell is not asked: that is for
// whoever broke in to change.
//
// Known false alarms: package scripts under apt-daily-upgrade.service and
// debconf, and build agents (Jenkins, GitLab runner) that build in /tmp. As
// services of root they are reported as medium. Not found: a script handed to
// an interpreter as an argument (`sh /tmp/x`), which the kernel does not know
// as what is run.
package exectmp

import (
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "exec-tmp-service",
	Title:    "A service runs a program from a directory that everybody may write",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1059", "T1036.005"},
}

const (
	systemUIDs = 1000 // login.defs(5): UID_MIN of people
	nobody     = 65534
	unset      = ^uint32(0) // login uid of what no login started
)

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "exectmp".
func (*Detector) Name() string { return "exectmp" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns exec.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindExec} }

// Detect looks at one exec.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	p := ev.Process
	if ev.Exec == nil || p == nil {
		return
	}
	path, field := p.Exe, "process.exe"
	if !writable(path) {
		if path, field = ev.Exec.Script, "exec.script"; !script(path, p.CWD) {
			return
		}
	}
	as, severity := service(p)
	if as == "" {
		return
	}
	r := rule
	r.Severity = severity
	evidence := []event.Evidence{
		{Field: field, Value: path, Source: "kernel"},
		{Field: "process.creds.euid", Value: event.Text(strconv.FormatUint(uint64(p.Creds.EUID), 10)), Source: "kernel"},
	}
	if path[0] != '/' {
		evidence = append(evidence, event.Evidence{Field: "process.cwd", Value: p.CWD, Source: "kernel"})
	}
	if p.Service != "" {
		evidence = append(evidence, event.Evidence{Field: "process.service", Value: event.Text(p.Service), Source: "merlon"})
	}
	found(event.Finding{Rule: r, Time: ev.Time, Event: ev.Clone(), Evidence: evidence,
		Reason: program.Describe(p) + ", " + as + ", runs " + event.Safe(string(path))})
}

// writable reports whether path lies where everybody may write.
func writable(path event.Text) bool {
	for _, dir := range [...]string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/"} {
		if strings.HasPrefix(string(path), dir) {
			return true
		}
	}
	return false
}

// script reports the same of a script's path, which is as it was given.
func script(path, cwd event.Text) bool {
	switch {
	case path == "" || strings.HasPrefix(string(path), "/dev/fd/"):
		return false
	case path[0] == '/':
		return writable(path)
	}
	return writable(cwd) || cwd == "/tmp" || cwd == "/var/tmp" || cwd == "/dev/shm"
}

// service says in what way p belongs to a service, "" when it does not.
func service(p *event.Process) (as string, severity event.Severity) {
	uid := p.Creds.EUID
	switch {
	case p.LoginUID >= systemUIDs && p.LoginUID != nobody && p.LoginUID != unset:
		return "", "" // a person, by su or sudo perhaps
	case uid == nobody, uid > 0 && uid < systemUIDs:
		return "a service account", event.SeverityHigh
	case uid == 0 && p.LoginUID == unset && p.TTY == "" && strings.HasSuffix(p.Service, ".service") &&
		!strings.HasPrefix(p.Service, "user@") && strings.HasPrefix(p.Slice, "system"):
		return "a service of root", event.SeverityMedium
	}
	return "", ""
}
