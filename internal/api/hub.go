package api

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Errors of the hub.
var (
	errClosed  = errors.New("the agent is stopping")
	errClients = errors.New("too many clients follow a stream (events.max_clients)")
)

// Hub is the sink behind the API's streams. It keeps the latest events in
// bounded buffers that all clients read at their own pace. A client that falls
// behind by more than the buffer loses events: it is told how many of which
// kind, and nobody waits for it.
//
// Two lanes keep what is reported anyway apart from what only some clients
// asked for, so that a flood of the one pushes nothing of the other out.
//
// Event and Alert are called by the pipeline, everything else by the clients'
// goroutines.
type Hub struct {
	kinds      []event.Kind
	index      map[event.Kind]int // of kinds
	usual      []bool             // by kind: reported anyway
	maxClients int

	mu      sync.Mutex // guards everything below, and the Readers
	lanes   [2]lane    // of the usual kinds, and of the others
	head    uint64     // sequence number of the next event
	asked   []int      // by kind: readers that asked for it
	lost    []uint64   // by kind: what clients lost
	readers []*Reader
	alerts  map[*AlertReader]struct{}
	closed  bool
}

// NewHub makes a hub that keeps at most events events of together at most
// maxBytes, for at most clients streams at a time. Kinds are those that are
// reported anyway, which a reader gets who asks for none; loss is always one,
// and none at all means every kind.
func NewHub(events, maxBytes, clients int, kinds ...event.Kind) *Hub {
	h := &Hub{
		kinds: append(event.Kinds(), ""), // the last counts kinds we don't know
		index: map[event.Kind]int{}, maxClients: clients, alerts: map[*AlertReader]struct{}{},
	}
	n := len(h.kinds)
	h.usual, h.asked, h.lost = make([]bool, n), make([]int, n), make([]uint64, n)
	for i, k := range h.kinds {
		h.index[k] = i
		h.usual[i] = len(kinds) == 0 || k == event.KindLoss || slices.Contains(kinds, k)
	}
	h.lanes[0] = newLane(max(events, 1), maxBytes, n)
	h.lanes[1] = newLane(max(events, 1), maxBytes/4, n)
	return h
}

// Name implements contract.Sink.
func (h *Hub) Name() string { return "api" }

// Usual reports whether events of that kind are reported anyway.
func (h *Hub) Usual(k event.Kind) bool { return h.usual[h.kind(k)] }

func (h *Hub) kind(k event.Kind) int {
	if i, ok := h.index[k]; ok {
		return i
	}
	return len(h.kinds) - 1
}

// Event implements contract.Sink: it copies ev (not what its pointers lead
// to) and never blocks on a client. What nobody would read is not kept.
func (h *Hub) Event(ev *event.Event) {
	kind := h.kind(ev.Kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || !h.usual[kind] && h.asked[kind] == 0 {
		return
	}
	l := &h.lanes[1]
	if h.usual[kind] {
		l = &h.lanes[0]
	}
	l.put(ev, kind, h.head)
	h.head++
	for _, r := range h.readers {
		if r.asleep && r.wants[kind] {
			r.signal()
		}
	}
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
	for i := range h.lanes {
		if l := &h.lanes[i]; l.slots != nil {
			n, limit = n+int(l.head-l.tail), limit+len(l.slots)
		}
	}
	return n, max(limit, h.lanes[0].limit)
}

// end returns the sequence number of the next event.
func (h *Hub) end() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
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
	for _, r := range h.readers {
		r.signal()
	}
	for r := range h.alerts {
		r.signal()
	}
	return nil
}
