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
	maxKinds = 128 // KIND_MAX in bpf/lib/event.h

	defaultQueue = 8 << 20
	slabSize     = 256 << 10 // the largest record, an exec with 24 KiB of arguments and long paths, has 56 KiB
	minSlabs     = 4

	// A wakeup costs more than reading many records: an interrupt on the CPU
	// of the producer, and several switches of threads here. So the reader is
	// woken at once by lookBurst records that come alone, but looks no more than
	// once in lookEvery while they keep coming.
	lookEvery = 50 * time.Millisecond
	lookBurst = 8
	// busyRest is the pause for an unfinished record.
	busyRest = time.Millisecond
	// rest bounds a wait for a wakeup. No known way loses one, but a ring so
	// full that it does not hold the empty record of event_sent.
	rest = time.Second
	// grace is how long the queue may stay full until bulk records are dropped.
	grace = 100 * time.Millisecond
)

// Options are what New needs. The maps stay the caller's and must outlive the
// Reader.
type Options struct {
	Critical, Bulk *ebpf.Map
	State          *ebpf.Map // events_reader of bpf/lib/event.h
	Feed           *Feed     // records of other sources; may be nil
	QueueBytes     int       // most memory for waiting records; 0 means 8 MiB, the least is 1 MiB
	Log            *slog.Logger
}

// Reader reads the two rings. Its life: New, Run once, Close after Run has
// returned. Stats may be called at any time by any goroutine.
type Reader struct {
	crit, bulk *consumer
	sleeper    *sleeper
	poll       *poller
	pace       pace
	feed       *Feed
	bell       func() // wakes a sleeping Run
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
	late               uint64
}

// Stats says what a Reader has done.
type Stats struct {
	Delivered  map[uint16]uint64 `json:"delivered"`         // records handed over, by wire kind
	Dropped    map[uint16]uint64 `json:"dropped"`           // records dropped because the queue was full
	Bytes      uint64            `json:"bytes"`             // in records handed over
	Batches    uint64            `json:"batches"`           // handed over
	Wakeups    uint64            `json:"wakeups"`           // times the kernel woke the reader
	Looks      uint64            `json:"looks"`             // times the reader looked at the rings
	Late       uint64            `json:"late"`              // times it found records that should have woken it
	QueueDepth int               `json:"queue_depth_bytes"` // handed over and not released
	QueueLimit int               `json:"queue_limit_bytes"`
}

// New maps the rings. Nothing is read before Run.
func New(o Options) (*Reader, error) {
	if o.Critical == nil || o.Bulk == nil || o.State == nil {
		return nil, errors.New("open rings: a map is missing")
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
	state, err := newSleeper(o.State)
	if err != nil {
		_, _ = crit.close(), bulk.close()
		return nil, err
	}
	poll, err := newPoller(o.Critical.FD(), o.Bulk.FD())
	if err != nil {
		_, _, _ = crit.close(), bulk.close(), state.close()
		return nil, err
	}
	slabs, fed := max(minSlabs, o.QueueBytes/slabSize), 0
	if o.Feed == nil {
		o.Feed = NewFeed(0) // of nobody
	} else {
		fed = o.Feed.slabs
		o.Feed.own()
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &Reader{
		crit: crit, bulk: bulk, sleeper: state, poll: poll, log: o.Log,
		queue: make(chan *Batch, slabs+fed), free: make(chan *Batch, slabs),
		slabs: slabs, timer: timer, feed: o.Feed, bell: poll.ring,
	}, nil
}

// Batches is the queue. It is closed when Run returns.
func (r *Reader) Batches() <-chan *Batch { return r.queue }

// Close unmaps the rings. Batches already handed over stay valid. The feed may
// still be put to, in vain.
func (r *Reader) Close() error {
	return errors.Join(r.crit.close(), r.bulk.close(), r.sleeper.close(), r.poll.close())
}

// Stats returns the books. They lag behind by at most one look at the rings.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	b := r.books
	r.mu.Unlock()
	s := Stats{
		Delivered: make(map[uint16]uint64), Dropped: make(map[uint16]uint64),
		Bytes: b.bytes, Batches: b.batches, Wakeups: b.wakeups, Looks: b.looks, Late: b.late,
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
	r.sleeper.awake()
	unwoken := false // the last sleep ended by itself
	for ctx.Err() == nil {
		before, fed := r.counts.bytes, r.feed.ready()
		res, err := r.drain(ctx)
		if unwoken && res.moved {
			r.counts.late++
		}
		unwoken = false
		if !res.full {
			r.forward(fed)
		}
		r.settle()
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		switch {
		case res.full:
			r.waitFree(ctx)
		case res.busy || r.cur != nil && r.cur.n > 0:
			r.sleep(ctx, busyRest)
		case res.moved || fed > 0:
			r.sleep(ctx, r.pace.pause(time.Now(), int(r.counts.bytes-before), min(len(r.crit.data), len(r.bulk.data))/2))
		default:
			if unwoken, err = r.doze(ctx); err != nil {
				return err
			}
		}
	}
	if r.cur != nil && r.cur.n > 0 {
		r.push()
	}
	r.forward(r.feed.ready())
	r.settle()
	return nil
}

// forward hands n batches of the feed over, after what was read before them.
func (r *Reader) forward(n int) {
	if n > 0 && r.cur != nil && r.cur.n > 0 {
		r.push()
	}
	for range n {
		r.queue <- <-r.feed.queue // has room for every slab
	}
}

// settle shows the books to Stats.
func (r *Reader) settle() {
	r.mu.Lock()
	r.books = r.counts
	r.mu.Unlock()
}

// doze waits for a wakeup, unless a record has come since the last look. It
// reports whether it waited in vain.
func (r *Reader) doze(ctx context.Context) (unwoken bool, err error) {
	r.sleeper.asleep()
	defer r.sleeper.awake()
	r.feed.wake.Store(&r.bell)
	defer r.poll.silence()
	defer r.feed.wake.Store(nil)
	if r.crit.end() != r.crit.pos || r.bulk.end() != r.bulk.pos || r.feed.ready() > 0 {
		return false, nil
	}
	woken, err := r.poll.wait(ctx, rest)
	if woken {
		r.counts.wakeups++
	}
	return !woken, err
}

func (r *Reader) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	r.timer.Reset(d)
	select {
	case <-r.timer.C:
	case <-ctx.Done():
		r.timer.Stop()
	}
}
