package process

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/merlon/merlon/internal/contract"
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
	parts  int
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_BPF and CAP_SYS_ADMIN: run as root")
	}
}

func openKernel(t *testing.T) *kernel.Kernel {
	t.Helper()
	needRoot(t)
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

// probed is what Probe found: the same for every test, and slow in a VM.
var probed struct {
	once   sync.Once
	before string
	seeds  bool
}

// start probes, attaches every kind and collects events until the test ends.
func start(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, k: openKernel(t)}
	h.sensor = New(h.k, slog.New(slog.DiscardHandler))
	probed.once.Do(func() {
		for _, f := range h.sensor.Probe(context.Background()) {
			if f.Essential && f.Guarantee == event.Absent {
				t.Errorf("feature %q: %s %+v", f.Name, f.Why, f.Tried)
			}
		}
		probed.before, probed.seeds = h.sensor.before, h.sensor.seeds
	})
	h.sensor.before, h.sensor.seeds = probed.before, probed.seeds
	var wg sync.WaitGroup
	var readers []*ringbuf.Reader
	for _, name := range []string{"events_crit", "events_bulk"} {
		rd, err := ringbuf.NewReader(h.k.Map(name))
		if err != nil {
			t.Fatalf("open ring %s: %v", name, err)
		}
		d := h.sensor.Decoder
		if name == "events_bulk" {
			d = NewDecoder() // a decoder belongs to one goroutine
		}
		wg.Go(func() { h.collect(rd, d) })
		readers = append(readers, rd)
	}
	t.Cleanup(func() {
		for _, rd := range readers {
			rd.Close()
		}
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
		switch {
		case errors.Is(err, contract.ErrPartial):
			h.parts++
		case err != nil:
			h.errs = append(h.errs, err)
		default:
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
	h.t.Fatalf("no event: %s", what)
	return nil
}

// count returns how many events of the kind arrived so far.
func (h *harness) count(kind event.Kind) (n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

func (h *harness) of(kind event.Kind, pid int) *event.Event {
	h.t.Helper()
	return h.wait(string(kind)+" of the child", func(ev *event.Event) bool {
		return ev.Kind == kind && ev.Process != nil && ev.Process.PID == uint32(pid)
	})
}

// run starts cmd, waits for its end whatever its status, and returns its exec.
func (h *harness) run(cmd *exec.Cmd) *event.Event {
	h.t.Helper()
	if err := cmd.Start(); err != nil {
		h.t.Fatalf("start %s: %v", cmd.Path, err)
	}
	_ = cmd.Wait() // the exit status is part of the event
	return h.of(event.KindExec, cmd.Process.Pid)
}

// program is the smallest static program: it exits with code.
func program(code byte) []byte {
	var text []byte
	machine := uint16(62) // EM_X86_64
	switch runtime.GOARCH {
	case "amd64":
		text = []byte{0xbf, code, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // edi=code eax=exit syscall
	case "arm64":
		machine = 183                                                             // EM_AARCH64
		text = binary.LittleEndian.AppendUint32(text, 0xd2800000|uint32(code)<<5) // mov x0, #code
		text = binary.LittleEndian.AppendUint32(text, 0xd2800ba8)                 // mov x8, #93
		text = binary.LittleEndian.AppendUint32(text, 0xd4000001)                 // svc #0
	}
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	le([]uint16{2, machine})
	le(uint32(1))
	le([]uint64{base + headers, 64, 0})
	le(uint32(0))
	le([]uint16{64, 56, 1, 0, 0, 0})
	le([]uint32{1, 5})
	size := uint64(headers + len(text))
	le([]uint64{0, base, base, size, size, 0x1000})
	b.Write(text)
	return b.Bytes()
}

// install writes the program into a new file and returns its path.
func install(t *testing.T, dir, name string, code byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, program(code), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMain turns the test binary into the helpers that some tests run.
func TestMain(m *testing.M) {
	if role := os.Getenv("MERLON_TEST_ROLE"); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(m.Run())
}
