package engine

import (
	"context"
	"errors"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// A resync costs the pipeline the time it takes; resyncShare bounds it to that
// part of the whole, resyncEvery to that rate, and resyncWait is how long one
// may be put off while batches wait.
const (
	resyncEvery = time.Second
	resyncShare = 10
	resyncWait  = 5 * time.Second
)

// resync says whether the sensors are to tell anew what exists.
type resync struct {
	wanted bool
	since  time.Time // when it was first wanted
	next   time.Time // not before
}

// resyncIfDue resyncs after losses. It waits for a moment when nothing waits
// in the queue, so that few records older than the seed come after it, but not
// for ever: under a constant flood the picture is corrected all the same.
func (e *Engine) resyncIfDue(ctx context.Context, idle bool) {
	if !e.resync.wanted || ctx.Err() != nil {
		return
	}
	now := time.Now()
	if e.resync.since.IsZero() {
		e.resync.since = now
	}
	if now.Before(e.resync.next) || !idle && now.Sub(e.resync.since) < resyncWait {
		return
	}
	e.local.resyncs++
	e.seed(ctx, e.correct)
}

// seed lets every sensor that can tell of what exists: to the enrichers, and
// in a resync to the detectors what those did not know. Sinks never see these
// KindTask events: nothing has happened.
func (e *Engine) seed(ctx context.Context, tell func(*event.Event)) {
	start := time.Now()
	var rs []contract.Resyncer
	for _, en := range e.o.Enrichers {
		if r, ok := en.(contract.Resyncer); ok {
			rs = append(rs, r)
			r.BeginResync()
		}
	}
	var err error
	for _, s := range e.o.Sensors {
		seeder, ok := s.(contract.Seeder)
		if !ok {
			continue
		}
		if e := seeder.Seed(ctx, tell); e != nil {
			err = errors.Join(err, seedError(s.Info().Name, e))
		}
	}
	if err == nil { // else what was not told of may well exist
		for _, r := range rs {
			r.EndResync()
		}
	}
	took := time.Since(start)
	e.resync = resync{wanted: err != nil, next: start.Add(max(resyncEvery, resyncShare*took))}
	e.local.lastSeed, e.local.seedError = took, ""
	if err != nil && ctx.Err() == nil {
		e.local.seedFails++
		e.local.seedError = event.Safe(err.Error())
		e.log.Error("what exists could not be listed whole; trying again", "err", e.local.seedError)
	}
	e.settle()
}

// correct takes an event of a resync. Detectors see those that correct what
// was known: what changed unseen, events having been lost, is in no other.
func (e *Engine) correct(ev *event.Event) {
	ev.Was = nil // the sensor reuses ev
	e.enrich(ev)
	if ev.Kind == event.KindTask && ev.Was != nil {
		e.publish(ev, e.byKind[event.KindTask])
	}
}

func (e *Engine) enrich(ev *event.Event) {
	for _, en := range e.o.Enrichers {
		en.Enrich(ev)
	}
}
