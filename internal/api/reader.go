package api

import (
	"context"

	"github.com/merlon/merlon/internal/event"
)

// Reader is one client's place in the stream of events. One goroutine uses it.
type Reader struct {
	hub    *Hub
	asked  bool        // for kinds of its own choice
	wants  []bool      // by kind
	lanes  [2]bool     // it wants something of
	next   [2]uint64   // by lane: place of the next event to read
	passed [2][]uint64 // by lane and kind: events before next
	asleep bool        // nothing was left to Poll
	wake   chan struct{}
}

// Read starts a stream at the oldest event kept: of the kinds that are asked
// for and of loss, or when none is, of those that are reported anyway. The
// caller closes it.
func (h *Hub) Read(kinds ...event.Kind) (*Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if len(h.readers)+len(h.alerts) >= h.maxClients {
		return nil, errClients
	}
	r := &Reader{hub: h, wants: h.usual, asked: len(kinds) > 0, wake: make(chan struct{}, 1)}
	if r.asked {
		r.wants = make([]bool, len(h.kinds))
		for _, k := range append([]event.Kind{event.KindLoss}, kinds...) {
			if i := h.kind(k); !r.wants[i] {
				r.wants[i] = true
				h.asked[i]++
			}
		}
	}
	for i, wanted := range r.wants {
		if wanted && h.usual[i] {
			r.lanes[0] = true
		} else if wanted {
			r.lanes[1] = true
		}
	}
	for i := range h.lanes {
		r.next[i] = h.lanes[i].tail
		r.passed[i] = append([]uint64(nil), h.lanes[i].gone...)
	}
	h.readers = append(h.readers, r)
	return r, nil
}

// Close ends the stream.
func (r *Reader) Close() {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.readers {
		if other != r {
			continue
		}
		h.readers = append(h.readers[:i], h.readers[i+1:]...)
		for k, wanted := range r.wants {
			if r.asked && wanted {
				h.asked[k]--
			}
		}
		break
	}
	for k, n := range h.asked {
		if n > 0 && !h.usual[k] {
			return
		}
	}
	h.lanes[1].empty() // nobody is left to read it
}

// behind reports whether events before the one of that sequence number are
// left to Poll.
func (r *Reader) behind(seq uint64) bool {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for i := range r.hub.lanes {
		if r.lanes[i] && r.next[i] < r.hub.lanes[i].tail {
			return true
		}
	}
	l, i := r.oldest()
	return l != nil && l.at(r.next[i]).seq < seq
}

// signal wakes the reader; the hub's lock is held.
func (r *Reader) signal() {
	r.asleep = false
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Skip moves to the end of what is there.
func (r *Reader) Skip() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for i := range r.hub.lanes {
		l := &r.hub.lanes[i]
		r.next[i] = l.head
		copy(r.passed[i], l.seen)
	}
}

// scan is how many events one hold of the hub's lock may pass over.
const scan = 4096

// Poll copies waiting events into buf and returns how many, without waiting.
// lost tells what was missed before them, nil when nothing.
func (r *Reader) Poll(buf []event.Event) (n int, lost []event.Loss, err error) {
	for {
		n, lost, more := r.poll(buf)
		if n > 0 || lost != nil {
			return n, lost, nil
		}
		if more {
			continue
		}
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		if r.hub.closed {
			err = errClosed
		}
		return 0, nil, err
	}
}

// poll does the same for as long as the lock may be held; more says that there
// is more to look at.
func (r *Reader) poll(buf []event.Event) (n int, lost []event.Loss, more bool) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.lanes {
		lost = append(lost, r.missed(i)...)
	}
	for looked := 0; n < len(buf); looked++ {
		l, i := r.oldest()
		if l == nil {
			r.asleep = true
			return n, lost, false
		}
		if looked == scan {
			break
		}
		s := l.at(r.next[i])
		r.passed[i][s.kind]++
		r.next[i]++
		if r.wants[s.kind] {
			buf[n] = s.ev
			n++
		}
	}
	return n, lost, true
}

// oldest returns the lane whose next event is the oldest, nil when none has
// one.
func (r *Reader) oldest() (best *lane, index int) {
	for i := range r.hub.lanes {
		l := &r.hub.lanes[i]
		if !r.lanes[i] || r.next[i] == l.head {
			continue
		}
		if best == nil || l.at(r.next[i]).seq < best.at(r.next[index]).seq {
			best, index = l, i
		}
	}
	return best, index
}

// missed moves over what was pushed out of a lane before r read it, and counts
// what of it r wanted.
func (r *Reader) missed(i int) (lost []event.Loss) {
	h, l := r.hub, &r.hub.lanes[i]
	if r.next[i] >= l.tail {
		return nil
	}
	for k, gone := range l.gone {
		if n := gone - r.passed[i][k]; n > 0 && r.wants[k] {
			lost = append(lost, event.Loss{Of: h.kinds[k], Stage: lossStage, Reason: lossReason, Count: n})
			h.lost[k] += n
		}
	}
	r.next[i] = l.tail
	copy(r.passed[i], l.gone)
	return lost
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
