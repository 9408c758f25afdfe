package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// state is one condition that works are compared under.
type state struct {
	name   string
	agent  bool
	config string // of the agent
}

// The states of every comparison; more may follow.
const (
	without = iota
	again   // without, once more
	with
	more
)

// comparison does works in every state, many rounds. Each round does every
// work once in each state, the states in random order; the agent is started
// once a round for all works. With and without make the ratio; again and
// without make the A/A control: what the same comparison says of nothing.
type comparison struct {
	states []state
	works  []*work
}

// newComparison compares an agent of that configuration, and of more ones,
// with none.
func newComparison(works []*work, config string, more ...state) *comparison {
	return &comparison{works: works, states: append([]state{{name: "without"}, {name: "without again"}, {name: "with", agent: true, config: config}}, more...)}
}

// work is one thing done in every state.
type work struct {
	name string
	do   func(ctx context.Context, n int) (spent, error)
	n    int // what do is called with; 0: as often as fills a slice
	// least is the smallest number that makes sense
	least int

	limit float64 // of the ratio; 0 for no target
	each  string  // what one is called, where the difference is told too
	add   float64 // target of the difference, µs; 0 for none
	whose string  // whose CPU time it counts

	rounds [][]spent // by round and state
}

const (
	slice  = 300 * time.Millisecond // of each work in each state
	settle = 300 * time.Millisecond // after each start and stop of the agent
)

// run calibrates the works and does all rounds.
func (c *comparison) run(ctx context.Context, s *settings) error {
	for _, w := range c.works {
		if err := w.calibrate(ctx); err != nil {
			return err
		}
	}
	for i := range s.pairs {
		fmt.Fprintf(s.log, "\r   round %d of %d ", i+1, s.pairs)
		if err := c.round(ctx, s); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.log)
	return nil
}

// calibrate chooses how often the work is done, so that a slice has its time.
func (w *work) calibrate(ctx context.Context) error {
	if w.n > 0 {
		_, err := w.do(ctx, w.n) // warms the caches
		return err
	}
	for n := max(4, w.least); ; n *= 4 {
		var best time.Duration
		for i := range 2 { // other work on the machine only makes it longer
			d, err := w.do(ctx, n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if i == 0 || d.wall < best {
				best = d.wall
			}
		}
		if best > slice/8 {
			w.n = max(1, w.least, int(float64(n)*slice.Seconds()/best.Seconds()))
			return nil
		}
	}
}

func (c *comparison) round(ctx context.Context, s *settings) error {
	for _, w := range c.works {
		w.rounds = append(w.rounds, make([]spent, len(c.states)))
	}
	for _, i := range rand.Perm(len(c.states)) {
		if err := c.slices(ctx, s, i); err != nil {
			return fmt.Errorf("%s: %w", c.states[i].name, err)
		}
	}
	return nil
}

// slices does every work once in one state.
func (c *comparison) slices(ctx context.Context, s *settings, state int) (err error) {
	if st := c.states[state]; st.agent {
		a, err := startAgent(ctx, s, st.config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.stop()) }()
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	for _, w := range c.works {
		d, err := w.do(ctx, w.n)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if d.n == 0 || d.wall <= 0 || d.cpu <= 0 {
			return fmt.Errorf("%s: it did nothing: %+v", w.name, d)
		}
		w.rounds[len(w.rounds)-1][state] = d
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ratio is the median over the rounds of what one took in state a to what it
// took in state b.
func (w *work) ratio(a, b int, took func(spent) float64, seed uint64) estimate {
	return w.over(func(r []spent) float64 { return took(r[a]) / took(r[b]) }, seed)
}

// difference is the same of what one took more in a than in b, µs.
func (w *work) difference(a, b int, seed uint64) estimate {
	return w.over(func(r []spent) float64 { return (r[a].eachWall() - r[b].eachWall()) * 1e6 }, seed)
}

func (w *work) over(f func([]spent) float64, seed uint64) estimate {
	var sample []float64
	for _, r := range w.rounds {
		sample = append(sample, f(r))
	}
	return bootstrap(sample, seed)
}

// results tells the comparison, a few rows a work.
func (c *comparison) results() []result {
	var results []result
	row := func(name, unit string, e, control estimate, note string) result {
		return result{Name: name, Value: e.Median, Unit: unit, Detail: &e, Control: &control, Note: note}
	}
	for _, w := range c.works {
		wallControl := w.ratio(again, without, spent.eachWall, 2)
		base := w.over(func(r []spent) float64 { return r[without].eachWall() * 1e6 }, 3)
		r := row(w.name, "× without", w.ratio(with, without, spent.eachWall, 1), wallControl,
			fmt.Sprintf("wall clock; %s µs each without; %d per slice", number(base.Median), w.rounds[0][without].n))
		if w.limit > 0 {
			r = r.atMost(w.limit)
		}
		results = append(results, r)
		if w.each != "" {
			d := row("  more per "+w.each, "µs", w.difference(with, without, 1), w.difference(again, without, 2), "")
			if w.add > 0 {
				d = d.atMost(w.add)
			}
			results = append(results, d)
		}
		results = append(results, row("  its CPU time", "× without", w.ratio(with, without, spent.eachCPU, 1), w.ratio(again, without, spent.eachCPU, 2), w.whose))
		for i, st := range c.states[more:] {
			cpu := w.ratio(more+i, without, spent.eachCPU, 1)
			note := fmt.Sprintf("its CPU time %s ×", number(cpu.Median))
			if w.each != "" {
				d := w.difference(more+i, without, 1)
				note += fmt.Sprintf("; %s µs more per %s", number(d.Median), w.each)
			}
			results = append(results, row("  "+st.name, "× without", w.ratio(more+i, without, spent.eachWall, 1), wallControl, note))
		}
	}
	return results
}
