package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// harness is the sensor on the running kernel, with every event it told of.
type harness struct {
	t      *testing.T
	k      *kernel.Kernel
	sensor *Sensor

	mu     sync.Mutex
	events []*event.Event
	errs   []error
	lost   uint64
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_SYS_ADMIN: run as root")
	}
}

func openKernel(t *testing.T, ring uint32) *kernel.Kernel {
	t.Helper()
	needRoot(t)
	k, err := kernel.Open(context.Background(), options(ring))
	if err != nil {
		t.Fatalf("open kernel: %v", err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("close kernel: %v", err)
		}
	})
	return k
}

func options(ring uint32) kernel.Options {
	return kernel.Options{CriticalBytes: 4 << 20, BulkBytes: ring,
		Log: slog.New(slog.DiscardHandler), Canary: []string{"/proc/self/exe", "-test.run=^$"}}
}

// probed is what Probe found: the same for every test, and slow in a VM.
var probed struct {
	once     sync.Once
	features []event.Feature
	tiers    map[event.Kind]string
	acts     []act
	shape    shape
}

// newSensor returns a sensor that has probed, which tells of our own acts.
func newSensor(t *testing.T, ring uint32) (*kernel.Kernel, *Sensor) {
	t.Helper()
	k := openKernel(t, ring)
	s := probe(New(k, Options{Log: slog.New(slog.DiscardHandler), Own: true}))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close sensor: %v", err)
		}
	})
	return k, s
}

// probe gives s what Probe found, in this test or an earlier one.
func probe(s *Sensor) *Sensor {
	probed.once.Do(func() {
		probed.features = s.Probe(context.Background())
		probed.tiers, probed.acts, probed.shape = s.tiers, s.acts, s.shape
	})
	s.tiers, s.acts, s.shape, s.probed = probed.tiers, probed.acts, probed.shape, true
	return s
}

// shared is the sensor that most tests use, loaded once: loading takes a VM
// seconds. Tests run one after the other; who closes or floods one has its own.
var shared struct {
	once   sync.Once
	k      *kernel.Kernel
	sensor *Sensor
	now    atomic.Pointer[harness] // of the test that runs
	failed error
	stop   func() error
}

// start attaches the kinds (none: all) and collects events until the test ends.
func start(t *testing.T, kinds ...event.Kind) *harness {
	t.Helper()
	needRoot(t)
	shared.once.Do(func() { shared.failed = share() })
	if shared.failed != nil {
		t.Fatal(shared.failed)
	}
	h := &harness{t: t, k: shared.k, sensor: shared.sensor}
	shared.now.Store(h)
	h.attach(kinds)
	t.Cleanup(func() {
		if err := h.sensor.Watch(context.Background(), nil); err != nil {
			t.Errorf("watch nothing: %v", err)
		}
	})
	return h
}

func (h *harness) attach(kinds []event.Kind) {
	h.t.Helper()
	if len(kinds) == 0 {
		kinds = h.sensor.Info().Kinds
	}
	if err := h.sensor.Attach(context.Background(), kinds); err != nil {
		h.t.Fatalf("attach: %v", err)
	}
}

// share starts the shared sensor, and hands what it tells to the test that
// runs. TestMain stops it.
func share() error {
	k, err := kernel.Open(context.Background(), options(8<<20))
	if err != nil {
		return fmt.Errorf("open kernel: %w", err)
	}
	s := probe(New(k, Options{Log: slog.New(slog.DiscardHandler), Own: true}))
	rd, err := ringbuf.NewReader(k.Map("events_bulk"))
	if err != nil {
		return errors.Join(fmt.Errorf("open ring: %w", err), k.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { collect(rd, func(rec []byte, d *Decoder) { shared.now.Load().add(rec, d) }) })
	wg.Go(func() { runErr = s.Run(ctx, &sharedFeed{d: NewDecoder()}) })
	shared.k, shared.sensor = k, s
	shared.stop = func() error {
		cancel()
		rd.Close()
		wg.Wait()
		return errors.Join(runErr, s.Close(), k.Close())
	}
	return nil
}

// sharedFeed takes the shared sensor's records of the fanotify tier.
type sharedFeed struct {
	d *Decoder
	m sync.Mutex
}

func (f *sharedFeed) Put(rec []byte) bool {
	f.m.Lock()
	defer f.m.Unlock()
	shared.now.Load().add(rec, f.d)
	return true
}
func (f *sharedFeed) Flush() {}
func (f *sharedFeed) Lost(_ uint16, n uint64) {
	h := shared.now.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost += n
}

// startSensor is start with that sensor.
func startSensor(t *testing.T, k *kernel.Kernel, s *Sensor, kinds ...event.Kind) *harness {
	t.Helper()
	h := &harness{t: t, k: k, sensor: s}
	var wg sync.WaitGroup
	rd, err := ringbuf.NewReader(h.k.Map("events_bulk"))
	if err != nil {
		t.Fatalf("open ring: %v", err)
	}
	wg.Go(func() { collect(rd, h.add) })
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		if err := h.sensor.Run(ctx, &testFeed{h: h, d: NewDecoder()}); err != nil && ctx.Err() == nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		rd.Close()
		wg.Wait()
	})
	h.attach(kinds)
	return h
}

// testFeed takes the records of the fanotify tier.
type testFeed struct {
	h *harness
	d *Decoder
	m sync.Mutex
}

func (f *testFeed) Put(rec []byte) bool {
	f.m.Lock()
	defer f.m.Unlock()
	f.h.add(rec, f.d)
	return true
}
func (f *testFeed) Flush() {}
func (f *testFeed) Lost(_ uint16, n uint64) {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.h.lost += n
}

func collect(rd *ringbuf.Reader, add func([]byte, *Decoder)) {
	d := NewDecoder()
	for {
		rd.SetDeadline(time.Now().Add(5 * time.Millisecond)) // not every record wakes
		rec, err := rd.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return
		}
		add(rec.RawSample, d)
	}
}

func (h *harness) add(rec []byte, d *Decoder) {
	ev := new(event.Event)
	err := d.Decode(rec, ev)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.errs = append(h.errs, err)
		return
	}
	h.events = append(h.events, ev)
}

// all returns the events so far that match.
func (h *harness) all(match func(*event.Event) bool) (found []*event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, err := range h.errs {
		h.t.Errorf("decode: %v", err)
	}
	h.errs = nil
	for _, ev := range h.events {
		if match(ev) {
			found = append(found, ev)
		}
	}
	return found
}

// wait returns the first event that matches.
func (h *harness) wait(what string, match func(*event.Event) bool) *event.Event {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if found := h.all(match); len(found) > 0 {
			return found[0]
		}
	}
	h.t.Errorf("no event: %s", what)
	for _, ev := range h.all(func(*event.Event) bool { return true }) {
		if ev.File != nil {
			h.t.Logf("have %s %q %q", ev.Kind, ev.File.Path, ev.File.NewPath)
		}
	}
	h.t.FailNow()
	return nil
}

// of returns the first event of that kind about that path.
func (h *harness) of(kind event.Kind, path string) *event.Event {
	h.t.Helper()
	return h.wait(string(kind)+" of "+path, func(ev *event.Event) bool { return ev.Kind == kind && about(ev, path) })
}

func about(ev *event.Event, path string) bool {
	if ev.Mount != nil {
		return string(ev.Mount.Target) == path
	}
	return ev.File != nil && string(ev.File.Path) == path
}

// tempDir is a directory without symbolic links in its path.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// allLocked is all, for matches that run inside all.
func (h *harness) allLocked(match func(*event.Event) bool) (found []*event.Event) {
	for _, ev := range h.events {
		if match(ev) {
			found = append(found, ev)
		}
	}
	return found
}
