package ring

import (
	"context"
	"runtime"
	"time"
)

// result says how a drain ended.
type result struct {
	moved bool // at least one record was taken
	busy  bool // stopped at an unfinished record
	full  bool // stopped for want of a free slab
}

// drain takes what the rings hold, batch by batch, until they are empty or the
// queue is full.
func (r *Reader) drain(ctx context.Context) (result, error) {
	var total result
	r.counts.looks++
	if r.pressed() {
		r.dropBulk()
	}
	for tries := 0; ctx.Err() == nil; {
		res, err := r.pass(tries < 8)
		r.crit.publish()
		r.bulk.publish()
		total.moved = total.moved || res.moved
		if err != nil || res.full {
			total.full = res.full
			return total, err
		}
		r.offer()
		if res.busy && !res.moved {
			// Producers run with preemption off, so it is a matter of
			// microseconds, unless the hypervisor took their CPU away.
			if tries++; tries > 16 {
				total.busy = true
				return total, nil
			}
			runtime.Gosched()
			continue
		}
		tries = 0
		if !res.moved {
			return total, nil
		}
	}
	return total, nil
}

// pass merges by time what the rings hold now into batches.
//
// What it takes is a consistent cut: with a record it takes every record, of
// either ring, that was committed before that one was begun. The ends are
// therefore read critical, bulk, critical: whatever the bulk records in the
// cut rest on is before the second critical end, and critical records beyond
// the first end are taken only as long as a later bulk record follows.
//
// An unfinished record at the head of one ring ends the pass if strict, since
// finished ones behind it may come before the other ring's.
func (r *Reader) pass(strict bool) (result, error) {
	var res result
	first := r.crit.end()
	bulkEnd := r.bulk.end()
	second := r.crit.end()
	for {
		bs, err := r.bulk.peek(bulkEnd)
		if err != nil {
			return res, err
		}
		critEnd := second
		if bs == empty {
			critEnd = first
		}
		cs, err := r.crit.peek(critEnd)
		if err != nil {
			return res, err
		}
		res.busy = bs == busy || cs == busy
		if res.busy && strict || bs != ready && cs != ready {
			return res, nil
		}
		from := r.bulk
		if cs == ready && (bs != ready || r.crit.time <= r.bulk.time) {
			from = r.crit
		}
		if !r.take(from) {
			res.full = true
			return res, nil
		}
		res.moved = true
	}
}

// take copies the record at the head of c into the current batch; false when
// there is no free slab.
func (r *Reader) take(c *consumer) bool {
	k := c.kind()
	if len(c.rec) < headerSize || prefixSize+len(c.rec)+7 > slabSize {
		r.counts.dropped[k]++ // not one of ours: no header, or beyond any limit
		c.advance()
		return true
	}
	for {
		if r.cur == nil {
			if r.cur = r.slab(); r.cur == nil {
				return false
			}
		}
		if r.cur.add(c.rec) {
			break
		}
		r.crit.publish()
		r.bulk.publish()
		r.push()
	}
	r.counts.delivered[k]++
	r.counts.bytes += uint64(len(c.rec))
	c.advance()
	return true
}

// slab returns an empty batch, nil when the queue has as many as it may.
func (r *Reader) slab() *Batch {
	select {
	case b := <-r.free:
		return b
	default:
	}
	if r.made == r.slabs {
		return nil
	}
	r.made++
	return &Batch{buf: make([]byte, 0, slabSize), free: r.free, held: &r.held}
}

// push hands the current batch over. The queue has room for every slab.
func (r *Reader) push() {
	r.held.Add(int64(len(r.cur.buf)))
	r.counts.batches++
	r.queue <- r.cur
	r.cur = nil
}

// offer hands the current batch over if nothing else waits; as long as the
// handler has work in the queue the batch is better filled up.
func (r *Reader) offer() {
	if r.cur != nil && r.cur.n > 0 && len(r.queue) == 0 {
		r.push()
	}
}

// waitFree waits for a free slab, or until it is time to look again.
func (r *Reader) waitFree(ctx context.Context) {
	if r.fullSince.IsZero() {
		r.fullSince = time.Now()
	}
	r.timer.Reset(grace / 4)
	defer r.timer.Stop()
	select {
	case r.cur = <-r.free:
	case <-r.timer.C:
	case <-ctx.Done():
	}
}

// pressed reports whether the handler has been too slow for longer than the
// grace: the queue was full, and has not been half empty since.
func (r *Reader) pressed() bool {
	if r.fullSince.IsZero() {
		return false
	}
	if inUse := r.made - len(r.free); inUse <= r.slabs/2 {
		r.fullSince = time.Time{}
		return false
	}
	return time.Since(r.fullSince) > grace
}

// dropBulk drops and counts what the bulk ring holds, so that what room there
// is serves the critical ring.
func (r *Reader) dropBulk() {
	end := r.bulk.end()
	for {
		if st, err := r.bulk.peek(end); st != ready || err != nil {
			break // a broken ring is told by the pass that follows
		}
		r.counts.dropped[r.bulk.kind()]++
		r.bulk.advance()
	}
	r.bulk.publish()
}
