// Package needs knows which kinds of events somebody asks for, and has the
// sensors attach exactly the hooks of these. What nobody asks for any more is
// let go.
package needs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

// gather is how long changes are collected before the sensors hear of them, so
// that a client which comes again at once costs nothing.
const gather = 10 * time.Millisecond

// Options are what New needs; all may be empty.
type Options struct {
	// Told is called after each change of a sensor, with the error of it or
	// nil, by the goroutine that applies.
	Told func(sensor string, err error)
	Log  *slog.Logger
}

// Set is who asks for what. Its life: New, Add per sensor, Whole after the
// last, Run until its context ends; everything but Run may be called by any
// goroutine at any time.
type Set struct {
	o       Options
	changed chan struct{} // holds one: there is something to apply

	applying sync.Mutex // one change of the sensors at a time

	mu      sync.Mutex // guards what follows
	askers  []*Asker   // in the order in which they came
	sensors []*sensor
	version uint64        // of what is asked, and of whom
	applied uint64        // what the sensors have been told
	whole   bool          // every sensor is here
	moved   chan struct{} // closed when applied or whole changes
}

// sensor is one sensor and what it was last told.
type sensor struct {
	contract.Sensor
	info  contract.SensorInfo
	kinds []event.Kind
	paths []string
	err   error // of the last Attach
}

// Asker is one who asks. Any goroutine may use it.
type Asker struct {
	set     *Set
	name    string
	kinds   []event.Kind
	paths   []string
	version uint64
}

// New returns a Set that nobody asks of.
func New(o Options) *Set {
	if o.Told == nil {
		o.Told = func(string, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{o: o, changed: make(chan struct{}, 1), moved: make(chan struct{})}
}

// Add makes a sensor known that can be attached from now on.
func (s *Set) Add(c contract.Sensor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sensors = append(s.sensors, &sensor{Sensor: c, info: c.Info()})
	s.touch()
}

// Whole says that no further sensor comes.
func (s *Set) Whole() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = true
	s.signal()
}

// Ask adds an asker; name is what status calls it. Paths are files whose reads
// are to be reported, which asks for KindFileOpen too.
func (s *Set) Ask(name string, kinds []event.Kind, paths []string) *Asker {
	a := &Asker{set: s, name: name, kinds: slices.Clone(kinds), paths: slices.Clone(paths)}
	if len(paths) > 0 && !slices.Contains(kinds, event.KindFileOpen) {
		a.kinds = append(a.kinds, event.KindFileOpen)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askers = append(s.askers, a)
	s.touch()
	a.version = s.version
	return a
}

// Close takes back what a asked for. It may be called more than once.
func (a *Asker) Close() {
	s := a.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.askers, a); i >= 0 {
		s.askers = slices.Delete(s.askers, i, i+1)
		s.touch()
	}
}

// Wait returns when the sensors that report what a asks for have been told, or
// with ctx's error.
func (a *Asker) Wait(ctx context.Context) error {
	for {
		a.set.mu.Lock()
		done, moved := a.set.told(a), a.set.moved
		a.set.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for sensors: %w", ctx.Err())
		}
	}
}

// told reports whether nothing is left to tell the sensors of a. Sensors that
// are not there yet matter only for kinds that no other has.
func (s *Set) told(a *Asker) bool {
	if s.applied < a.version {
		return false
	}
	if s.whole {
		return true
	}
	for _, k := range a.kinds {
		if !slices.ContainsFunc(s.sensors, func(c *sensor) bool { return slices.Contains(c.info.Kinds, k) }) {
			return false
		}
	}
	return true
}

// touch notes a change; mu is held.
func (s *Set) touch() {
	s.version++
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// signal wakes those that wait; mu is held.
func (s *Set) signal() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// Run applies changes as they come, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	for {
		select {
		case <-s.changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(gather):
		case <-ctx.Done():
			return
		}
		_ = s.Apply(ctx) // Told was told
	}
}

// Apply tells those sensors for which something has changed. The error joins
// those of the sensors, which were told one by one already.
func (s *Set) Apply(ctx context.Context) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	version, sensors := s.version, slices.Clone(s.sensors)
	kinds, paths := s.union()
	s.mu.Unlock()
	var errs []error
	for _, c := range sensors {
		errs = append(errs, s.tell(ctx, c, kinds, paths))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = max(s.applied, version)
	s.signal()
	return errors.Join(errs...)
}

// union is what all askers ask for together; mu is held.
func (s *Set) union() (kinds map[event.Kind]bool, paths []string) {
	kinds = map[event.Kind]bool{}
	for _, a := range s.askers {
		for _, k := range a.kinds {
			kinds[k] = true
		}
		paths = append(paths, a.paths...)
	}
	slices.Sort(paths)
	return kinds, slices.Compact(paths)
}

// tell has one sensor attach what is asked of it, when that has changed. A
// sensor that fails is not asked again before the next change.
func (s *Set) tell(ctx context.Context, c *sensor, asked map[event.Kind]bool, paths []string) error {
	var want []event.Kind
	for _, k := range c.info.Kinds {
		if asked[k] {
			want = append(want, k)
		}
	}
	var err error
	told := false
	if !slices.Equal(want, c.kinds) {
		told = true
		if err = c.Attach(ctx, want); err != nil {
			s.o.Log.Warn("attach sensor", "sensor", c.info.Name, "kinds", want, "err", err)
		} else {
			s.o.Log.Debug("sensor attached", "sensor", c.info.Name, "kinds", want)
		}
	}
	if w, ok := c.Sensor.(contract.PathWatcher); ok && err == nil && !slices.Equal(paths, c.paths) {
		told = true
		if err = w.Watch(ctx, paths); err != nil {
			err = fmt.Errorf("watch paths: %w", err)
		}
	}
	if !told || ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	c.kinds, c.paths, c.err = want, paths, err
	s.mu.Unlock()
	s.o.Told(c.info.Name, err)
	return err
}
