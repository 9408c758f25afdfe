package api

import (
	"context"
	"errors"
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
