package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"
)

// work is one thing done with and without the agent.
type work struct {
	name  string
	limit float64 // of the ratio; 0 for no target
	do    func(ctx context.Context, n int) (time.Duration, error)
	n     int
	ratio []float64 // with the agent to without, one per round
	same  []float64 // without to without
}

const (
	slice  = 700 * time.Millisecond // of each work in each state
	settle = 500 * time.Millisecond // after each start and stop of the agent
)

// measureOverhead compares work with and without the agent. Each round does
// every work three times, in random order: with the agent, without it, and
// once more without it. The first two make the ratio, the last two the A/A
// control: what the same comparison says of nothing.
func measureOverhead(ctx context.Context, s *settings) (_ []result, err error) {
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return nil, fmt.Errorf("measure overhead: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tiny, err := exiter(dir)
	if err != nil {
		return nil, err
	}
	works := []*work{
		{name: "fork+exec of /bin/true, one loop", limit: 1.05,
			do: func(ctx context.Context, n int) (time.Duration, error) { return loop(ctx, "/bin/true", n) }},
		{name: "fork+exec of a static program that exits, one loop",
			do: func(ctx context.Context, n int) (time.Duration, error) { return loop(ctx, tiny, n) }},
		{name: fmt.Sprintf("fork+exec of /bin/true, %d loops on %d CPUs", runtime.NumCPU(), runtime.NumCPU()),
			do: func(ctx context.Context, n int) (time.Duration, error) { return loops(ctx, "/bin/true", n) }},
	}
	for _, w := range works {
		if err := w.calibrate(ctx); err != nil {
			return nil, err
		}
	}
	rounds := 31
	if s.long {
		rounds = 201
	}
	for i := range rounds {
		fmt.Fprintf(s.log, "\r   round %d of %d ", i+1, rounds)
		if err := overheadRound(ctx, s, works); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(s.log)
	var results []result
	for _, w := range works {
		ratio, same := bootstrap(w.ratio, 1), bootstrap(w.same, 2)
		r := result{Name: w.name, Value: ratio.Median, Unit: "× without", Detail: &ratio, Control: &same,
			Note: fmt.Sprintf("%d per slice", w.n)}
		if w.limit > 0 {
			r = r.atMost(w.limit)
		}
		results = append(results, r)
	}
	return results, nil
}

// calibrate chooses how often the work is done, so that a slice has its time.
func (w *work) calibrate(ctx context.Context) error {
	const probe = 200
	if _, err := w.do(ctx, probe); err != nil { // warms the caches
		return err
	}
	d, err := w.do(ctx, probe)
	if err != nil {
		return err
	}
	w.n = max(probe, int(probe*slice/d))
	return nil
}

func overheadRound(ctx context.Context, s *settings, works []*work) error {
	const with, without, again = 0, 1, 2
	times := make([][3]time.Duration, len(works))
	for _, state := range rand.Perm(3) {
		if err := overheadSlice(ctx, s, state == with, works, func(i int, d time.Duration) { times[i][state] = d }); err != nil {
			return err
		}
	}
	for i, w := range works {
		t := times[i]
		w.ratio = append(w.ratio, t[with].Seconds()/t[without].Seconds())
		w.same = append(w.same, t[again].Seconds()/t[without].Seconds())
	}
	return nil
}

func overheadSlice(ctx context.Context, s *settings, agent bool, works []*work, took func(int, time.Duration)) (err error) {
	if agent {
		a, err := startAgent(ctx, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.stop()) }()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	for i, w := range works {
		d, err := w.do(ctx, w.n)
		if err != nil {
			return err
		}
		took(i, d)
	}
	return nil
}
