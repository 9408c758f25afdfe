package ring

import "time"

// Pace is pace, for tests.
type Pace struct{ pace }

// Pause is pace.pause.
func (p *Pace) Pause(now time.Time, found, room int) time.Duration { return p.pause(now, found, room) }

// Unpaced makes r look at once, always. Before Run.
func (r *Reader) Unpaced() { r.pace.off = true }

// SetFeed gives r a feed, whose batches the queue has room for. Before Run.
func (r *Reader) SetFeed(f *Feed) {
	f.own()
	r.feed, r.queue = f, make(chan *Batch, r.slabs+f.slabs)
}
