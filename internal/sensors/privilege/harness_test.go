package privilege

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
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
}

func openKernel(t *testing.T) *kernel.Kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_SYS_ADMIN: run as root")
	}
	k, err := kernel.Open(context.Background(), kernel.Options{CriticalBytes: 4 << 20, BulkBytes: 4 << 20,
		Log: slog.New(slog.DiscardHandler), Canary: []string{"/proc/self/exe", "-test.run=^$"}})
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

// probed is what Probe found, without and with the full profile: the same for
// every test, and slow in a VM.
var probed [2]struct {
	once     sync.Once
	chosen   map[event.Kind]*way
	features []event.Feature
}

func profile(full bool) int {
	if full {
		return 1
	}
	return 0
}

// profiles runs a test with what the default profile has, and with the full
// one where that differs.
func profiles(t *testing.T, test func(t *testing.T, full bool)) {
	t.Run("default", func(t *testing.T) { test(t, false) })
	t.Run("full", func(t *testing.T) {
		start(t, false)
		for i := range acts {
			w := probed[0].chosen[acts[i].kinds[0]]
			for j := range acts[i].ways {
				if better := &acts[i].ways[j]; better.by == bySyscall && (w == nil || !before(&acts[i], w, better)) {
					test(t, true)
					return
				}
			}
		}
		t.Skip("the full profile adds nothing on this kernel: hooks show all that system calls would")
	})
}

// start probes, attaches the kinds and collects events until the test ends.
func start(t *testing.T, full bool, kinds ...event.Kind) *harness {
	t.Helper()
	h := newHarness(t, full)
	h.attach(kinds)
	return h
}

// newHarness is start before anything is attached.
func newHarness(t *testing.T, full bool) *harness {
	t.Helper()
	h := &harness{t: t, k: openKernel(t)}
	h.sensor = New(h.k, Options{Full: full, Log: slog.New(slog.DiscardHandler)})
	p := &probed[profile(full)]
	p.once.Do(func() {
		p.features = h.sensor.Probe(context.Background())
		p.chosen = h.sensor.chosen
		for _, f := range p.features {
			t.Logf("%-36s %-8s %s | %s | %s", f.Name, f.Guarantee, f.Tier, f.Why, f.Cure)
			for _, a := range f.Tried {
				if !a.OK {
					t.Logf("    %s: %s: %s", a.Tier, a.Stage, a.Cause)
				}
			}
		}
	})
	h.sensor.chosen, h.sensor.ranked = p.chosen, true
	return h
}

// attach attaches the kinds and collects events until the test ends.
func (h *harness) attach(kinds []event.Kind) {
	t := h.t
	t.Helper()
	var wg sync.WaitGroup
	var readers []*ringbuf.Reader
	for _, name := range []string{"events_crit", "events_bulk"} {
		rd, err := ringbuf.NewReader(h.k.Map(name))
		if err != nil {
			t.Fatalf("open ring %s: %v", name, err)
		}
		d := NewDecoder() // a decoder belongs to one goroutine
		wg.Go(func() { h.collect(rd, d) })
		readers = append(readers, rd)
	}
	t.Cleanup(func() {
		for _, rd := range readers {
			rd.Close()
		}
		wg.Wait()
	})
	if err := h.sensor.Attach(context.Background(), kinds); err != nil {
		t.Fatalf("attach: %v", err)
	}
	t.Cleanup(func() {
		if err := h.sensor.Close(); err != nil {
			t.Errorf("close sensor: %v", err)
		}
	})
}

func (h *harness) collect(rd *ringbuf.Reader, d *Decoder) {
	for {
		rd.SetDeadline(time.Now().Add(5 * time.Millisecond)) // not every record wakes
		rec, err := rd.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return
		}
		ev := new(event.Event)
		err = d.Decode(rec.RawSample, ev)
		h.mu.Lock()
		if err != nil {
			h.errs = append(h.errs, err)
		} else {
			h.events = append(h.events, ev)
		}
		h.mu.Unlock()
	}
}

// wait returns the first event that matches.
func (h *harness) wait(what string, match func(*event.Event) bool) *event.Event {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		h.mu.Lock()
		for _, err := range h.errs {
			h.t.Errorf("decode: %v", err)
		}
		h.errs = nil
		for _, ev := range h.events {
			if match(ev) {
				h.mu.Unlock()
				return ev
			}
		}
		h.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		h.t.Logf("came: %s by %d/%d: %+v", ev.Kind, ev.Thread.PID, ev.Thread.TID, ev.Privilege)
	}
	h.t.Fatalf("no event: %s", what)
	return nil
}

// count returns how many events match so far.
func (h *harness) count(match func(*event.Event) bool) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		if match(ev) {
			n++
		}
	}
	return n
}

// matching returns the events that match so far. The caller must not hold mu.
func (h *harness) matching(match func(*event.Event) bool) (evs []*event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		if match(ev) {
			evs = append(evs, ev)
		}
	}
	return evs
}

// atLeast waits for n events that match.
func (h *harness) atLeast(n int, match func(*event.Event) bool) []*event.Event {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if evs := h.matching(match); len(evs) >= n {
			return evs
		}
	}
	evs := h.matching(match)
	h.t.Fatalf("%d events, want %d", len(evs), n)
	return nil
}

// feature returns the feature that tells of the kind.
func feature(kind event.Kind, full bool) event.Feature {
	for i := range acts {
		for _, k := range acts[i].kinds {
			if k == kind {
				return probed[profile(full)].features[i]
			}
		}
	}
	return event.Feature{}
}

// need skips the test where the kernel does not show the kind, and says why.
func (h *harness) need(kind event.Kind, full bool) *way {
	h.t.Helper()
	w := h.sensor.chosen[kind]
	if w == nil {
		f := feature(kind, full)
		h.t.Skipf("%s: not on this kernel: %s; %s", kind, f.Why, f.Cure)
	}
	return w
}

// TestMain turns the test binary into the helpers that some tests run.
func TestMain(m *testing.M) {
	if role := os.Getenv("MERLON_TEST_ROLE"); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(m.Run())
}
