package app

import (
	"sync"
	"sync/atomic"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/engine"
	"github.com/merlon/merlon/internal/event"
)

// tally is a sink that counts what is published.
type tally struct {
	kinds  []event.Kind
	index  map[event.Kind]int // of kinds
	counts []atomic.Uint64    // by the index of the kind

	mu    sync.Mutex
	rules map[string]api.AlertCount
	seen  *Seen // ids of the alerts that were counted
}

// maxSeen bounds the alert ids remembered; the manager itself keeps fewer
// alerts open.
const maxSeen = 4096

func newTally() *tally {
	kinds, index := event.Kinds(), map[event.Kind]int{}
	for i, k := range kinds {
		index[k] = i
	}
	return &tally{kinds: kinds, index: index, counts: make([]atomic.Uint64, len(kinds)), rules: map[string]api.AlertCount{}, seen: NewSeen(maxSeen)}
}

// Name implements contract.Sink.
func (t *tally) Name() string { return "tally" }

// Event implements contract.Sink.
func (t *tally) Event(ev *event.Event) {
	if i, known := t.index[ev.Kind]; known {
		t.counts[i].Add(1)
	}
}

// Alert implements contract.Sink: the manager tells an alert again when it
// grows.
func (t *tally) Alert(a *event.Alert) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen.Add(a.ID) {
		return
	}
	c := t.rules[a.Rule.ID]
	c.Rule, c.Severity = a.Rule.ID, a.Rule.Severity
	c.Count++
	t.rules[a.Rule.ID] = c
}

// Dropped implements contract.Sink.
func (t *tally) Dropped() uint64 { return 0 }

// Close implements contract.Sink.
func (t *tally) Close() error { return nil }

// alerts returns the alerts by rule.
func (t *tally) alerts() []api.AlertCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sortedRules(t.rules)
}

// events returns the events published, by kind, with the rates of the engine's
// books.
func (t *tally) events(books *engine.Stats) []api.KindCount {
	list := make([]api.KindCount, 0, len(t.kinds))
	for i, k := range t.kinds {
		c := api.KindCount{Kind: k, Count: t.counts[i].Load()}
		for _, b := range books.Kinds {
			if b.Kind == k {
				c.PerSecond += b.Rate1s
			}
		}
		if k != event.KindTask {
			list = append(list, c)
		}
	}
	return list
}
