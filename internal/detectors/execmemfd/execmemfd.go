// Package execmemfd finds programs that run from files nobody can look at any
// more: memory-only files (memfd_create(2)) and deleted ones.
//
// Container runtimes run themselves from memory on purpose: since
// CVE-2019-5736, runc and crun copy their own binary into a memfd before they
// enter a container, so that the container can't overwrite it. That is let
// pass, when the process ran such a runtime from a root-owned file outside any
// container image until then; a name alone proves nothing.
//
// A deleted file in a directory of the system that only root may write was
// most likely replaced by an upgrade while its program ran (browsers,
// systemd-executor, containerd-shim): reported as low.
package execmemfd

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var memfd = event.Rule{
	ID:       "exec-memfd",
	Title:    "A program runs from memory, without a file",
	Severity: event.SeverityCritical,
	Attack:   []string{"T1620", "T1027.011"},
}

var deleted = event.Rule{
	ID:       "exec-deleted",
	Title:    "A program runs from a deleted file",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1070.004", "T1036"},
}

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "execmemfd".
func (*Detector) Name() string { return "execmemfd" }

// Rules returns exec-memfd and exec-deleted.
func (*Detector) Rules() []event.Rule { return []event.Rule{memfd, deleted} }

// Needs returns exec.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindExec} }

// Detect looks at one exec.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	if ev.Exec == nil || ev.Process == nil || ev.Process.File == nil {
		return
	}
	switch f := ev.Process.File; {
	case f.Memfd:
		if !runtime(ev.Was) {
			found(finding(ev, memfd, " runs from memory (", "process.file.memfd"))
		}
	case f.Deleted:
		rule := deleted
		why := " runs from a deleted file ("
		if upgraded(f) {
			rule.Severity = event.SeverityLow
			why = " runs from a file that was deleted, probably by an upgrade ("
		}
		found(finding(ev, rule, why, "process.file.deleted"))
	}
}

// runtime reports whether p ran a container runtime that may copy itself into
// memory: one of that name, from a file of root that nobody else may write,
// and not from a container's image.
func runtime(p *event.Process) bool {
	if p == nil || p.File == nil || p.Container != nil {
		return false
	}
	switch program.Base(p.Exe) {
	case "runc", "crun", "docker-runc", "youki", "lxc-attach", "lxc-start", "lxc-execute", "nvidia-container-runtime":
	default:
		return false
	}
	f := p.File
	return trusted(f) && f.FS != "overlay" && !f.Memfd && !f.Deleted
}

// trusted reports whether only root may change the file.
func trusted(f *event.File) bool { return f.UID == 0 && f.Mode&0o022 == 0 }

// upgraded reports whether a deleted file lay where packages put programs.
func upgraded(f *event.File) bool {
	if !trusted(f) || f.FS == "tmpfs" || f.Unresolved != "" {
		return false
	}
	for _, dir := range [...]string{"/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/snap/", "/nix/store/"} {
		if strings.HasPrefix(string(f.Path), dir) {
			return true
		}
	}
	return false
}

func finding(ev *event.Event, rule event.Rule, why, field string) event.Finding {
	p := ev.Process
	return event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(),
		Reason: program.Describe(p) + why + event.Safe(string(p.File.Path)) + ")",
		Evidence: []event.Evidence{
			{Field: field, Value: "true", Source: "kernel"},
			{Field: "process.file.path", Value: p.File.Path, Source: "kernel"},
			{Field: "exec.filename", Value: ev.Exec.Filename, Source: "kernel"},
			{Field: "exec.previous_exe", Value: ev.Exec.Previous, Source: "merlon"},
		}}
}
