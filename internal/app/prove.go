package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
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

// finding passes on what a detector found, unless it is about a canary, or
// about what the agent itself does to see and to prove its hooks: loading BPF
// programs, opening perf events, driving what the hooks should report.
func (a *Agent) finding(f event.Finding) {
	if f.Event == nil || !Canary(f.Event.Process) && !ourselves(f.Event.Process) {
		a.alerts.Add(f)
	}
}

// Canary reports whether p is a canary of this agent: our own child, which
// executes our own binary, or a file of the directory that only we write to.
// What canaries do is an event like everything else, but nobody's alert.
func Canary(p *event.Process) bool {
	if p == nil || int(p.PPID) != os.Getpid() {
		return false
	}
	if strings.Contains(string(p.Exe), fmt.Sprintf("/merlon-canary-%d-", os.Getpid())) {
		return true
	}
	self, err := os.Executable()
	return err == nil && string(p.Exe) == self
}

// ourselves reports whether p is this agent. An agent in a pid namespace of
// its own does not know its pid as the events tell it, and recognises nothing.
func ourselves(p *event.Process) bool { return p != nil && int(p.PID) == os.Getpid() }
