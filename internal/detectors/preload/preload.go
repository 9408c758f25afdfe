// Package preload finds environment variables that tell the dynamic loader
// what to load, handed to a program that runs with more privileges than its
// caller (setuid, setgid, file capabilities).
//
// The loader ignores or cleans them in that case (ld.so(8), secure-execution
// mode), so this is mostly an attempt; CVE-2023-4911 (GLIBC_TUNABLES) and
// CVE-2010-3847 (LD_AUDIT, $ORIGIN) show what it is for. Whether the program
// is privileged comes from the kernel; the environment is the caller's.
//
// Known false alarms: a desktop or a build environment whose LD_PRELOAD or
// LD_LIBRARY_PATH stays set when sudo or ping is called. LD_PRELOAD by plain
// library name is reported as medium, search paths and debugging as low.
package preload

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "ld-preload-setuid",
	Title:    "A privileged program is started with variables that steer its loader",
	Severity: event.SeverityHigh,
	Attack:   []string{"T1574.006", "T1548.001"},
}

// Detector implements contract.Detector.
type Detector struct{}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "preload".
func (*Detector) Name() string { return "preload" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns exec.
func (*Detector) Needs() []event.Kind { return []event.Kind{event.KindExec} }

// Detect looks at one exec.
func (*Detector) Detect(ev *event.Event, found func(event.Finding)) {
	if ev.Exec == nil || ev.Process == nil || !ev.Exec.Secure {
		return
	}
	var worst event.Severity
	for i := range ev.Exec.Env {
		if s := danger(&ev.Exec.Env[i]); s.Rank() > worst.Rank() {
			worst = s
		}
	}
	if worst != "" {
		found(finding(ev, worst))
	}
}

// danger grades one variable of a privileged program, "" when it is harmless.
func danger(v *event.Var) event.Severity {
	if v.Value == "" {
		return ""
	}
	switch v.Name {
	case "LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH":
		return event.SeverityHigh
	case "LD_PRELOAD":
		if strings.Contains(string(v.Value), "/") {
			return event.SeverityHigh
		}
		return event.SeverityMedium
	case "LD_LIBRARY_PATH", "LD_ORIGIN_PATH", "LD_DEBUG_OUTPUT", "LD_PROFILE", "LD_PROFILE_OUTPUT", "LOCPATH":
		return event.SeverityLow
	}
	return ""
}

func finding(ev *event.Event, severity event.Severity) event.Finding {
	p := ev.Process
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: "exec.secure", Value: "true", Source: "kernel"},
		{Field: "process.exe", Value: p.Exe, Source: "kernel"},
	}}
	f.Rule.Severity = severity
	var names []string
	for i := range ev.Exec.Env {
		if v := &ev.Exec.Env[i]; danger(v) != "" {
			names = append(names, event.Safe(string(v.Name)))
			f.Evidence = append(f.Evidence, event.Evidence{Field: "exec.env", Value: v.Name + "=" + v.Value, Source: "user"})
		}
	}
	f.Reason = program.Describe(p) + ", a privileged program, was started with " + strings.Join(names, ", ")
	if p.Parent != nil {
		f.Reason += " by " + program.Describe(p.Parent)
	}
	return f
}
