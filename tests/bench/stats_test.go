package main

import (
	"math/rand/v2"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		sample []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 3}, 3},
		{[]float64{9, 1, 3, 5}, 4},
	} {
		if got := median(c.sample); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.sample, got, c.want)
		}
	}
}

// The interval must hold the true median about as often as it promises.
func TestBootstrapCovers(t *testing.T) {
	const trials, n, truth = 40, 31, 1.05
	rng := rand.New(rand.NewPCG(7, 7))
	covered := 0
	for trial := range trials {
		sample := make([]float64, n)
		for i := range sample {
			sample[i] = truth + 0.05*rng.NormFloat64()
		}
		e := bootstrap(sample, uint64(trial))
		if e.Low > e.Median || e.Median > e.High || e.N != n {
			t.Fatalf("estimate %+v is out of order", e)
		}
		if e.Low <= truth && truth <= e.High {
			covered++
		}
	}
	if covered < trials*8/10 {
		t.Errorf("the interval held the median in %d of %d trials, want 95%%", covered, trials)
	}
}

func TestBootstrapOfNothing(t *testing.T) {
	if e := bootstrap(nil, 1); e != (estimate{}) {
		t.Errorf("got %+v", e)
	}
}
