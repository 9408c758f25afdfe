package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Errors of the hub.
var (
	errClosed  = errors.New("the agent is stopping")
	errClients = errors.New("too many clients follow a stream (events.max_clients)")
)

// Hub is the sink behind the API's streams. It keeps the latest events in one
// bounded buffer that all clients read at their own pace. A client that falls
// behind by more than the buffer loses events: it is told how many of which
// kind, and nobody waits for it.
//
// Event and Alert are called by the pipeline, everything else by the clients'
// goroutines.
type Hub struct {
	kinds      []event.Kind
	maxBytes   int
	maxClients int

	mu      sync.Mutex // guards everything below, and the Readers
	slots   []slot     // sequence number n is in slot n % len
	tail    uint64     // sequence number of the oldest event kept
	head    uint64     // of the next event
	bytes   int
	gone    []uint64 // by kind: events before tail
	seen    []uint64 // by kind: events before head
	lost    []uint64 // by kind: what clients lost
	readers map[*Reader]struct{}
	alerts  map[*AlertReader]struct{}
	closed  bool
}

type slot struct {
	ev   event.Event
	kind int
	size int
}

// NewHub makes a hub that keeps at most events events of together at most
// maxBytes, for at most clients streams at a time.
func NewHub(events, maxBytes, clients int) *Hub {
	kinds := append(event.Kinds(), "") // the last counts kinds we don't know
	n := len(kinds)
	return &Hub{
		kinds: kinds, maxBytes: maxBytes, maxClients: clients, slots: make([]slot, max(events, 1)),
		gone: make([]uint64, n), seen: make([]uint64, n), lost: make([]uint64, n),
		readers: map[*Reader]struct{}{}, alerts: map[*AlertReader]struct{}{},
	}
}

// Name implements contract.Sink.
func (h *Hub) Name() string { return "api" }

// Event implements contract.Sink: it copies ev (not what its pointers lead
// to) and never blocks on a client.
func (h *Hub) Event(ev *event.Event) {
	kind := 0
	for kind < len(h.kinds)-1 && h.kinds[kind] != ev.Kind {
		kind++
	}
	size := weight(ev)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for h.head > h.tail && (h.head-h.tail == uint64(len(h.slots)) || h.bytes+size > h.maxBytes) {
		h.evict()
	}
	h.slots[h.head%uint64(len(h.slots))] = slot{*ev, kind, size}
	h.bytes += size
	h.seen[kind]++
	h.head++
	for r := range h.readers {
		r.signal()
	}
}

func (h *Hub) evict() {
	s := &h.slots[h.tail%uint64(len(h.slots))]
	h.bytes -= s.size
	h.gone[s.kind]++
	*s = slot{}
	h.tail++
}

// weight estimates the memory that an event keeps alive, in bytes. What the
// process tree keeps alive anyway is counted too: the process may be gone.
func weight(ev *event.Event) int {
	n := 256
	if p := ev.Process; p != nil {
		n += 1024 + len(p.Exe) + len(p.CWD) + len(p.Cgroup)
		for _, a := range p.Args {
			n += 16 + len(a)
		}
	}
	if x := ev.Exec; x != nil {
		n += 512 + len(x.Filename) + len(x.FDs)*128
		for _, a := range x.Args {
			n += 16 + len(a)
		}
		for _, v := range x.Env {
			n += 32 + len(v.Name) + len(v.Value)
		}
	}
	return n
}

// Dropped implements contract.Sink: events that clients lost.
func (h *Hub) Dropped() uint64 {
	var n uint64
	for _, l := range h.Lost() {
		n += l.Count
	}
	return n
}

// Lost tells what clients lost because they read too slowly.
func (h *Hub) Lost() []LossCount {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []LossCount
	for i, n := range h.lost {
		if n > 0 {
			list = append(list, LossCount{h.kinds[i], lossStage, lossReason, n})
		}
	}
	return list
}

// Loss events of this stage and reason stand in a client's stream where it
// was too slow.
const (
	lossStage  = "client"
	lossReason = "the client reads too slowly"
)

// Size returns how many events the hub keeps, and the most it will.
func (h *Hub) Size() (n, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int(h.head - h.tail), len(h.slots)
}

// bounds returns the sequence numbers of the oldest and of the next event.
func (h *Hub) bounds() (tail, head uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tail, h.head
}

// lossEvent makes an event of what a client lost.
func lossEvent(l *event.Loss) *event.Event {
	return &event.Event{Time: time.Now(), Kind: event.KindLoss, Loss: l}
}

// Clients returns the number of clients that follow a stream.
func (h *Hub) Clients() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers) + len(h.alerts)
}

// Close ends all streams.
func (h *Hub) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for r := range h.readers {
		r.signal()
	}
	for r := range h.alerts {
		r.signal()
	}
	return nil
}

// Reader is one client's place in the stream of events. One goroutine uses it.
type Reader struct {
	hub    *Hub
	next   uint64   // sequence number of the next event to read
	passed []uint64 // by kind: events before next
	wake   chan struct{}
}

// Read starts a stream at the oldest event kept. The caller closes it.
func (h *Hub) Read() (*Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if len(h.readers)+len(h.alerts) >= h.maxClients {
		return nil, errClients
	}
	r := &Reader{hub: h, next: h.tail, passed: append([]uint64(nil), h.gone...), wake: make(chan struct{}, 1)}
	h.readers[r] = struct{}{}
	return r, nil
}

// Close ends the stream.
func (r *Reader) Close() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	delete(r.hub.readers, r)
}

func (r *Reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Skip moves to the end of what is there.
func (r *Reader) Skip() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.next = r.hub.head
	copy(r.passed, r.hub.seen)
}

// Poll copies waiting events into buf and returns how many, without waiting.
// lost tells what was missed before them, nil when nothing.
func (r *Reader) Poll(buf []event.Event) (n int, lost []event.Loss, err error) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.next < h.tail {
		for i, gone := range h.gone {
			if missed := gone - r.passed[i]; missed > 0 {
				lost = append(lost, event.Loss{Of: h.kinds[i], Stage: lossStage, Reason: lossReason, Count: missed})
				h.lost[i] += missed
			}
		}
		r.next = h.tail
		copy(r.passed, h.gone)
	}
	for n < len(buf) && r.next < h.head {
		s := &h.slots[r.next%uint64(len(h.slots))]
		buf[n] = s.ev
		r.passed[s.kind]++
		r.next++
		n++
	}
	if n == 0 && h.closed {
		err = errClosed
	}
	return n, lost, err
}

// Wait returns when there may be something to Poll, or with ctx's error.
func (r *Reader) Wait(ctx context.Context) error {
	select {
	case <-r.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxAlerts is how many alerts wait for one client.
const maxAlerts = 1024

// AlertReader is one client's stream of alerts.
type AlertReader struct {
	hub     *Hub
	waiting []*event.Alert // guarded by hub.mu
	missed  uint64
	wake    chan struct{}
}

// Alert implements contract.Sink.
func (h *Hub) Alert(a *event.Alert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.alerts {
		if len(r.waiting) >= maxAlerts {
			r.missed++
			continue
		}
		r.waiting = append(r.waiting, a)
		r.signal()
	}
}

// ReadAlerts starts a stream of the alerts to come. The caller closes it.
func (h *Hub) ReadAlerts() (*AlertReader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if len(h.readers)+len(h.alerts) >= h.maxClients {
		return nil, errClients
	}
	r := &AlertReader{hub: h, wake: make(chan struct{}, 1)}
	h.alerts[r] = struct{}{}
	return r, nil
}

// Close ends the stream.
func (r *AlertReader) Close() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	delete(r.hub.alerts, r)
}

func (r *AlertReader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Next waits for alerts and returns them, and how many the client missed.
func (r *AlertReader) Next(ctx context.Context) (alerts []*event.Alert, missed uint64, err error) {
	for {
		r.hub.mu.Lock()
		alerts, missed = r.waiting, r.missed
		r.waiting, r.missed = nil, 0
		closed := r.hub.closed
		r.hub.mu.Unlock()
		if len(alerts) > 0 || missed > 0 {
			return alerts, missed, nil
		}
		if closed {
			return nil, 0, errClosed
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}
