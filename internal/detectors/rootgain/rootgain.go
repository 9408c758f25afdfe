// Package rootgain finds processes that became root, or got capabilities as
// good as root, in a way the system does not provide: what a kernel exploit
// leaves behind.
//
// A process may become privileged by running a setuid file or one with file
// capabilities, or because it was allowed to change its ids all along (a real
// or saved uid of root, CAP_SETUID): sudo, su, sshd and all daemons do the one
// or the other. The detector compares the credentials an event shows with
// those the process tree knew before: at exec, at fork (a child copies its
// creator's), and in a resync, which tells what runs after events were lost.
// Root in a user namespace of its own is not
// root: there the uid seen from the host stays what it was, and capabilities
// count for nothing.
//
// Known false alarms: when events were lost, the exec of sudo may be among
// them; a finding within ten seconds of a loss, or from a resync, says so and
// is medium. A process may also become root by itself in a user namespace that
// an administrator gave the host's own root (an identity mapping). Not found: a gain before the process was known, and one that is
// given up again before the next event of the process.
package rootgain

import (
	"strconv"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/match/program"
)

var rule = event.Rule{
	ID:       "root-gained",
	Title:    "A process became root without a setuid file or a privileged parent",
	Severity: event.SeverityCritical,
	Attack:   []string{"T1068", "T1548"},
}

const (
	initUserNS = 0xEFFFFFFD     // PROC_USER_INIT_INO, include/linux/proc_ns.h
	shadow     = 10_000_000_000 // ns after a loss in which findings are doubted
)

// Numbers of capabilities (include/uapi/linux/capability.h).
const (
	capDACOverride = 1
	capSetuid      = 7
	capSysModule   = 16
	capSysRawio    = 17
	capSysPtrace   = 19
	capSysAdmin    = 21
	capSetfcap     = 31
	capMACAdmin    = 33
	capBPF         = 39
)

// rootLike are the capabilities that lead to root in one step.
const rootLike event.CapSet = 1<<capDACOverride | 1<<capSetuid | 1<<capSysModule | 1<<capSysRawio |
	1<<capSysPtrace | 1<<capSysAdmin | 1<<capSetfcap | 1<<capMACAdmin | 1<<capBPF

// Detector implements contract.Detector.
type Detector struct {
	lost uint64 // time of the last loss of process events, 0 for never
}

// New returns a Detector.
func New() *Detector { return &Detector{} }

// Name returns "rootgain".
func (*Detector) Name() string { return "rootgain" }

// Rules returns its one rule.
func (*Detector) Rules() []event.Rule { return []event.Rule{rule} }

// Needs returns the events that show credentials, and losses.
func (*Detector) Needs() []event.Kind {
	return []event.Kind{event.KindFork, event.KindExec, event.KindTask, event.KindLoss}
}

// Detect looks at one event.
func (d *Detector) Detect(ev *event.Event, found func(event.Finding)) {
	if ev.Loss != nil {
		switch ev.Loss.Of {
		case event.KindFork, event.KindExec, event.KindExit:
			d.lost = max(ev.Boot, 1)
		}
		return
	}
	p, was := ev.Process, ev.Was
	if p == nil || was == nil || was.Origin == event.OriginInferred && was.Exe == "" {
		return
	}
	if g := step(ev, p, was); g.what() {
		found(d.finding(ev, g))
	}
}

// gain is what a process got, and between which credentials.
type gain struct {
	root   bool
	caps   event.CapSet
	before *event.Creds
	after  *event.Creds
	atExec bool // across the exec itself, else before it
}

func (g gain) what() bool { return g.root || g.caps != 0 }

// step looks for a gain in what ev tells.
func step(ev *event.Event, p, was *event.Process) gain {
	if ev.Exec == nil {
		g := compare(&was.Creds, &p.Creds, userNS(p), userNS(was))
		if ev.Kind == event.KindTask && p.Exe != was.Exe && p.File.Setuid() && p.File.UID == 0 {
			return gain{} // it ran that setuid file, unseen
		}
		return g
	}
	before := &was.Creds
	if b := ev.Exec.Before; b != nil {
		if g := compare(before, b, userNS(p), userNS(was)); g.what() {
			return g
		}
		before = b
	}
	g := compare(before, &p.Creds, userNS(p), userNS(was))
	g.atExec = true
	if p.File.Setuid() && p.File.UID == 0 {
		g.root, g.caps = false, 0
	}
	if ev.Exec.Secure {
		g.caps = 0 // file capabilities (security/commoncap.c); they don't change the uid
	}
	return g
}

// compare tells what after has that before had no way to get.
func compare(before, after *event.Creds, hostAfter, hostBefore bool) gain {
	g := gain{before: before, after: after}
	if mayBeRoot(before, hostBefore) {
		return g
	}
	g.root = after.EUID == 0
	if hostAfter && hostBefore {
		g.caps = after.Effective & rootLike &^ before.Permitted
	}
	return g
}

// mayBeRoot reports whether the credentials allow a process to become root by
// itself (setuid(2), credentials(7)). Capabilities allow that only when they
// were held in the host's user namespace: anybody has all of them in one of
// his own.
func mayBeRoot(c *event.Creds, host bool) bool {
	return c.UID == 0 || c.EUID == 0 || c.SUID == 0 || host && c.Permitted&(1<<capSetuid) != 0
}

// userNS reports whether p lives in the host's user namespace, as far as known.
func userNS(p *event.Process) bool { return p.NS.User == 0 || p.NS.User == initUserNS }

func (d *Detector) finding(ev *event.Event, g gain) event.Finding {
	p, source := ev.Process, "merlon" // as the process tree knew it
	if ev.Exec != nil && g.before == ev.Exec.Before {
		source = "kernel"
	}
	f := event.Finding{Rule: rule, Time: ev.Time, Event: ev.Clone(), Evidence: []event.Evidence{
		{Field: "process.creds.euid", Value: uid(g.after.EUID), Source: "kernel"},
		{Field: "exec.creds_before.euid", Value: uid(g.before.EUID), Source: source},
		{Field: "process.exe", Value: p.Exe, Source: "kernel"},
	}}
	got := "root"
	if !g.root {
		got = strings.Join(g.caps.Names(), ", ")
	}
	if g.caps != 0 {
		f.Evidence = append(f.Evidence, event.Evidence{Field: "process.creds.cap_effective",
			Value: event.Text(strings.Join(g.caps.Names(), " ")), Source: "kernel"})
	}
	f.Reason = program.Describe(p) + " has " + got + "; it was uid " + string(uid(g.before.EUID)) + " before, "
	switch {
	case g.atExec:
		f.Reason += "and the file it ran is not setuid root"
		if p.File != nil {
			f.Evidence = append(f.Evidence, event.Evidence{Field: "process.file.mode",
				Value: event.Text(strconv.FormatUint(uint64(p.File.Mode), 8)), Source: "kernel"})
		}
	default:
		f.Reason += "and ran no setuid file since"
	}
	if ev.Kind == event.KindTask || (d.lost != 0 && ev.Boot < d.lost+shadow) {
		f.Rule.Severity = event.SeverityMedium
		f.Reason += " (events were lost: it may have run one unseen)"
	}
	return f
}

func uid(n uint32) event.Text { return event.Text(strconv.FormatUint(uint64(n), 10)) }
