package engine

import (
	"math/bits"
	"sync"
	"time"
)

// histogram counts durations in buckets that are at most an eighth of their
// value wide, over the last one to two minutes. One goroutine adds and
// rotates; any may ask for quantiles.
type histogram struct {
	cur [buckets]uint64 // of the adding goroutine

	mu     sync.Mutex
	shown  [2][buckets]uint64 // this minute and the one before
	turned time.Time
}

const (
	subBits = 3
	buckets = (64 - subBits + 1) << subBits
)

// bucket returns the bucket of n nanoseconds.
func bucket(n uint64) int {
	if n < 1<<subBits {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - subBits
	return (shift+1)<<subBits | int(n>>shift)&(1<<subBits-1)
}

// upper returns the largest value in bucket i.
func upper(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return uint64(1<<subBits|i&(1<<subBits-1)+1)<<shift - 1
}

// add counts a duration of n nanoseconds; negative ones count as 0.
func (h *histogram) add(n int64) { h.cur[bucket(uint64(max(n, 0)))]++ }

// rotate shows what was added, and begins a new minute when the old is over.
// Called every second.
func (h *histogram) rotate(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.turned) >= time.Minute {
		h.turned = now
		h.shown[1], h.shown[0] = h.shown[0], [buckets]uint64{}
	}
	for i, n := range h.cur {
		h.shown[0][i] += n
	}
	h.cur = [buckets]uint64{}
}

// quantiles returns, for each q in increasing order, the duration that a part
// q of those counted does not exceed, 0 when there are none.
func (h *histogram) quantiles(qs ...float64) []time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var total uint64
	for i := range buckets {
		total += h.shown[0][i] + h.shown[1][i]
	}
	out := make([]time.Duration, len(qs))
	var sum uint64
	for i, next := 0, 0; i < buckets && next < len(qs); i++ {
		sum += h.shown[0][i] + h.shown[1][i]
		for next < len(qs) && total > 0 && float64(sum) >= qs[next]*float64(total) {
			out[next] = time.Duration(upper(i))
			next++
		}
	}
	return out
}
