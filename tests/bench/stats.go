package main

import (
	"math/rand/v2"
	"slices"
)

// estimate is the median of a sample and the interval that holds it with 95%
// confidence.
type estimate struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	N      int     `json:"n"`
}

const resamples = 10_000

// bootstrap estimates the median of sample by the percentile bootstrap (Efron
// 1979). It makes no assumption about the distribution, which for process
// loops has long tails. The same seed gives the same interval.
func bootstrap(sample []float64, seed uint64) estimate {
	if len(sample) == 0 {
		return estimate{}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	medians := make([]float64, resamples)
	draw := make([]float64, len(sample))
	for i := range medians {
		for j := range draw {
			draw[j] = sample[rng.IntN(len(sample))]
		}
		medians[i] = median(draw)
	}
	slices.Sort(medians)
	return estimate{
		Median: median(slices.Clone(sample)),
		Low:    medians[resamples*25/1000],
		High:   medians[resamples*975/1000],
		N:      len(sample),
	}
}

// median returns the median of s, which it sorts.
func median(s []float64) float64 {
	slices.Sort(s)
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}
