package app

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/catalog"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/needs"
)

// attach makes the sensors, and probes and attaches the first, the process
// sensor. What happens from then on is seen; the others follow in prove.
func (a *Agent) attach(ctx context.Context) error {
	a.sensors = catalog.NewSensors(a.kernel, a.cfg, a.log)
	a.needs = needs.New(needs.Options{Told: a.attached, Log: a.log})
	if a.Environment().PIDNS { // our pid in the events is not the one we know: canaries come first
		for _, s := range a.sensors[1:] {
			a.proven.add(s.Probe(ctx))
		}
		a.proven.add(a.kernel.Mechanisms(ctx))
	}
	first := a.sensors[0]
	a.proven.add(first.Probe(ctx))
	a.needs.Ask("process tree", first.Info().Kinds, nil)
	a.needs.Add(first)
	return cmp.Or(a.needs.Apply(ctx), ctx.Err())
}

// attached notes whether a sensor could be attached. It is not worth ending
// the agent for.
func (a *Agent) attached(sensor string, err error) {
	if err == nil {
		a.trouble.well("sensor " + sensor)
		return
	}
	e := kernel.Explain("attach "+sensor, err, a.kernel.Environment())
	a.trouble.tell("sensor "+sensor, e.Cause, e.Cure)
}

// usual lists the kinds that are reported whoever asks.
func (a *Agent) usual() []event.Kind {
	list := a.cfg.Events.Reported()
	if len(a.cfg.Events.ReadPaths) > 0 {
		list = append(list, event.KindFileOpen)
	}
	return append(list, event.KindLoss) // never empty, which would mean all
}

// askers puts down what the configuration and the detectors ask for.
func (a *Agent) askers() {
	a.needs.Ask("configuration", withNames(a.usual()), a.cfg.Events.ReadPaths)
	for _, d := range a.detectors {
		var paths []string
		if p, ok := d.(contract.PathNeeder); ok {
			paths = p.Paths()
		}
		a.needs.Ask("detector "+d.Name(), withNames(d.Needs()), paths)
	}
}

// withNames adds DNS to kinds whose events tell the name that a connection was
// made for, which is learned from the answers.
func withNames(kinds []event.Kind) []event.Kind {
	for _, k := range kinds {
		switch k {
		case event.KindNetConnect, event.KindNetClose, event.KindNetFlow:
			return append(slices.Clone(kinds), event.KindDNS)
		}
	}
	return kinds
}

// Ask implements api.Agent. Release takes back what was asked for.
func (a *Agent) Ask(ctx context.Context, who string, kinds []event.Kind, paths []string) *api.Asked {
	asker := a.needs.Ask(who, withNames(kinds), paths)
	asked := &api.Asked{Release: asker.Close}
	if asker.Wait(ctx) != nil {
		asked.Notes = append(asked.Notes, api.Problem{Message: "the sensors are still being tried; events may come late", Cure: "see `merlon status`"})
		return asked
	}
	for _, n := range a.needed() {
		if slices.Contains(kinds, n.Kind) && !n.On && n.Kind != event.KindLoss && n.Kind != event.KindTask {
			asked.Notes = append(asked.Notes, unseen(&n))
		}
	}
	return asked
}

// unseen says why a kind of events can't be had.
func unseen(n *api.Need) api.Problem {
	p := api.Problem{Message: string(n.Kind) + " is not seen on this kernel", Cure: "`merlon check` tells more"}
	if len(n.Sensors) == 0 {
		p.Message = "no sensor of this version reports " + string(n.Kind)
		p.Cure = ""
	}
	for _, t := range n.Tiers {
		if t.Why != "" {
			p.Message += ": " + t.Why
			p.Cure = cmp.Or(t.Cure, p.Cure)
			break
		}
	}
	return p
}

// needed tells of every kind who asks for it and what reports it here.
func (a *Agent) needed() []api.Need {
	features := a.Features()
	list := []api.Need{}
	for _, n := range a.needs.List() {
		need := api.Need{Kind: n.Kind, Usual: a.hub.Usual(n.Kind), Askers: append([]string{}, n.Askers...), Sensors: n.Sensors, On: n.Told}
		absent := 0
		for _, f := range features {
			if !slices.Contains(f.Kinds, n.Kind) {
				continue
			}
			if f.Guarantee == event.Absent {
				absent++
			}
			need.Tiers = append(need.Tiers, api.Tier{Feature: f.Name, Tier: f.Tier, Guarantee: f.Guarantee, Why: f.Why, Cure: f.Cure})
		}
		if absent > 0 && absent == len(need.Tiers) {
			need.On = false
		}
		list = append(list, need)
	}
	return list
}

// watched lists the files whose reads are reported.
func (a *Agent) watched() []api.PathNeed {
	var list []api.PathNeed
	for _, p := range a.needs.Paths() {
		list = append(list, api.PathNeed{Path: p.Path, Askers: p.Askers})
	}
	return list
}

// perSyscall reports whether a program attached there runs at system calls
// that have nothing to do with what it reports: the kernel takes the slow path
// of every system call while any such tracepoint is in use
// (SYSCALL_WORK_SYSCALL_TRACEPOINT, include/linux/thread_info.h).
func perSyscall(attach string) bool {
	name := attach[strings.LastIndexAny(attach, "/:")+1:]
	return strings.HasPrefix(name, "sys_enter") || strings.HasPrefix(name, "sys_exit")
}
