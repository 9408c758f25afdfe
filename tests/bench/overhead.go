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
	do    func(ctx context.Context, n int) (spent, error)
	n     int
	wall  ratios
	cpu   ratios
}

// ratios are one number per round.
type ratios struct {
	with []float64 // with the agent to without
	same []float64 // without to without
}

func (r *ratios) add(with, without, again time.Duration) {
	r.with = append(r.with, with.Seconds()/without.Seconds())
	r.same = append(r.same, again.Seconds()/without.Seconds())
}

func (r *ratios) result(name string) result {
	with, same := bootstrap(r.with, 1), bootstrap(r.same, 2)
	return result{Name: name, Value: with.Median, Unit: "× without", Detail: &with, Control: &same}
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
			do: func(ctx context.Context, n int) (spent, error) { return loop(ctx, "/bin/true", n) }},
		{name: "fork+exec of a static program that exits, one loop",
			do: func(ctx context.Context, n int) (spent, error) { return loop(ctx, tiny, n) }},
		{name: fmt.Sprintf("fork+exec of /bin/true, %d loops on %d CPUs", runtime.NumCPU(), runtime.NumCPU()),
			do: func(ctx context.Context, n int) (spent, error) { return loops(ctx, "/bin/true", n) }},
	}
	for _, w := range works {
		if err := w.calibrate(ctx); err != nil {
			return nil, err
		}
	}
	for i := range s.pairs {
		fmt.Fprintf(s.log, "\r   round %d of %d ", i+1, s.pairs)
		if err := overheadRound(ctx, s, works); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(s.log)
	var results []result
	for _, w := range works {
		r := w.wall.result(w.name)
		r.Note = fmt.Sprintf("wall clock; %d per slice", w.n)
		if w.limit > 0 {
			r = r.atMost(w.limit)
		}
		c := w.cpu.result("  its CPU time")
		c.Note = "of the loop and its children, hooks included, agent not"
		results = append(results, r, c)
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
	w.n = max(probe, int(probe*slice/d.wall))
	return nil
}

func overheadRound(ctx context.Context, s *settings, works []*work) error {
	const with, without, again = 0, 1, 2
	times := make([][3]spent, len(works))
	for _, state := range rand.Perm(3) {
		if err := overheadSlice(ctx, s, state == with, works, func(i int, d spent) { times[i][state] = d }); err != nil {
			return err
		}
	}
	for i, w := range works {
		t := times[i]
		w.wall.add(t[with].wall, t[without].wall, t[again].wall)
		w.cpu.add(t[with].cpu, t[without].cpu, t[again].cpu)
	}
	return nil
}

func overheadSlice(ctx context.Context, s *settings, agent bool, works []*work, took func(int, spent)) (err error) {
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
