package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/ring"
)

// harness is the sensor on the running kernel, with every event it told of.
type harness struct {
	t      *testing.T
	k      *kernel.Kernel
	sensor *Sensor
	feed   *ring.Feed

	mu       sync.Mutex
	events   []*event.Event
	errs     []error
	partials int
}

func openKernel(t testing.TB) *kernel.Kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_NET_ADMIN: run as root")
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

// start attaches the sensor and collects events until the test ends.
func start(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, k: openKernel(t), feed: ring.NewFeed(1 << 20)}
	h.sensor = New(h.k, Options{Log: slog.New(slog.DiscardHandler)})
	rd, err := ringbuf.NewReader(h.k.Map("events_bulk"))
	if err != nil {
		t.Fatalf("open ring: %v", err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { _ = h.sensor.Run(ctx, h.feed) }) // ends with ctx, without an error
	wg.Go(func() { h.collect(rd) })
	t.Cleanup(func() {
		cancel()
		rd.Close()
		wg.Wait()
	})
	if err := h.sensor.Attach(context.Background(), h.sensor.Info().Kinds); err != nil {
		t.Fatalf("attach: %v", err)
	}
	t.Cleanup(func() {
		if err := h.sensor.Close(); err != nil {
			t.Errorf("close sensor: %v", err)
		}
	})
	return h
}

func (h *harness) collect(rd *ringbuf.Reader) {
	for {
		select {
		case b := <-h.feed.Batches():
			b.Each(h.decode)
			b.Release()
			continue
		default:
		}
		rd.SetDeadline(time.Now().Add(2 * time.Millisecond)) // not every record wakes
		rec, err := rd.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return
		}
		h.decode(rec.RawSample)
	}
}

func (h *harness) decode(rec []byte) {
	ev := new(event.Event)
	err := h.sensor.Decode(rec, ev)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, contract.ErrPartial):
		h.partials++
	case err != nil:
		h.errs = append(h.errs, err)
	default:
		h.events = append(h.events, ev)
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
	h.t.Fatalf("no event: %s", what)
	return nil
}

// of waits for the message of that direction with that name.
func (h *harness) of(name, direction string, response bool, more ...func(*event.Event) bool) *event.Event {
	h.t.Helper()
	what := direction + " query of " + name
	if response {
		what = direction + " answer for " + name
	}
	return h.wait(what, func(ev *event.Event) bool {
		for _, f := range more {
			if !f(ev) {
				return false
			}
		}
		return string(ev.DNS.Name) == name && ev.DNS.Direction == direction && ev.DNS.Response == response
	})
}

func (h *harness) names() (n []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		n = append(n, string(ev.DNS.Name))
	}
	return n
}

// serve answers on the address, over UDP and TCP, until the test ends. The
// listener is one of MPTCP where the kernel has it, as of all servers written
// in Go.
func serve(t *testing.T, addr string, f dns.HandlerFunc) {
	t.Helper()
	var lc net.ListenConfig
	serveWith(t, &lc, addr, f)
}

func serveWith(t *testing.T, lc *net.ListenConfig, addr string, f dns.HandlerFunc) {
	t.Helper()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the shutdowns
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: f}, {Listener: ln, Handler: f}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
}

func rr(s string) dns.RR {
	r, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return r
}

// child runs this test binary in a role and returns its pid after its end.
func child(t *testing.T, role string, args ...string) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"MERLON_TEST_ROLE=" + role, "MERLON_TEST_ARGS=" + strings.Join(args, " ")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
	return cmd.Process.Pid
}

// TestMain turns the test binary into the helpers that some tests run.
func TestMain(m *testing.M) {
	if role := os.Getenv("MERLON_TEST_ROLE"); role != "" {
		os.Exit(playRole(role, strings.Fields(os.Getenv("MERLON_TEST_ARGS"))))
	}
	os.Exit(m.Run())
}

// playRole: "lookup SERVER NAME" asks with Go's own resolver.
func playRole(role string, args []string) int {
	if role != "lookup" || len(args) != 2 {
		return 2
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, args[0])
	}}
	_, _ = r.LookupHost(context.Background(), args[1]) // the name may not exist
	return 0
}
