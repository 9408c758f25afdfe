// Package contract holds the interfaces between Merlon's parts. What one part
// needs of another comes as one of these; plug-ins never import each other.
package contract

import (
	"context"

	"github.com/merlon/merlon/internal/event"
)

// Sensor is a source of events of one subject. Its life:
//
//  1. Probe ranks the hooks of each of its features: attach, canary, detach.
//     It may be called without the steps that follow (merlon check).
//  2. Attach makes exactly the hooks that kinds need be attached, and lets go
//     of the rest; it is called again whenever needs change.
//  3. Seed tells of what was there before (KindTask events): once after the
//     first Attach, and again after losses.
//  4. Decode turns one record into an event; one goroutine calls it.
//  5. Close detaches everything.
//
// Attach, Seed and Close may run while Decode does.
type Sensor interface {
	Info() SensorInfo
	Probe(ctx context.Context) []event.Feature
	Attach(ctx context.Context, kinds []event.Kind) error
	Decoder
	Close() error
}

// Decoder turns records of the rings into events.
type Decoder interface {
	// Decode fills ev from one record, header included. It must not keep
	// rec. It returns ErrPartial for a record that only prepares a later one,
	// and another error for a record that can't be decoded.
	Decode(rec []byte, ev *event.Event) error
}

// Seeder is a Sensor that can tell of what was there before it was attached.
type Seeder interface {
	// Seed calls emit for every existing object, from the caller's goroutine.
	// The event is reused between calls.
	Seed(ctx context.Context, emit func(*event.Event)) error
}

// Source is a Sensor that reads something else than the rings (fanotify, log
// files) and makes records of it.
type Source interface {
	// Run reads until ctx ends, from the first Attach on, and puts the records
	// into feed. It may be called when nothing is attached, and waits then.
	Run(ctx context.Context, feed Feed) error
}

// Feed takes the records of a Source, header included. Any goroutine may call
// it.
type Feed interface {
	// Put copies rec; false when it was lost for want of room, which is
	// counted.
	Put(rec []byte) bool
	// Flush hands over what was put: call it before waiting for more.
	Flush()
	// Lost counts records that the source itself knows to be lost.
	Lost(kind uint16, n uint64)
}

// PathWatcher is a Sensor that reports reads of those files only that somebody
// asked for.
type PathWatcher interface {
	// Watch replaces what is asked for: absolute paths, those that end in a
	// slash meaning everything below.
	Watch(ctx context.Context, paths []string) error
}

// SensorInfo names a sensor and the records it decodes.
type SensorInfo struct {
	Name  string
	Wire  map[uint16]event.Kind // record kinds on the rings, and what they become
	Kinds []event.Kind          // the kinds it can be asked for
}

// Enricher completes events. One goroutine calls it, in the order of events,
// before any detector sees them. Its life: New, Enrich per event, Size.
//
// An Enricher that sets ev.Kind to "" drops the event: it told of something
// that was told before.
type Enricher interface {
	Name() string
	Enrich(ev *event.Event)
	// Size returns how many objects it holds and the most it will hold.
	// Any goroutine may call it.
	Size() (n, limit int)
}

// Resyncer is an Enricher that keeps state which a Seeder can correct. The
// goroutine that calls Enrich calls BeginResync before the first event of a
// Seed and EndResync after its last: what exists and was not seen in between
// is taken to have ended unseen. A Seed that failed half-way gets no
// EndResync.
type Resyncer interface {
	BeginResync()
	EndResync()
}

// Detector evaluates rules over events. One goroutine calls Detect, in the
// order of events. Its life: New, Needs, Detect per event.
type Detector interface {
	Name() string
	// Rules lists what it can find.
	Rules() []event.Rule
	// Needs lists the kinds of events it wants to see. Of KindTask it sees
	// those that correct after losses what was known: they have a Was.
	Needs() []event.Kind
	// Detect calls found for each rule that ev matches. ev is read-only and
	// reused after the call: a Finding takes ev.Clone().
	Detect(ev *event.Event, found func(event.Finding))
}

// PathNeeder is a Detector that wants to see reads (KindFileOpen) of certain
// files: absolute paths, those that end in a slash meaning everything below.
type PathNeeder interface {
	Paths() []string
}

// Sink takes alerts and events out. Its methods must not block: a sink that
// can't keep up drops and counts. Its life: New, Event and Alert per item,
// Dropped at any time, Close.
type Sink interface {
	Name() string
	Event(ev *event.Event) // reused after the call
	Alert(a *event.Alert)  // read-only
	Dropped() uint64
	Close() error
}

// Observables answers what this host has seen. Any goroutine may call it.
type Observables interface {
	// Process returns the process of that identity, nil when unknown.
	Process(key event.Key) *event.Process
	// Processes returns every live process, unordered.
	Processes() []*event.Process
}
