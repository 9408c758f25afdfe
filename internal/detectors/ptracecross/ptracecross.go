// Package ptracecross finds processes that change another user's process:
// by ptrace(2), by process_vm_writev(2), or by opening /proc/PID/mem for
// writing. It is how code is put into a running program.
//
// Another user's is a process whose real or effective user differs from who
// acts. Acts within one user are let pass, debuggers work so every day, unless
// the sensor finds no legal cause for them at all. Known debuggers and
// checkpointers (gdb, strace, perf, criu, ...) run as root are reported all
// the same, as low; other programs of root as medium when a person or a
// service is behind them. A network server behind the act makes it critical.
// A refused act is one step lower, and so is one of which the kernel tells
// nothing but that CAP_SYS_PTRACE was checked for it: within one user it asks
// for no capability, unless the target may not be dumped.
//
// Known false alarms: crash reporters and profilers that attach to services as
// root, and rootless container tools, which act on their own subordinate users
// (one step lower).
//
// Not found: reading another process's memory; acts by root on root's own
// processes; acts within one user, such as stealing from one's own ssh-agent;
// a target whose owner the kernel's hook does not tell (see the guarantees of
// the privilege sensor); memory shared between the two beforehand.
package ptracecross

import (
	"strconv"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

var trace = event.Rule{
	ID:       "ptrace-other-user",
	Title:    "A process took control of another user's process by ptrace",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1055.008"},
}

var write = event.Rule{
	ID:       "vm-write-other-user",
	Title:    "A process wrote into the memory of another user's process",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1055"},
}

var mem = event.Rule{
	ID:       "proc-mem-other-user",
	Title:    "A process opened the memory of another user's process for writing",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1055.009"},
}

// debuggers attach to other processes for a living. Read-only.
var debuggers = origin.NewNames("gdb", "gdbserver", "gcore", "strace", "ltrace", "lldb", "lldb-server", "perf", "rr", "dlv", "criu",
	"reptyr", "uftrace", "bpftrace", "py-spy", "rbspy", "austin", "jattach", "jmap", "jstack", "valgrind", "eu-stack", "pstack",
	"apport", "abrt-hook-ccpp", "systemd-coredump", "debuggerd", "vgdb", "valgrind.bin", "merlon")

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "ptracecross".
func (*Detector) Name() string { return "ptracecross" }

// Rules returns one rule for each way.
func (*Detector) Rules() []event.Rule { return []event.Rule{trace, write, mem} }

// Needs returns the acts that change another process.
func (*Detector) Needs() []event.Kind {
	return []event.Kind{event.KindPtrace, event.KindVMWrite, event.KindMemWrite}
}

// Detect looks at one act.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	pr := ev.Privilege
	if pr == nil {
		return
	}
	uid := actor(ev)
	cross := false
	switch t := pr.Target; {
	case t == nil:
		if pr.Via != "capable" {
			return
		}
		cross = true // within one user the kernel asks for no capability (kernel/ptrace.c)
	case t.Start == 0: // its owner is not known
		return
	default:
		cross = t.UID != uid || t.EUID != uid
		if !cross && pr.Cause != "none" {
			return
		}
	}
	switch ev.Kind {
	case event.KindPtrace:
		found(finding(ev, trace, uid, cross))
	case event.KindVMWrite:
		found(finding(ev, write, uid, cross))
	case event.KindMemWrite:
		found(finding(ev, mem, uid, cross))
	}
}

// actor returns the effective user that acts, as of the act.
func actor(ev *event.Event) uint32 {
	if ev.Thread.PID != 0 || ev.Process == nil {
		return ev.Thread.EUID
	}
	return ev.Process.Creds.EUID
}

// grade says how bad it is, and what lowers it.
func grade(ev *event.Event, uid uint32) (event.Severity, string) {
	p, pr := ev.Process, ev.Privilege
	switch {
	case p == nil:
		return event.SeverityHigh, ""
	case origin.Server(p) != nil:
		return event.SeverityCritical, "; behind it is " + program.Describe(origin.Server(p))
	case p.Container != nil:
		return event.SeverityHigh, ""
	case uid == 0 && debuggers.Has(p):
		return event.SeverityLow, "; " + event.Safe(origin.Tool(p)) + " is known to do so"
	case pr.Cause == "none":
		return event.SeverityHigh, ""
	case pr.Cause == "user_namespace":
		return event.SeverityMedium, "; the target lives in a user namespace of the actor"
	case uid == 0 && (origin.Person(p) || origin.Service(p) != ""):
		return event.SeverityMedium, ""
	}
	return event.SeverityHigh, ""
}

// verbs say what was done, past what would have been. Read-only.
var (
	verbs = map[event.Kind]string{
		event.KindPtrace: "took control of", event.KindVMWrite: "wrote into the memory of", event.KindMemWrite: "opened for writing the memory of",
	}
	past = map[event.Kind]string{
		event.KindPtrace: "taken control of", event.KindVMWrite: "written into the memory of", event.KindMemWrite: "opened for writing the memory of",
	}
)

func finding(ev *event.Event, rule event.Rule, uid uint32, cross bool) event.Finding {
	pr := ev.Privilege
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: "thread.euid", Value: number(uid), Source: "kernel"},
	}}
	whom := "a process of another user, or one that may not be looked into"
	if t := pr.Target; t != nil {
		whom = event.Safe(string(t.Comm)) + " (pid " + string(number(t.PID)) + ", uid " + string(number(t.UID)) + ")"
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.target.uid", Value: number(t.UID), Source: "kernel"},
			event.Evidence{Field: "privilege.target.euid", Value: number(t.EUID), Source: "kernel"})
	}
	s, note := grade(ev, uid)
	verb := " " + verbs[ev.Kind] + " "
	if pr.Via == "capable" {
		s, verb = origin.Lower(s), " used its right to act on "
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.capability", Value: event.Text(pr.Cap), Source: "kernel"})
	}
	if pr.Result < 0 {
		s, verb = origin.Lower(s), " was refused: it would have "+past[ev.Kind]+" "
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.result", Value: event.Text(strconv.Itoa(pr.Result)), Source: "kernel"})
	}
	if pr.Call != "" {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.call", Value: event.Text(pr.Call), Source: "kernel"})
	}
	if pr.Cause != "" {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.cause", Value: event.Text(pr.Cause), Source: "merlon"})
	}
	f.Rule.Severity = s
	f.Reason = who(ev) + verb + whom
	if !cross {
		f.Reason += ", of the same user, without a legal cause"
	}
	f.Reason += note
	if ev.Process != nil {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.exe", Value: ev.Process.Exe, Source: "kernel"})
	}
	return f
}

func who(ev *event.Event) string {
	if ev.Process == nil {
		return event.Safe(string(ev.Thread.Comm)) + " (pid " + string(number(ev.Thread.PID)) + ", uid " + string(number(ev.Thread.EUID)) + ")"
	}
	return program.Describe(ev.Process)
}

func number(n uint32) event.Text { return event.Text(strconv.FormatUint(uint64(n), 10)) }
