package engine

import (
	"math"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	last := -1
	for _, n := range []uint64{0, 1, 7, 8, 9, 15, 16, 17, 18, 1000, 1023, 1024, 1 << 40, math.MaxUint64} {
		b := bucket(n)
		if b < last || b >= buckets {
			t.Errorf("%d is in bucket %d of %d, after %d", n, b, buckets, last)
		}
		if up := upper(b); up < n || up-n > n/8 {
			t.Errorf("%d is in the bucket up to %d", n, up)
		}
		if b > 0 && upper(b-1) >= n {
			t.Errorf("%d belongs in an earlier bucket than %d", n, b)
		}
		last = b
	}
}

func TestQuantiles(t *testing.T) {
	var h histogram
	if q := h.quantiles(0.5); q[0] != 0 {
		t.Errorf("of nothing: %v", q)
	}
	for range 99 {
		h.add(int64(time.Microsecond))
	}
	h.add(int64(time.Second))
	h.add(-5)
	start := time.Now()
	h.rotate(start)
	q := h.quantiles(0.5, 0.99, 1)
	for i, want := range []time.Duration{time.Microsecond, time.Microsecond, time.Second} {
		if q[i] < want || q[i] > want+want/8 {
			t.Errorf("quantile %d: %v, want %v", i, q[i], want)
		}
	}
	h.rotate(start.Add(61 * time.Second))
	if q := h.quantiles(1); q[0] < time.Second {
		t.Error("forgotten after one minute")
	}
	h.rotate(start.Add(122 * time.Second))
	if q := h.quantiles(1); q[0] != 0 {
		t.Errorf("remembered after two minutes: %v", q[0])
	}
}

func TestRates(t *testing.T) {
	var r rates
	var tl tally
	if got := r.snapshot()[2]; got != (rate{}) {
		t.Errorf("of nothing: %v", got)
	}
	start := time.Now()
	for i := range 200 { // 10 a second, 70 in the last one
		tl.kinds[2].events += 10
		if i == 199 {
			tl.kinds[2].partial += 60
		}
		r.note(&tl)
		r.at[(r.n-1)%len(r.at)] = start.Add(time.Duration(i) * time.Second)
	}
	if got, want := r.snapshot()[2], (rate{70, 11}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
