// Package ring takes records out of the two BPF ring buffers and hands them
// over in batches through a bounded queue. It keeps the books of what it
// handed over and what it had to drop.
//
// The critical ring carries exec, exit, privilege and deny, the bulk ring all
// the rest. Reading merges them by the time in the record's header, within
// what is available at that moment, so that a handler sees no effect before
// its cause.
//
// When the queue has become full and stays so for longer than a short grace,
// the records of the bulk ring are dropped and counted until it is half empty,
// so that the free slabs serve the critical ring.
// Critical records wait: should their ring fill up meanwhile, the kernel side
// counts the loss. In the steady state nothing is allocated.
package ring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

const (
	maxKinds = 64 // KIND_MAX in bpf/lib/event.h

	defaultQueue = 8 << 20
	slabSize     = 256 << 10 // the largest record, an exec with 24 KiB of arguments and long paths, has 56 KiB
	minSlabs     = 4

	// pollEvery is the pause between two looks at the rings. It is longer than
	// EVENT_WAKE_NS of bpf/lib/event.h, within which the kernel side wakes us
	// once and no more: a look that comes later and finds nothing has seen
	// everything that was sent without a wakeup.
	pollEvery = 4 * time.Millisecond
	// rest bounds a wait for a wakeup, in case a record took longer than that
	// from the decision not to wake to being finished (a CPU taken away by the
	// hypervisor).
	rest = time.Second
	// grace is how long the queue may stay full until bulk records are dropped.
	grace = 100 * time.Millisecond
)

// Options are what New needs. Critical and Bulk stay the caller's and must
// outlive the Reader.
type Options struct {
	Critical, Bulk *ebpf.Map
	QueueBytes     int // most memory for waiting records; 0 means 8 MiB, the least is 1 MiB
	Log            *slog.Logger
}

// Reader reads the two rings. Its life: New, Run once, Close after Run has
// returned. Stats may be called at any time by any goroutine.
type Reader struct {
	crit, bulk *consumer
	poll       *poller
	log        *slog.Logger

	queue chan *Batch // full batches, and one that is not when the queue was empty
	free  chan *Batch
	slabs int          // most slabs
	made  int          // slabs allocated so far
	held  atomic.Int64 // bytes handed over and not released
	cur   *Batch       // being filled; nil when there is no free slab

	fullSince time.Time // when the queue became full; zero once it is half empty
	timer     *time.Timer
	counts    counts // of Run's goroutine

	mu    sync.Mutex
	books counts // what Stats tells; guarded by mu
}

// counts are the books, by wire kind where they are arrays. Kind 0 stands for
// records without a valid header.
type counts struct {
	delivered, dropped [maxKinds]uint64
	bytes, batches     uint64
	wakeups, looks     uint64
}

// Stats says what a Reader has done.
type Stats struct {
	Delivered  map[uint16]uint64 `json:"delivered"`         // records handed over, by wire kind
	Dropped    map[uint16]uint64 `json:"dropped"`           // records dropped because the queue was full
	Bytes      uint64            `json:"bytes"`             // in records handed over
	Batches    uint64            `json:"batches"`           // handed over
	Wakeups    uint64            `json:"wakeups"`           // times the kernel woke the reader
	Looks      uint64            `json:"looks"`             // times the reader looked at the rings
	QueueDepth int               `json:"queue_depth_bytes"` // handed over and not released
	QueueLimit int               `json:"queue_limit_bytes"`
}

// New maps the rings. Nothing is read before Run.
func New(o Options) (*Reader, error) {
	if o.Critical == nil || o.Bulk == nil {
		return nil, errors.New("open rings: a ring is missing")
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = defaultQueue
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	crit, err := newConsumer(o.Critical)
	if err != nil {
		return nil, err
	}
	bulk, err := newConsumer(o.Bulk)
	if err != nil {
		_ = crit.close()
		return nil, err
	}
	poll, err := newPoller(o.Critical.FD(), o.Bulk.FD())
	if err != nil {
		_, _ = crit.close(), bulk.close()
		return nil, err
	}
	slabs := max(minSlabs, o.QueueBytes/slabSize)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &Reader{
		crit: crit, bulk: bulk, poll: poll, log: o.Log,
		queue: make(chan *Batch, slabs), free: make(chan *Batch, slabs),
		slabs: slabs, timer: timer,
	}, nil
}

// Batches is the queue. It is closed when Run returns.
func (r *Reader) Batches() <-chan *Batch { return r.queue }

// Close unmaps the rings. Batches already handed over stay valid.
func (r *Reader) Close() error {
	return errors.Join(r.crit.close(), r.bulk.close(), r.poll.close())
}

// Stats returns the books. They lag behind by at most one look at the rings.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	b := r.books
	r.mu.Unlock()
	s := Stats{
		Delivered: make(map[uint16]uint64), Dropped: make(map[uint16]uint64),
		Bytes: b.bytes, Batches: b.batches, Wakeups: b.wakeups, Looks: b.looks,
		QueueDepth: int(r.held.Load()), QueueLimit: r.slabs * slabSize,
	}
	for k := range maxKinds {
		if b.delivered[k] != 0 {
			s.Delivered[uint16(k)] = b.delivered[k]
		}
		if b.dropped[k] != 0 {
			s.Dropped[uint16(k)] = b.dropped[k]
		}
	}
	return s
}

// Run reads until ctx ends, then hands over what it holds and closes the
// queue. Records still in the rings stay there. An error means that a ring is
// not readable any more.
func (r *Reader) Run(ctx context.Context) error {
	defer close(r.queue)
	defer r.poll.wakeOn(ctx)()
	for ctx.Err() == nil {
		res, err := r.drain(ctx)
		r.settle()
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		switch {
		case res.full:
			r.waitFree(ctx)
		case res.busy || r.cur != nil && r.cur.n > 0 || res.moved:
			r.sleep(ctx, pollEvery)
		default: // a look longer than the kernel's pause after the last one found nothing
			if err := r.poll.wait(ctx, rest); err != nil {
				return err
			}
			r.counts.wakeups++
		}
	}
	if r.cur != nil && r.cur.n > 0 {
		r.push()
	}
	r.settle()
	return nil
}

// settle shows the books to Stats.
func (r *Reader) settle() {
	r.mu.Lock()
	r.books = r.counts
	r.mu.Unlock()
}

func (r *Reader) sleep(ctx context.Context, d time.Duration) {
	r.timer.Reset(d)
	select {
	case <-r.timer.C:
	case <-ctx.Done():
		r.timer.Stop()
	}
}
