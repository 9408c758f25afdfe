// Package moduleload finds kernel modules and BPF programs that are loaded by
// something other than the system itself: the ways to put a rootkit into the
// kernel.
//
// Modules: let pass are the kernel's own requests (a modprobe whose parent is
// kthreadd), systemd, udev and systemd-modules-load, package managers and
// DKMS, and services known to need modules (networking, storage, containers,
// virtual machines). Another service of the system is reported as low, an
// administrator's modprobe of a module in /lib/modules as medium.
//
// BPF programs: let pass are Merlon itself, systemd, and the device and socket
// filters that container runtimes load for each container. Container runtimes,
// network and observability services (Cilium, Falco, Tetragon, ...) and the
// tools bpftrace, bpftool and perf are reported as low, other services as
// medium, programs whose helpers change what other processes do or see as high
// whoever else loads them.
//
// A container or a network server behind the act raises either. An act that
// the kernel refused is one step lower, and so is one of which the kernel tells
// nothing but that a capability was checked for it.
//
// Known false alarms: CNI plug-ins, storage and driver containers of
// Kubernetes, which load modules from privileged containers on purpose;
// sandboxed browsers and runtimes that load a socket filter of their own.
//
// Not found: a module that replaced another on disk and that the system loads
// itself at the next boot; a module whose loading is triggered by an innocent
// request of the kernel; classic BPF filters of sockets (SO_ATTACH_FILTER),
// which no event tells of; what a known service loads when it is made to.
package moduleload

import (
	"os"
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/origin"
	"github.com/merlon/merlon/internal/match/program"
)

var module = event.Rule{
	ID:       "kernel-module-load",
	Title:    "A kernel module was loaded by something that is neither the system nor a package manager",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1547.006", "T1014"},
}

var bpf = event.Rule{
	ID:       "bpf-load",
	Title:    "A BPF program was loaded by something that is neither the system nor known for it",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1014", "T1205.002"},
}

// Error numbers (errno.h).
const (
	eperm  = -1
	eexist = -17
)

// Detector implements contract.Detector.
type Detector struct {
	self int // the agent's own process id
}

// New returns a Detector.
func New() *Detector { return &Detector{self: os.Getpid()} }

// Name returns "moduleload".
func (*Detector) Name() string { return "moduleload" }

// Rules returns kernel-module-load and bpf-load.
func (*Detector) Rules() []event.Rule { return []event.Rule{module, bpf} }

// Needs returns module_load and bpf_load.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindModuleLoad, event.KindBPFLoad} }

// Detect looks at one load.
func (d *Detector) Detect(ev *event.Event, found func(event.Finding)) {
	pr := ev.Privilege
	if pr == nil || d.own(ev) {
		return
	}
	var s event.Severity
	rule := &module
	switch ev.Kind {
	case event.KindModuleLoad:
		if pr.Result != eexist { // it was there
			s = gradeModule(ev.Process, pr)
		}
	case event.KindBPFLoad:
		if pr.Result == 0 || pr.Result == eperm { // else a mistake that the verifier found
			rule, s = &bpf, gradeBPF(ev.Process, pr)
		}
	}
	if s == "" {
		return
	}
	found(finding(ev, rule, s))
}

// own reports whether the agent itself acts: its own process, or, where pid
// namespaces lie between, the one that has its pid there and runs its binary.
func (d *Detector) own(ev *event.Event) bool {
	p := ev.Process
	if p == nil {
		return int(ev.Thread.PID) == d.self
	}
	return int(p.PID) == d.self || int(p.NSPID) == d.self && program.Base(p.Exe) == "merlon" && origin.Trusted(p)
}

// common grades what is alike for both: an unknown process, a server and a
// container, and the system itself. ok says that the grade is final.
func common(p *event.Process) (s event.Severity, ok bool) {
	switch {
	case p == nil:
		return event.SeverityMedium, true
	case origin.Installer(p) != nil:
		return "", true
	case origin.Server(p) != nil:
		return event.SeverityCritical, true
	case p.Container != nil:
		return event.SeverityHigh, true
	}
	return "", p.PID == 1 || systemd.Has(p) || origin.Ancestor(p, system) != nil
}

func gradeModule(p *event.Process, pr *event.Privilege) event.Severity {
	loader := p != nil && loaders.Has(p)
	if loader && origin.Kernel(p) {
		return ""
	}
	if s, ok := common(p); ok {
		return s
	}
	service := origin.Service(p)
	switch {
	case moduleServices[name(service)]:
		return ""
	case service != "":
		return event.SeverityLow
	case loader && origin.Person(p) && packaged(pr.Path):
		return event.SeverityMedium
	}
	return event.SeverityHigh
}

// packaged reports whether a module comes from where the kernel's modules are,
// as far as the hook tells its path.
func packaged(path event.Text) bool {
	s := string(path)
	return s == "" || strings.HasPrefix(s, "/lib/modules/") || strings.HasPrefix(s, "/usr/lib/modules/")
}

func gradeBPF(p *event.Process, pr *event.Privilege) event.Severity {
	if s, ok := common(p); ok {
		return s
	}
	service := origin.Service(p)
	known := bpfServices[name(service)] || watchers.Has(p) || runtimes.Has(p)
	switch {
	case runtimes.Has(p) && strings.HasPrefix(pr.BPFType, "cgroup"):
		return ""
	case known:
		return event.SeverityLow
	case harms(pr.Helpers):
		return event.SeverityHigh
	case service != "" || origin.Person(p):
		return event.SeverityMedium
	}
	return event.SeverityHigh
}

// harms reports whether a program's helpers can change what other processes
// do or see.
func harms(helpers []string) bool {
	for _, h := range helpers {
		switch strings.TrimPrefix(h, "bpf_") {
		case "probe_write_user", "override_return", "send_signal", "send_signal_thread":
			return true
		}
	}
	return false
}

func finding(ev *event.Event, rule *event.Rule, s event.Severity) event.Finding {
	pr := ev.Privilege
	f := event.Finding{Rule: *rule, Time: ev.Time, Event: ev.Clone()}
	what := "the kernel module "
	if rule == &bpf {
		what = "the BPF program "
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.bpf_type", Value: event.Text(pr.BPFType), Source: "kernel"})
	}
	name := event.Safe(string(pr.Name))
	if name == "" {
		name = "of unknown name"
	}
	verb := " loaded "
	switch {
	case pr.Via == "capable":
		verb, s = " used its right to load ", origin.Lower(s)
		if pr.Result < 0 {
			verb = " lacks the right to load "
		}
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.capability", Value: event.Text(pr.Cap), Source: "kernel"})
	case pr.Result < 0:
		verb, s = " was refused to load ", origin.Lower(s)
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.result", Value: event.Text(strconv.Itoa(pr.Result)), Source: "kernel"})
	}
	f.Rule.Severity = s
	f.Reason = who(ev) + verb + what + name
	if pr.BPFType != "" {
		f.Reason += " (" + event.Safe(pr.BPFType) + ")"
	}
	if len(pr.Helpers) > 0 {
		list := strings.Join(pr.Helpers, ", ")
		f.Reason += ", which calls " + event.Safe(list)
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.helpers", Value: event.Text(list), Source: "kernel"})
	}
	f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.name", Value: pr.Name, Source: "kernel"})
	if pr.Path != "" {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "privilege.path", Value: pr.Path, Source: "kernel"})
	}
	if p := ev.Process; p != nil {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.exe", Value: p.Exe, Source: "kernel"})
		if server := origin.Server(p); server != nil {
			f.Reason += "; behind it is " + program.Describe(server)
		}
	}
	return f
}

func who(ev *event.Event) string {
	if ev.Process == nil && ev.Thread.PID != 0 {
		return event.Safe(string(ev.Thread.Comm)) + " (pid " + strconv.FormatUint(uint64(ev.Thread.PID), 10) + ")"
	}
	return program.Describe(ev.Process)
}
