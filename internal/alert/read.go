package alert

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// List returns the alerts whose last finding is not before since, the newest
// first, at most limit (all when it is 0): those in memory with their present
// counts, and those in the store. When the store can't be read, the error
// comes with what memory holds.
func (m *Manager) List(ctx context.Context, since time.Time, limit int) ([]*event.Alert, error) {
	m.mu.Lock()
	var list []*event.Alert
	known := make(map[string]bool, m.held.n)
	for g := m.held.newest; g != nil; g = g.older {
		known[g.alert.ID] = true
		if !g.alert.Last.Before(since) {
			a := g.alert
			list = append(list, &a)
		}
	}
	m.mu.Unlock()
	var err error
	if m.o.Store != nil {
		var stored []*event.Alert
		want := 0
		if limit > 0 {
			want = limit + len(known) // those in memory may be among them
		}
		if stored, err = m.o.Store.Alerts(ctx, since, want); err != nil {
			err = fmt.Errorf("list stored alerts: %w", err)
		}
		for _, a := range stored {
			if !known[a.ID] {
				list = append(list, a)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b *event.Alert) int { return b.Last.Compare(a.Last) })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, err
}

// Subscription is a stream of alerts, new ones and updates of old ones; the ID
// tells which. Alerts are read-only.
type Subscription struct {
	C       <-chan *event.Alert // closed by Close
	c       chan *event.Alert
	m       *Manager
	dropped atomic.Uint64
}

// Subscribe returns the stream of what is published from now on. It holds up
// to buffer alerts for its reader; more are dropped and counted. Subscribe
// first and List then, to miss nothing.
func (m *Manager) Subscribe(buffer int) *Subscription {
	c := make(chan *event.Alert, max(1, buffer))
	s := &Subscription{C: c, c: c, m: m}
	m.mu.Lock()
	m.subs[s] = struct{}{}
	m.mu.Unlock()
	return s
}

// Dropped returns how many alerts the reader was too slow for.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the stream. It may be called again.
func (s *Subscription) Close() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if _, ok := s.m.subs[s]; ok {
		delete(s.m.subs, s)
		close(s.c)
	}
}
