package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// tier is one way in which a mechanism may be had. try loads, attaches, drives
// and removes it, and returns the stage that failed.
type tier struct {
	name string
	try  func(ctx context.Context, l *lab) (stage string, err error)
}

// mechanism is something the machine may be able to do, with the tiers that
// may do it, best first.
type mechanism struct {
	name, group string
	guarantee   event.Guarantee
	tiers       []tier
}

// Mechanisms proves by canaries what this machine offers: sources of events,
// enforcement of processes and files, network hooks. It takes well under a
// second; canaries act on nothing but children, temporary files, a temporary
// cgroup and a network namespace of our own, and remove them.
func (k *Kernel) Mechanisms(ctx context.Context) []event.Feature {
	all := append(append(eventMechanisms(), actMechanisms()...), netMechanisms()...)
	features := make([]event.Feature, 0, len(all))
	l, err := newLab(ctx, k)
	if err != nil {
		k.log.Warn("no canary can run", "err", err)
	} else {
		defer l.close()
	}
	for _, m := range all {
		f := event.Feature{Name: m.name, Group: m.group, Guarantee: event.Absent}
		for _, t := range m.tiers {
			stage, e := stageCanary, err
			if err == nil {
				stage, e = t.try(ctx, l)
			}
			if noteAttempt(&f, t.name, m.guarantee, stage, e, k.env) {
				break
			}
		}
		features = append(features, f)
	}
	return features
}

// program makes a tier of canary programs that attach by their sections.
func program(name string, canary func(ctx context.Context, l *lab, u *Unit) error, progs ...string) tier {
	return tier{name, func(ctx context.Context, l *lab) (string, error) {
		return l.try(name, progs, l.knobs(l.target.ino), func(u *Unit) error { return canary(ctx, l, u) })
	}}
}

func eventMechanisms() []mechanism {
	const group = "events"
	return []mechanism{
		{"trace kernel events", group, event.Observe, []tier{
			program("tp_btf", seesExec, "c_tp_btf"),
			program("raw_tp", seesExec, "c_raw_tp"),
			program("tracepoint", seesExec, "c_tracepoint"),
		}},
		{"trace kernel functions", group, event.Observe, []tier{
			program("fentry", seesExec, "c_fentry"),
			program("kprobe", seesExec, "c_kprobe"),
		}},
		{"list kernel objects", group, event.Observe, []tier{program("iterator", listsTask, "c_iter")}},
	}
}

func actMechanisms() []mechanism {
	const group = "enforcement"
	return []mechanism{
		{"prevent exec", group, event.Prevent, []tier{
			program("lsm", deniesExec, "c_lsm_exec"),
			program("fmod_ret", deniesExec, "c_mod_exec"),
			{"fanotify", fanotifyExec},
			program("kill at exec", killsExec, "c_kill_exec"),
		}},
		{"kill at exec", group, event.Prevent, []tier{program("bpf_send_signal", killsExec, "c_kill_exec")}},
		{"prevent open", group, event.Prevent, []tier{
			program("lsm", deniesOpen, "c_lsm_open"),
			program("fmod_ret", deniesOpen, "c_mod_open"),
			{"fanotify", fanotifyOpen},
		}},
		{"prevent unlink", group, event.Prevent, []tier{
			{"lsm", deniesUnlink("c_lsm_unlink")},
			{"fmod_ret", deniesUnlink("c_mod_unlink")},
		}},
	}
}

func netMechanisms() []mechanism {
	const group = "network"
	return []mechanism{
		{"prevent connect", group, event.Prevent, []tier{
			{"cgroup", cgroupConnect},
			program("lsm", deniesConnect, "c_lsm_conn"),
			program("fmod_ret", deniesConnect, "c_mod_conn"),
		}},
		{"end connections", group, event.React, []tier{{"sock_destroy", sockDestroy}, {"inet_diag", inetDiagDestroy}}},
		{"drop packets on arrival", group, event.Prevent, []tier{{"xdp native", xdpNative}, {"xdp generic", xdpGeneric}}},
		{"filter packets of an interface", group, event.Prevent, []tier{{"tcx", tcxFilter}, {"tc", classicFilter}}},
		{"filter packets in the stack", group, event.Prevent, []tier{{"netfilter", netfilterFilter}}},
	}
}

// seesExec runs a child and wants the program to have seen it.
func seesExec(ctx context.Context, l *lab, u *Unit) error {
	if _, err := l.exec(ctx); err != nil {
		return err
	}
	return wantHits(u)
}

func listsTask(_ context.Context, _ *lab, u *Unit) error {
	if err := drain(u, "c_iter"); err != nil {
		return err
	}
	return wantHits(u)
}

// deniesExec wants the child's exec refused.
func deniesExec(ctx context.Context, l *lab, u *Unit) error {
	end, err := l.exec(ctx)
	if err != nil {
		return err
	}
	return l.wantDenied(end.err(), u.lsm())
}

// killsExec wants the child dead before its first instruction has written.
func killsExec(ctx context.Context, l *lab, u *Unit) error {
	end, err := l.exec(ctx)
	switch {
	case err != nil:
		return err
	case end.wrote:
		return &canaryError{cause: "the image ran before the signal reached it"}
	case !end.killed:
		return &canaryError{cause: fmt.Sprintf("the image was not killed (%v)", end.err())}
	}
	return nil
}

func deniesOpen(_ context.Context, l *lab, u *Unit) error {
	return l.wantDenied(l.target.open(), u.lsm())
}

// deniesUnlink makes a try that guards a file of its own against removal.
func deniesUnlink(prog string) func(context.Context, *lab) (string, error) {
	return func(_ context.Context, l *lab) (string, error) {
		f, err := l.newFile("unlink")
		if err != nil {
			return stageCanary, err
		}
		return l.try(prog, []string{prog}, l.knobs(f.ino), func(u *Unit) error { return l.wantDenied(f.remove(), u.lsm()) })
	}
}

func deniesConnect(_ context.Context, l *lab, u *Unit) error {
	return l.wantDenied(connectDiscard(), u.lsm())
}

// lsm reports whether the unit holds LSM programs.
func (u *Unit) lsm() bool {
	for _, s := range u.specs {
		if strings.HasPrefix(s.SectionName, "lsm/") {
			return true
		}
	}
	return false
}

// hits reads how often the unit's canary program acted.
func hits(u *Unit) (n uint64, err error) {
	err = u.Map(canaryMapCanaryHits).Lookup(uint32(canarySlotSLOT_SEEN), &n)
	if err != nil {
		return 0, fmt.Errorf("read canary: %w", err)
	}
	return n, nil
}

func wantHits(u *Unit) error {
	n, err := hits(u)
	if err == nil && n == 0 {
		err = &canaryError{cause: "it attached, but never ran"}
	}
	return err
}

// try loads and attaches canary programs, runs the canary and removes them.
func (l *lab) try(name string, progs []string, knobs map[string]any, canary func(*Unit) error, target ...Target) (stage string, err error) {
	u, err := l.k.load(l.spec, LoadOptions{Name: "canary", Programs: progs, Knobs: knobs}, nil)
	if err != nil {
		return stageLoad, err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	for _, p := range progs {
		if u.specs[p].SectionName == "tc" { // has no link: the canary attaches it
			continue
		}
		if err := u.Attach(p, target...); err != nil {
			return stageAttach, err
		}
	}
	if err := canary(u); err != nil {
		return stageCanary, fmt.Errorf("canary of %s: %w", name, err)
	}
	return "", nil
}
