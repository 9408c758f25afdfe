package ring

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Feed is a bounded queue of records that come from elsewhere than the rings,
// with the same kind of batches and books. It implements contract.Feed. A
// Reader hands its batches over, each after everything that the rings held when
// it was flushed: an act is never told before the process that did it.
type Feed struct {
	queue chan *Batch
	free  chan *Batch
	held  atomic.Int64
	wake  atomic.Pointer[func()] // set while the Reader sleeps

	mu             sync.Mutex // guards what follows
	owned          bool       // a Reader takes the current batch when it looks
	slabs, made    int
	cur            *Batch
	produced, lost [maxKinds]uint64
}

// NewFeed returns a Feed that holds at most bytes of waiting records, 1 MiB at
// least.
func NewFeed(bytes int) *Feed {
	slabs := max(minSlabs, bytes/slabSize)
	return &Feed{queue: make(chan *Batch, slabs), free: make(chan *Batch, slabs), slabs: slabs}
}

// Batches is the queue, for who reads it without a Reader. It is never closed.
func (f *Feed) Batches() <-chan *Batch { return f.queue }

// Put copies rec, header included; false when there is no room, or no header.
func (f *Feed) Put(rec []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := uint16(0)
	if len(rec) >= headerSize {
		kind = binary.NativeEndian.Uint16(rec[8:]) % maxKinds
	}
	f.produced[kind]++
	if kind != 0 && prefixSize+len(rec)+7 <= slabSize {
		if f.cur != nil && f.cur.add(rec) {
			return true
		}
		f.push()
		if f.cur = f.slab(); f.cur != nil {
			return f.cur.add(rec)
		}
	}
	f.lost[kind]++
	return false
}

// Flush hands over what was put, at the Reader's next look. One that sleeps is
// woken.
func (f *Feed) Flush() {
	f.mu.Lock()
	if !f.owned {
		f.push()
	}
	f.mu.Unlock()
	if wake := f.wake.Load(); wake != nil {
		(*wake)()
	}
}

// own makes a Reader the one who takes batches.
func (f *Feed) own() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owned = true
}

// ready puts what was put so far into the queue, and returns how many batches
// are there.
func (f *Feed) ready() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.push()
	return len(f.queue)
}

// Lost counts n records that were lost before Put.
func (f *Feed) Lost(kind uint16, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.produced[kind%maxKinds] += n
	f.lost[kind%maxKinds] += n
}

// Counts returns the books by wire kind: every record put or told lost, and
// those of them that were lost.
func (f *Feed) Counts() (produced, lost map[uint16]uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	produced, lost = make(map[uint16]uint64), make(map[uint16]uint64)
	for k := range maxKinds {
		if f.produced[k] != 0 {
			produced[uint16(k)] = f.produced[k]
			lost[uint16(k)] = f.lost[k]
		}
	}
	return produced, lost
}

// push hands the current batch over. The queue has room for every slab.
func (f *Feed) push() {
	if f.cur == nil || f.cur.n == 0 {
		return
	}
	f.held.Add(int64(len(f.cur.buf)))
	f.queue <- f.cur
	f.cur = nil
}

func (f *Feed) slab() *Batch {
	select {
	case b := <-f.free:
		return b
	default:
	}
	if f.made == f.slabs {
		return nil
	}
	f.made++
	return &Batch{buf: make([]byte, 0, slabSize), free: f.free, held: &f.held}
}
