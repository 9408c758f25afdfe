// Package engine is the pipeline: it decodes the records of the rings into
// events, lets the enrichers complete them, shows them to the detectors, and
// publishes them to the sinks. It knows contracts only, no plug-in.
//
// One goroutine, Run's, calls every plug-in. The engine allocates nothing of
// its own per event.
//
// It also keeps the books: for every kind of record, produced = delivered +
// lost + in flight. Losses of every stage are published as events once a
// second, and followed by a resync: the sensors tell anew what exists.
package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring"
)

const (
	maxKinds   = 128 // KIND_MAX in bpf/lib/event.h
	headerSize = 16  // of struct event_hdr: time u64, kind u16, flags u16, cpu u32

	// clockEvery is how many events share one reading of the clock for the
	// latency; timeEvery is how many events pass between two for which the
	// detectors are timed. Reading the clock costs as much as a small detector.
	clockEvery = 16
	timeEvery  = 64
)

// KernelLoss is the kernel side's book of one wire kind, summed over CPUs.
type KernelLoss struct {
	Produced uint64
	Lost     map[string]uint64 // by reason
	Faults   map[string]uint64 // records that went out incomplete, by reason
}

// Options are the parts of an Engine. Only Sensors is needed.
type Options struct {
	Sensors   []contract.Sensor
	Enrichers []contract.Enricher // called in this order
	Detectors []contract.Detector
	Sinks     []contract.Sink // get every event but KindTask

	// Findings receives what the detectors find, in Run's goroutine.
	Findings func(event.Finding)
	// Counts returns the kernel's books, Queue the reader's. Both are called
	// by Run's goroutine and by those that call Stats.
	Counts func() (map[uint16]KernelLoss, error)
	Queue  func() ring.Stats

	Log *slog.Logger
}

// Engine is the pipeline. Its life: New, Run once; Stats at any time, by any
// goroutine.
type Engine struct {
	o         Options
	log       *slog.Logger
	wire      [maxKinds]route
	detectors []*detector
	byKind    map[event.Kind][]*detector
	ev        event.Event // reused
	aux       event.Event // the engine's own: losses
	seq       uint64      // events so far
	clock     clock
	now       uint64 // nanoseconds since boot; at most clockEvery events old

	local  tally              // of Run's goroutine
	losses map[lossKey]uint64 // told so far
	blind  bool               // the kernel's books could not be read
	resync resync
	lat    histogram

	mu    sync.Mutex
	books tally // what Stats tells; guarded by mu, as is rates
	rates rates
}

// route says what to do with one kind of record.
type route struct {
	sensor    contract.Sensor
	name      string
	kind      event.Kind
	detectors []*detector // that need kind
	told      bool        // its first decoding error was logged
}

// New puts the parts together. When two sensors claim one kind of record, the
// first has it and Run refuses to start.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Findings == nil {
		o.Findings = func(event.Finding) {}
	}
	if o.Counts == nil {
		o.Counts = func() (map[uint16]KernelLoss, error) { return nil, nil }
	}
	if o.Queue == nil {
		o.Queue = func() ring.Stats { return ring.Stats{} }
	}
	e := &Engine{o: o, log: o.Log, losses: make(map[lossKey]uint64), byKind: make(map[event.Kind][]*detector), clock: newClock()}
	for _, d := range o.Detectors {
		det := newDetector(d, o.Findings)
		e.detectors = append(e.detectors, det)
		for _, k := range d.Needs() {
			e.byKind[k] = append(e.byKind[k], det)
		}
	}
	e.local.detectors = make([]detectorTally, len(e.detectors))
	e.books.detectors = make([]detectorTally, len(e.detectors))
	for _, s := range o.Sensors {
		info := s.Info()
		for w, k := range info.Wire {
			if w < maxKinds && e.wire[w].sensor == nil {
				e.wire[w] = route{sensor: s, name: info.Name, kind: k, detectors: e.byKind[k]}
			}
		}
	}
	return e
}

func (e *Engine) validate() error {
	for _, s := range e.o.Sensors {
		info := s.Info()
		for w := range info.Wire {
			if w == 0 || w >= maxKinds {
				return fmt.Errorf("sensor %s: record kind %d: not in 1 to %d", info.Name, w, maxKinds-1)
			}
			if e.wire[w].sensor != s {
				return fmt.Errorf("sensor %s: record kind %d belongs to sensor %s", info.Name, w, e.wire[w].name)
			}
		}
	}
	return nil
}

// Run seeds the enrichers with what exists, so that the first event has its
// ancestry, then handles batches until the channel is closed: the end of ctx
// must end the reader, which closes it. By itself ctx only cuts a seed short.
func (e *Engine) Run(ctx context.Context, batches <-chan *ring.Batch) error {
	if err := e.validate(); err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	e.seed(ctx, e.enrich)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case b, ok := <-batches:
			if !ok {
				e.second()
				return nil
			}
			e.batch(b)
		case <-tick.C:
			e.second()
			e.settle()
		}
		e.resyncIfDue(ctx, len(batches) == 0)
	}
}

func (e *Engine) batch(b *ring.Batch) {
	e.now = e.clock.now()
	b.Each(e.handle)
	b.Release()
	e.settle()
}

// handle takes one record all the way.
func (e *Engine) handle(rec []byte) {
	if e.seq++; e.seq%clockEvery == 0 {
		e.now = e.clock.now()
	}
	w := uint16(0)
	if len(rec) >= headerSize {
		w = binary.NativeEndian.Uint16(rec[8:]) % maxKinds
	}
	r, t := &e.wire[w], &e.local.kinds[w]
	if r.sensor == nil {
		t.failed[failUnknown]++
		return
	}
	e.ev.Reset()
	if err := decode(r.sensor, rec, &e.ev); err != nil {
		if err == contract.ErrPartial || errors.Is(err, contract.ErrPartial) {
			t.partial++
			return
		}
		e.decodeFailed(w, err)
		return
	}
	for _, en := range e.o.Enrichers {
		en.Enrich(&e.ev)
	}
	if e.ev.Kind == "" {
		t.duplicates++
		return
	}
	t.events++
	ds := r.detectors
	if e.ev.Kind != r.kind {
		ds = e.byKind[e.ev.Kind]
	}
	e.publish(&e.ev, ds)
	e.lat.add(int64(e.now) - int64(e.ev.Boot))
}

// publish shows ev to those detectors and to the sinks.
func (e *Engine) publish(ev *event.Event, ds []*detector) {
	timed := e.seq%timeEvery == 0
	for _, d := range ds {
		e.detect(d, ev, timed)
	}
	if ev.Kind == event.KindTask {
		return
	}
	for _, s := range e.o.Sinks {
		s.Event(ev)
	}
}

// decode calls the sensor. A record holds bytes that a process chose, so a
// bug in a decoder may be one that an attacker can reach: a panic loses the
// record, counted and told like any other that can't be decoded, and not the
// agent. What a decoder keeps between records is bounded by its own checks.
func decode(s contract.Sensor, rec []byte, ev *event.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p}
		}
	}()
	return s.Decode(rec, ev)
}

type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("decoder panicked: %v", p.value) }

func (e *Engine) decodeFailed(w uint16, err error) {
	r, why := &e.wire[w], failMalformed
	if _, ok := err.(*panicError); ok {
		why = failPanic
	}
	e.local.kinds[w].failed[why]++
	if !r.told {
		r.told = true // the rest of this kind is counted
		e.log.Error("record can't be decoded; more of its kind are only counted",
			"sensor", r.name, "kind", r.kind, "err", event.Safe(err.Error()))
	}
}
