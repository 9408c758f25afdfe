package app

import (
	"context"
	"slices"
	"sync"

	"github.com/merlon/merlon/internal/event"
)

// proven are the features found so far. Any goroutine may use it.
type proven struct {
	mu       sync.Mutex
	features []event.Feature
}

func (p *proven) add(list []event.Feature) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.features = append(p.features, list...)
}

func (p *proven) list() []event.Feature {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.features)
}

// prove tries the sensors but the first, which are asked for what is needed as
// soon as they are known, and then the mechanisms that no sensor needs. All the
// while the agent already tells what happens.
func (a *Agent) prove(ctx context.Context) {
	defer close(a.provenAll)
	before := a.Environment().PIDNS // all was tried before
	for _, s := range a.sensors[1:] {
		if !before {
			features := s.Probe(ctx)
			if ctx.Err() != nil { // canaries that were cut short prove nothing
				return
			}
			a.proven.add(features)
		}
		a.needs.Add(s)
		_ = a.needs.Apply(ctx) // the trouble was told
	}
	a.needs.Whole()
	if before {
		return
	}
	if found := a.kernel.Mechanisms(ctx); ctx.Err() == nil {
		a.proven.add(found)
	}
}

// finding passes on what a detector found, unless it is about what Merlon itself
// does to see and to prove its hooks: loading BPF programs, opening perf
// events, driving what the hooks should report.
func (a *Agent) finding(f event.Finding) {
	if f.Event == nil || !a.own.runs(f.Event.Process) && !a.own.canary(f.Event.Process) {
		a.alerts.Add(f)
	}
}

// Canary reports whether p is a canary of a Merlon. What canaries do is an
// event like everything else, but nobody's alert.
func (a *Agent) Canary(p *event.Process) bool { return a.own.canary(p) }
