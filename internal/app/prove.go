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

// prove tries the mechanisms that no sensor needs, while the sensors already
// tell what happens.
func (a *Agent) prove(ctx context.Context) {
	defer close(a.provenAll)
	if a.Environment().PIDNS {
		return // done before
	}
	if found := a.kernel.Mechanisms(ctx); ctx.Err() == nil { // canaries that were cut short prove nothing
		a.proven.add(found)
	}
}

// finding passes on what a detector found, unless it is about a canary.
func (a *Agent) finding(f event.Finding) {
	if f.Event == nil || !Canary(f.Event.Process) {
		a.alerts.Add(f)
	}
}

// Canary reports whether p is a canary of this agent: our own child, which
// executes a file of the directory that only we write to. What canaries do is
// an event like everything else, but nobody's alert.
func Canary(p *event.Process) bool {
	return p != nil && int(p.PPID) == os.Getpid() && strings.Contains(string(p.Exe), fmt.Sprintf("/merlon-canary-%d-", os.Getpid()))
}
