// Package alert makes alerts for people out of findings: it groups findings of
// one rule about one process tree and object, and counts them.
//
// Nothing is dropped. A group's first finding becomes an alert at once; later
// ones update it, at most every so often. When one rule makes new groups
// faster than a person can read, the findings beyond a burst go into one
// alert of that rule, so that the counts of all alerts add up to the findings.
package alert

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// Store keeps alerts. Any goroutine may call it.
type Store interface {
	// PutAlert keeps the newest state of an alert, known by its ID. It must
	// not block; a is read-only.
	PutAlert(a *event.Alert)
	// Alerts returns alerts whose last finding is not before since, the
	// newest first, at most limit.
	Alerts(ctx context.Context, since time.Time, limit int) ([]*event.Alert, error)
}

// Options are the parts and limits of a Manager; zero values become defaults.
type Options struct {
	Sinks []contract.Sink
	Store Store // nil: alerts live in memory only

	Update time.Duration // least time between two updates of an alert; 10 s
	Idle   time.Duration // an alert takes no more findings this long after its last; 10 min
	Max    int           // most alerts in memory; 1024
	Burst  int           // new alerts that one rule may make at once; 20
	Refill time.Duration // and then one more each; 5 s

	Log *slog.Logger
}

func (o *Options) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Update, 10*time.Second)
	def(&o.Idle, 10*time.Minute)
	def(&o.Refill, 5*time.Second)
	if o.Max <= 0 {
		o.Max = 1024
	}
	if o.Burst <= 0 {
		o.Burst = 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Stats says what a Manager has done.
type Stats struct {
	Findings uint64 `json:"findings"`
	Alerts   uint64 `json:"alerts"`  // made
	Updates  uint64 `json:"updates"` // of alerts, published
	Merged   uint64 `json:"merged"`  // findings that went into the one alert of a rule that makes too many
	Evicted  uint64 `json:"evicted"` // alerts that had to leave memory while still open
	Dropped  uint64 `json:"dropped"` // alerts that subscribers were too slow for
	Held     int    `json:"held"`    // in memory
	Limit    int    `json:"limit"`
}

// Manager groups findings. Its life: New, Run; Add per finding. All methods
// may be called by any goroutine.
type Manager struct {
	o   Options
	now func() time.Time

	mu      sync.Mutex // held while sinks are called, so that updates stay in order
	open    map[key]*group
	held    groups // all in memory, by the time of their last finding
	buckets map[string]*bucket
	subs    map[*Subscription]struct{}
	stats   Stats
}

// New returns an empty Manager.
func New(o Options) *Manager {
	o.defaults()
	return &Manager{
		o: o, now: time.Now, open: make(map[key]*group),
		buckets: make(map[string]*bucket), subs: make(map[*Subscription]struct{}),
	}
}

// Run publishes updates until ctx ends, and then those that are left. Findings
// added later are published by Flush.
func (m *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.flush(false)
		case <-ctx.Done():
			m.Flush()
			return nil
		}
	}
}

// Flush publishes every update that waits.
func (m *Manager) Flush() { m.flush(true) }

func (m *Manager) flush(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for g := m.held.newest; g != nil; g = g.older {
		if g.waiting && (all || now.Sub(g.sent) >= m.o.Update) {
			m.stats.Updates++
			m.publish(g, now)
		}
	}
}

// Add takes a finding. It does not block.
func (m *Manager) Add(f event.Finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Findings++
	now := m.now()
	k := keyOf(&f)
	g := m.find(k, now)
	if g == nil && !m.allow(f.Rule.ID, now) {
		m.stats.Merged++
		k = key{rule: f.Rule.ID, rest: true}
		g = m.find(k, now)
	}
	if g == nil {
		m.stats.Alerts++
		g = m.create(k, &f, now)
		m.publish(g, now)
		return
	}
	g.add(&f)
	m.held.touch(g)
	g.seen, g.waiting = now, true
	if now.Sub(g.sent) >= m.o.Update {
		m.stats.Updates++
		m.publish(g, now)
	}
}

// find returns the group that takes findings of k, nil when there is none.
func (m *Manager) find(k key, now time.Time) *group {
	g := m.open[k]
	if g != nil && now.Sub(g.seen) > m.o.Idle {
		delete(m.open, k)
		return nil
	}
	return g
}

// create makes a group, and room for it. The group that leaves has had the
// longest rest; what of it was not published yet is.
func (m *Manager) create(k key, f *event.Finding, now time.Time) *group {
	g := newGroup(k, f, now)
	m.open[k] = g
	m.held.push(g)
	for m.held.n > m.o.Max {
		old := m.held.oldest
		if old.waiting {
			m.stats.Updates++
			m.publish(old, now)
		}
		m.held.remove(old)
		if m.open[old.key] == old {
			delete(m.open, old.key)
			if now.Sub(old.seen) <= m.o.Idle {
				m.stats.Evicted++
			}
		}
	}
	return g
}

// publish hands a copy of the alert to everybody.
func (m *Manager) publish(g *group, now time.Time) {
	a := g.alert
	g.sent, g.waiting = now, false
	if m.o.Store != nil {
		m.o.Store.PutAlert(&a)
	}
	for _, s := range m.o.Sinks {
		s.Alert(&a)
	}
	for s := range m.subs {
		select {
		case s.c <- &a:
		default:
			s.dropped.Add(1)
			m.stats.Dropped++
		}
	}
}

// Stats returns the books.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Held, s.Limit = m.held.n, m.o.Max
	return s
}

// bucket is a token bucket for the new alerts of one rule.
type bucket struct {
	tokens float64
	at     time.Time
}

// allow reports whether the rule may make one more alert now.
func (m *Manager) allow(rule string, now time.Time) bool {
	b := m.buckets[rule]
	if b == nil { // as many as there are rules
		b = &bucket{tokens: float64(m.o.Burst), at: now}
		m.buckets[rule] = b
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(float64(m.o.Burst), b.tokens+d.Seconds()/m.o.Refill.Seconds())
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
