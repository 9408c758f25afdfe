package network

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// TestChangeUnderLoad changes what is asked for while connections are made:
// what stays asked for is told exactly once, and the books balance.
func TestChangeUnderLoad(t *testing.T) {
	h := own(t) // whose books are its own
	isolate(t)
	ns := netNS(t)
	keep := []event.Kind{event.KindNetConnect, event.KindNetAccept}
	h.attach(keep...)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	var stop atomic.Bool
	var made atomic.Int64
	// The connections are made on this thread, which is in the namespace; the
	// changes on another.
	var wg sync.WaitGroup
	wg.Go(func() {
		sets := [][]event.Kind{
			append([]event.Kind{event.KindNetClose, event.KindNetBind}, keep...), keep, h.sensor.Info().Kinds,
			append([]event.Kind{event.KindNetFlow, event.KindNetListen}, keep...),
		}
		for i := 0; made.Load() < 600 || i < 20; i++ {
			if err := h.sensor.Attach(context.Background(), sets[i%len(sets)]); err != nil {
				t.Errorf("attach: %v", err)
			}
		}
		stop.Store(true)
	})
	for !stop.Load() {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
		if err := unix.Connect(fd, sockaddr(at, false)); err != nil {
			t.Fatal(err)
		}
		server, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = unix.Close(server), unix.Close(fd)
		made.Add(1)
	}
	wg.Wait()
	n := int(made.Load())
	for _, kind := range keep {
		ours := func(ev *event.Event) bool { return ev.Kind == kind && ev.Net.NetNS == ns }
		for deadline := time.Now().Add(20 * time.Second); len(h.all(ours)) < n && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		told := h.all(ours)
		if len(told) != n {
			t.Errorf("%d %s told, %d made", len(told), kind, n)
		}
		seen := map[uint64]bool{}
		for _, ev := range told {
			if ev.Net.Cookie != 0 && seen[ev.Net.Cookie] {
				t.Errorf("%s of socket %d told twice", kind, ev.Net.Cookie)
			}
			seen[ev.Net.Cookie] = true
			if ev.Thread.PID == 0 {
				t.Errorf("%s by nobody: %+v", kind, ev.Net)
			}
		}
	}
	h.balance()
}

// balance compares the kernel's books with what arrived.
func (h *harness) balance() {
	h.t.Helper()
	if err := h.sensor.Attach(context.Background(), nil); err != nil {
		h.t.Fatal(err)
	}
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		counts := must(h.k.Counts())(h.t)
		last = ""
		for wire, kind := range h.sensor.Info().Wire {
			var lost uint64
			for _, n := range counts[wire].Lost {
				lost += n
			}
			got := uint64(len(h.all(func(ev *event.Event) bool { return ev.Kind == kind })))
			if counts[wire].Produced != got+lost {
				last = string(kind)
				h.t.Logf("%s: produced %d, arrived %d, lost %d", kind, counts[wire].Produced, got, lost)
			}
		}
		if last == "" {
			return
		}
	}
	h.t.Errorf("the books of %s do not balance", last)
}
