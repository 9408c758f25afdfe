package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

func publish(h *Hub, kind event.Kind, pids ...uint32) {
	for _, pid := range pids {
		h.Event(&event.Event{Kind: kind, Process: &event.Process{PID: pid}})
	}
}

func pids(evs []event.Event) []uint32 {
	var l []uint32
	for i := range evs {
		l = append(l, evs[i].Process.PID)
	}
	return l
}

func TestHubKeepsTheLast(t *testing.T) {
	h := NewHub(3, 1<<20, 4)
	publish(h, event.KindExec, 1, 2, 3, 4, 5)
	r, err := h.Read()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]event.Event, 10)
	n, lost, err := r.Poll(buf)
	if err != nil || lost != nil || n != 3 || pids(buf[:n])[0] != 3 {
		t.Fatalf("polled %v, lost %v, %v; want 3 4 5", pids(buf[:n]), lost, err)
	}
}

func TestHubCountsWhatASlowReaderLoses(t *testing.T) {
	h := NewHub(4, 1<<20, 4)
	r, err := h.Read()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	publish(h, event.KindExec, 1)
	buf := make([]event.Event, 1)
	if n, _, _ := r.Poll(buf); n != 1 {
		t.Fatal("nothing to poll")
	}
	publish(h, event.KindExec, 2, 3, 4)
	publish(h, event.KindExit, 5, 6)
	publish(h, "strange", 7)
	publish(h, event.KindFork, 8, 9)
	// 8 since the last poll, 4 kept: 2, 3, 4 and 5 are gone.
	buf = make([]event.Event, 10)
	n, lost, err := r.Poll(buf)
	if err != nil || n != 4 || pids(buf[:n])[0] != 6 {
		t.Fatalf("polled %v, %v; want 6 7 8 9", pids(buf[:n]), err)
	}
	got := map[event.Kind]uint64{}
	for _, l := range lost {
		if l.Stage != "client" || l.Reason == "" {
			t.Errorf("loss %+v", l)
		}
		got[l.Of] = l.Count
	}
	if len(got) != 2 || got[event.KindExec] != 3 || got[event.KindExit] != 1 {
		t.Errorf("lost %v, want 3 exec and 1 exit", got)
	}
	if h.Dropped() != 4 {
		t.Errorf("hub counts %d lost, want 4", h.Dropped())
	}
	if n, lost, _ := r.Poll(buf); n != 0 || lost != nil {
		t.Errorf("told twice: %d events, lost %v", n, lost)
	}
}

func TestHubIsBoundedInBytes(t *testing.T) {
	h := NewHub(1000, 1<<20, 1)
	arg := event.Text(strings.Repeat("x", 100<<10))
	for range 100 {
		h.Event(&event.Event{Kind: event.KindExec, Exec: &event.Exec{Args: []event.Text{arg}}})
	}
	if n, _ := h.Size(); n < 5 || n > 10 {
		t.Errorf("%d events of 100 KiB kept, want what fits into 1 MiB", n)
	}
	held := 0
	for i := range h.lanes[0].slots {
		if h.lanes[0].slots[i].ev.Exec != nil {
			held++
		}
	}
	if n, _ := h.Size(); held != n {
		t.Errorf("%d events are still referred to, %d are kept", held, n)
	}
}

func TestHubLimitsClientsAndCloses(t *testing.T) {
	h := NewHub(4, 1<<20, 2)
	r, err := h.Read()
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.ReadAlerts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Read(); !errors.Is(err, errClients) {
		t.Errorf("a third client: %v", err)
	}
	if h.Clients() != 2 {
		t.Errorf("%d clients", h.Clients())
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Poll(make([]event.Event, 1)); !errors.Is(err, errClosed) {
		t.Errorf("poll after close: %v", err)
	}
	if _, _, err := a.Next(context.Background()); !errors.Is(err, errClosed) {
		t.Errorf("alerts after close: %v", err)
	}
	r.Close()
	a.Close()
	if h.Clients() != 0 {
		t.Errorf("%d clients after their end", h.Clients())
	}
}

func TestAlertsWaitAndDrop(t *testing.T) {
	h := NewHub(4, 1<<20, 2)
	r, err := h.ReadAlerts()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range maxAlerts + 5 {
		h.Alert(&event.Alert{ID: "a"})
	}
	alerts, missed, err := r.Next(context.Background())
	if err != nil || len(alerts) != maxAlerts || missed != 5 {
		t.Errorf("%d alerts, %d missed, %v", len(alerts), missed, err)
	}
}

func BenchmarkHub(b *testing.B) {
	h := NewHub(4096, 8<<20, 4)
	ev := &event.Event{Kind: event.KindExec, Process: &event.Process{Exe: "/bin/true"}, Exec: &event.Exec{Args: []event.Text{"a", "b"}}}
	b.ReportAllocs()
	for b.Loop() {
		h.Event(ev)
	}
}

// kindsOf reads all that waits.
func kindsOf(t *testing.T, r *Reader) (kinds []event.Kind, lost []event.Loss) {
	t.Helper()
	buf := make([]event.Event, 7)
	for {
		n, l, err := r.Poll(buf)
		if err != nil {
			t.Fatal(err)
		}
		lost = append(lost, l...)
		for i := range buf[:n] {
			kinds = append(kinds, buf[i].Kind)
		}
		if n == 0 {
			return kinds, lost
		}
	}
}

// Each reader gets what it asked for, and who asked for nothing what is usual,
// in the order in which it happened.
func TestHubFiltersByKind(t *testing.T) {
	h := NewHub(16, 1<<20, 4, event.KindExec, event.KindExit)
	plain, _ := h.Read()
	mixed, _ := h.Read(event.KindFileOpen, event.KindExec)
	other, err := h.Read(event.KindDNS)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, k := range []event.Kind{event.KindFileOpen, event.KindExec, event.KindDNS, event.KindFileClose, event.KindFileOpen, event.KindExit, event.KindLoss} {
		publish(h, k, 1)
	}
	for _, c := range []struct {
		r    *Reader
		want []event.Kind
	}{
		{plain, []event.Kind{event.KindExec, event.KindExit, event.KindLoss}},
		{mixed, []event.Kind{event.KindFileOpen, event.KindExec, event.KindFileOpen, event.KindLoss}},
		{other, []event.Kind{event.KindDNS, event.KindLoss}},
	} {
		if got, lost := kindsOf(t, c.r); !slices.Equal(got, c.want) || lost != nil {
			t.Errorf("got %v, lost %v; want %v", got, lost, c.want)
		}
	}
	if n, _ := h.Size(); n != 6 {
		t.Errorf("%d events are kept, want all but the one that nobody asked for", n)
	}
	mixed.Close()
	other.Close()
	if n, limit := h.Size(); n != 3 || limit != 16 || h.lanes[1].slots != nil {
		t.Errorf("%d of %d events are kept after those who asked for others have left", n, limit)
	}
	publish(h, event.KindFileOpen, 2)
	if n, _ := h.Size(); n != 3 {
		t.Error("an event that nobody asks for is kept")
	}
	if !h.Usual(event.KindExit) || !h.Usual(event.KindLoss) || h.Usual(event.KindDNS) || h.Usual("strange") {
		t.Error("the usual kinds are not those of NewHub")
	}
}

// A flood of what one client asked for pushes out nothing of what is usual,
// and the loss is told to that client alone.
func TestHubFloodOfOthersKinds(t *testing.T) {
	h := NewHub(16, 1<<20, 4, event.KindExec)
	plain, _ := h.Read()
	flooded, err := h.Read(event.KindFileOpen)
	if err != nil {
		t.Fatal(err)
	}
	publish(h, event.KindExec, 1)
	for range 10000 {
		publish(h, event.KindFileOpen, 2)
	}
	publish(h, event.KindExec, 3)
	if got, lost := kindsOf(t, plain); len(got) != 2 || lost != nil {
		t.Errorf("got %v, lost %v; want both execs", got, lost)
	}
	got, lost := kindsOf(t, flooded)
	if len(got) != 16 || len(lost) != 1 || lost[0].Of != event.KindFileOpen || lost[0].Count != 10000-16 {
		t.Errorf("got %d events, lost %+v; want 16, and the rest told as lost", len(got), lost)
	}
}

// A sleeping reader is woken by what it wants, and by nothing else.
func TestHubWakes(t *testing.T) {
	h := NewHub(16, 1<<20, 4, event.KindExec)
	r, err := h.Read(event.KindDNS)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kindsOf(t, r)
	publish(h, event.KindExec, 1)
	if len(r.wake) != 0 {
		t.Error("woken by an exec")
	}
	publish(h, event.KindDNS, 1)
	if err := r.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, _ := kindsOf(t, r); !slices.Equal(got, []event.Kind{event.KindDNS}) {
		t.Errorf("got %v", got)
	}
}

// BenchmarkHubFile is the hub's cost of an event that a client who sleeps has
// asked for, and of one that nobody has.
func BenchmarkHubFile(b *testing.B) {
	for _, asked := range []bool{true, false} {
		b.Run(map[bool]string{true: "asked", false: "unasked"}[asked], func(b *testing.B) {
			h := NewHub(4096, 8<<20, 4, event.KindExec)
			if asked {
				r, err := h.Read(event.KindFileOpen)
				if err != nil {
					b.Fatal(err)
				}
				defer r.Close()
			}
			ev := &event.Event{Kind: event.KindFileOpen, Process: &event.Process{Exe: "/bin/true"}, File: &event.FileAct{Path: "/etc/passwd"}}
			b.ReportAllocs()
			for b.Loop() {
				h.Event(ev)
			}
		})
	}
}
