package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// harness is the sensor on the running kernel, with every event it told of.
type harness struct {
	t      *testing.T // who uses it now
	k      *kernel.Kernel
	sensor *Sensor
	stop   func() // ends the collecting

	since uint64 // events from before are another test's
	ns    uint32 // only events of this network namespace count; 0 is any

	mu     sync.Mutex
	events []*event.Event
	errs   []error
}

// probed is what Probe found: the same for every test, and slow in a VM.
var probed struct {
	once     sync.Once
	hooks    *hooks
	features []event.Feature
}

// shared is the sensor that most tests use, one after the other: to load it
// takes seconds in a VM. TestMain closes it.
var shared *harness

// own makes a sensor for this test alone, nothing attached, and collects all of
// its events until the test ends.
func own(t *testing.T) *harness {
	t.Helper()
	h := load(t)
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// open takes the shared sensor; nothing is attached.
func open(t *testing.T) *harness {
	t.Helper()
	h := borrow(t)
	h.attach()
	h.since = kernel.BootTime()
	return h
}

// start takes the shared sensor, attaches every kind, and puts the test's thread
// into a network namespace of its own.
func start(t *testing.T) *harness {
	t.Helper()
	h := borrow(t)
	isolate(t)
	h.ns = netNS(t)
	h.attach(h.sensor.Info().Kinds...)
	return h
}

// borrow makes the shared sensor this test's, without what it told to others.
func borrow(t *testing.T) *harness {
	t.Helper()
	if shared == nil {
		shared = load(t)
	}
	h := shared
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t, h.events, h.errs, h.since, h.ns = t, nil, nil, kernel.BootTime(), 0
	return h
}

// load makes a sensor whose events are collected.
func load(t *testing.T) *harness {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_SYS_ADMIN: run as root")
	}
	k, err := kernel.Open(context.Background(), kernel.Options{CriticalBytes: 1 << 20, BulkBytes: 16 << 20,
		Log: slog.New(slog.DiscardHandler), Canary: []string{"/proc/self/exe", "-test.run=^$"}})
	if err != nil {
		t.Fatalf("open kernel: %v", err)
	}
	h := &harness{t: t, k: k, sensor: New(k, Options{Log: slog.New(slog.DiscardHandler)})}
	probed.once.Do(func() {
		probed.features = h.sensor.Probe(context.Background())
		for _, f := range probed.features {
			for _, a := range f.Tried {
				t.Logf("%s: %s: ok %v %s", f.Name, a.Tier, a.OK, a.Cause)
			}
			if f.Guarantee == event.Absent {
				t.Errorf("%s: nothing does it here: %s", f.Name, f.Why)
			}
		}
		probed.hooks = h.sensor.hooks
	})
	h.sensor.hooks = probed.hooks
	rd, err := ringbuf.NewReader(k.Map("events_bulk"))
	if err != nil {
		_ = k.Close()
		t.Fatalf("open ring: %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { h.collect(rd) })
	h.stop = func() {
		rd.Close()
		wg.Wait()
	}
	return h
}

// close lets go of the sensor and the kernel.
func (h *harness) close() error {
	err := h.sensor.Close()
	h.stop()
	return errors.Join(err, h.k.Close())
}

func (h *harness) attach(kinds ...event.Kind) {
	h.t.Helper()
	if err := h.sensor.Attach(context.Background(), kinds); err != nil {
		h.t.Fatalf("attach: %v", err)
	}
	for p, err := range h.sensor.Degraded() {
		h.t.Errorf("attach %s: %v", p, err)
	}
}

// idle makes flows end after so long a silence, until the test ends.
func (h *harness) idle(d time.Duration) {
	was := h.sensor.opts.FlowIdle
	h.sensor.opts.FlowIdle = d
	h.t.Cleanup(func() { h.sensor.opts.FlowIdle = was })
}

// isolate gives the test's thread a network namespace with loopback up. The
// thread ends with the test.
func isolate(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(fd)
	req := must(unix.NewIfreq("lo"))(t)
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
}

// must returns a function that fails the test for an error, and returns v.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (h *harness) collect(rd *ringbuf.Reader) {
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
		h.add(d, rec.RawSample)
	}
}

func (h *harness) add(d *Decoder, rec []byte) {
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
		if ev.Boot >= h.since && (h.ns == 0 || ev.Net.NetNS == h.ns) && match(ev) {
			found = append(found, ev)
		}
	}
	return found
}

// wait returns the first event that matches.
func (h *harness) wait(what string, match func(*event.Event) bool) *event.Event {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if found := h.all(match); len(found) > 0 {
			return found[0]
		}
	}
	for _, ev := range h.all(func(*event.Event) bool { return true }) {
		h.t.Logf("%s %+v %+v", ev.Kind, ev.Thread, *ev.Net)
	}
	h.t.Fatalf("no event: %s", what)
	return nil
}

// cookieOf is the kernel's number of the socket: socket(7), SO_COOKIE.
func cookieOf(t testing.TB, fd int) uint64 {
	t.Helper()
	return must(unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE))(t)
}

// of returns the one event of that kind of the socket, which may be closed by
// now, and fails when there are more.
func (h *harness) of(kind event.Kind, cookie uint64) *event.Event {
	h.t.Helper()
	match := func(ev *event.Event) bool { return ev.Kind == kind && ev.Net.Cookie == cookie && !ev.Net.End }
	if kind == event.KindNetClose {
		match = func(ev *event.Event) bool { return ev.Kind == kind && ev.Net.Cookie == cookie }
	}
	ev := h.wait(fmt.Sprintf("%s of socket %d", kind, cookie), match)
	if n := len(h.all(match)); n != 1 {
		h.t.Errorf("%d events %s of socket %d", n, kind, cookie)
	}
	return ev
}

// netNS is the inode number of the thread's network namespace.
func netNS(t testing.TB) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// self is what an event must say of the test's own thread, Start excepted.
func (h *harness) self() event.Thread {
	h.t.Helper()
	comm := strings.TrimSpace(string(must(os.ReadFile("/proc/thread-self/comm"))(h.t)))
	th := event.Thread{PID: uint32(os.Getpid()), TID: uint32(unix.Gettid()), Comm: event.Text(comm)}
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/cgroup"))(h.t))) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(h.k.Environment().CgroupPath, path), &st); err != nil {
				h.t.Fatal(err)
			}
			th.CgroupID = st.Ino
		}
	}
	return th
}

// checkThread compares who acted with the test's own thread.
func (h *harness) checkThread(ev *event.Event) {
	h.t.Helper()
	got := ev.Thread
	if got.Start == 0 || got.Start > ev.Boot {
		h.t.Errorf("%s: start %d, event at %d", ev.Kind, got.Start, ev.Boot)
	}
	got.Start = 0
	if want := h.self(); got != want {
		h.t.Errorf("%s: thread %+v, want %+v", ev.Kind, got, want)
	}
	if d := time.Since(ev.Time); d < -time.Second || d > time.Minute {
		h.t.Errorf("%s: told as %v ago", ev.Kind, d)
	}
}
