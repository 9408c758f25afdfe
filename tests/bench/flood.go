package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/api"
)

// flood is more than the agent may be able to tell: what it makes is counted
// by who makes it, and compared with what the agent told or counted as lost.
type flood struct {
	name  string
	kinds []string // of the events that each of what is made becomes; twice when it becomes two
	make  func(ctx context.Context, dir string) (made int, err error)
}

// flooded is what came of a flood.
type flooded struct {
	made       int
	took       time.Duration
	slowest    time.Duration // start of a small program meanwhile
	told, lost uint64        // of its kinds, all together
	quiet      bool          // the books came to rest
	anon       int64         // anonymous memory of the agent afterwards, bytes
	merged     bool          // by fanotify, which tells several acts as one
}

// measureBurst puts 200,000 file events a second into the rings for two
// seconds, then makes as many real ones as the machine can for as long.
func measureBurst(ctx context.Context, s *settings) ([]result, error) {
	const rate, seconds = 200_000, 2
	fed, ferr := fedBurst(ctx, s, rate, seconds)
	f := flood{"file acts of 4 processes for 2 s", []string{"file_create", "file_close", "file_delete"}, func(ctx context.Context, dir string) (int, error) {
		return untilOver(ctx, "create", dir, 4, seconds*time.Second)
	}}
	results, err := f.measure(ctx, s)
	return append(fed, results...), errors.Join(ferr, err)
}

// fedBurst feeds captured file records to a pipeline with the agent's default
// buffers and detectors, at an exact rate.
func fedBurst(ctx context.Context, s *settings, rate, seconds int) ([]result, error) {
	fmt.Fprintf(s.log, "   %d file records a second for %d s\n", rate, seconds)
	rep, err := pipelineRun(ctx, s, pipelineOptions{Events: rate * seconds, Stream: fileActs, Detectors: true, Flood: true, Rate: rate})
	if err != nil {
		return nil, fmt.Errorf("measure burst: %w", err)
	}
	lost := rep.LostKernel + rep.LostQueue
	met := lost == 0 && rep.balanced()
	return []result{{
		Name: fmt.Sprintf("lost of %d file records/s for %d s", rate, seconds), Value: float64(lost), Unit: "records", Target: "= 0", Met: &met,
		Note: fmt.Sprintf("fed at %.0f/s; %d lost in the ring, %d at the queue", float64(rate*seconds)/rep.Fed.Seconds(), rep.LostKernel, rep.LostQueue),
	}}, nil
}

// measureHostile does what hostile programs do, within bounds: the agent stays
// within its memory, the machine usable, and what is not told is counted.
func measureHostile(ctx context.Context, s *settings) ([]result, error) {
	files, lasts := 50_000, 5*time.Second
	if s.long {
		files, lasts = 1_000_000, time.Minute
	}
	cpus := runtime.NumCPU()
	var results []result
	var errs []error
	for _, f := range []flood{
		{fmt.Sprintf("fork bombs for %v", lasts), []string{"fork", "exit"}, func(ctx context.Context, _ string) (int, error) { return forkBombs(ctx, lasts) }},
		{fmt.Sprintf("%d short-lived files", files), []string{"file_create", "file_close", "file_delete"}, func(ctx context.Context, dir string) (int, error) {
			return together(4, func() (int, error) {
				d, err := inChild(ctx, "create", dir, files/4)
				return d.n, err
			})
		}},
		{fmt.Sprintf("connections for %v", lasts), []string{"net_connect", "net_accept", "net_close", "net_close"}, func(ctx context.Context, dir string) (int, error) {
			return untilOver(ctx, "tcp-reset", dir, 2*cpus, lasts)
		}},
	} {
		r, err := f.measure(ctx, s)
		results, errs = append(results, r...), append(errs, err)
	}
	return results, errors.Join(errs...)
}

// measure floods the machine without an agent and then with one that has every
// kind of event on.
func (f *flood) measure(ctx context.Context, s *settings) ([]result, error) {
	fmt.Fprintf(s.log, "   %s\n", f.name)
	without := &flooded{}
	if err := f.flood(ctx, without); err != nil {
		return nil, fmt.Errorf("measure %s: %w", f.name, err)
	}
	d, err := f.run(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", f.name, err)
	}
	all := d.made * len(f.kinds)
	r := result{Name: f.name + ": told or counted lost, of those made", Unit: "×", Value: float64(d.told+d.lost) / float64(all),
		Note: fmt.Sprintf("%d made at %.0f/s, without the agent at %.0f/s; of %s together %d told, %d counted lost; the rest of the machine adds some",
			d.made, d.rate(), without.rate(), strings.Join(f.kinds, ", "), d.told, d.lost)}
	if d.merged {
		r.Note += "; no target: fanotify tells several acts on one file as one"
	} else {
		r = r.atLeast(1)
	}
	if !d.quiet {
		r.Note += "; the agent was not done within 30 s"
	}
	return []result{
		r,
		{Name: "  lost of them", Unit: "%", Value: 100 * float64(d.lost) / float64(max(1, d.told+d.lost))},
		result{Name: "  the agent's anonymous memory after it", Unit: "MiB", Value: mib(d.anon)}.atMost(128),
		{Name: "  slowest start of /bin/true meanwhile", Unit: "ms", Value: d.slowest.Seconds() * 1000,
			Note: fmt.Sprintf("without the agent %.0f ms", without.slowest.Seconds()*1000)},
	}, nil
}

func (d *flooded) rate() float64 { return float64(d.made) / d.took.Seconds() }

// flood makes what there is to make, while a small program is started again
// and again.
func (f *flood) flood(ctx context.Context, d *flooded) error {
	dir, err := os.MkdirTemp("", "merlon-bench-")
	if err != nil {
		return err
	}
	stop := startPrograms(ctx, &d.slowest)
	began := time.Now()
	d.made, err = f.make(ctx, dir)
	d.took = time.Since(began)
	stop()
	if err == nil && d.made == 0 {
		err = errors.New("nothing was made")
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (f *flood) run(ctx context.Context, s *settings) (_ *flooded, err error) {
	a, err := startAgent(ctx, s, allKinds)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	before, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range f.kinds {
		if tierOf(before, k) == "" {
			return nil, fmt.Errorf("nothing reports %s on this kernel", k)
		}
	}
	d := &flooded{}
	if err := f.flood(ctx, d); err != nil {
		return nil, err
	}
	after, err := d.settled(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Compact(slices.Clone(f.kinds)) {
		d.told += of(after, k) - of(before, k)
		d.lost += lostOf(after, k) - lostOf(before, k)
		d.merged = d.merged || strings.Contains(tierOf(before, k), "fanotify")
	}
	d.anon, err = anonymous(a.pid())
	return d, err
}

// settled waits until the agent has told what there was: until its books stay
// as they are for a second, or hardly grow.
func (d *flooded) settled(ctx context.Context, a *agent) (*api.Status, error) {
	last := uint64(0)
	for range 30 {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		st, err := a.status(ctx)
		if err != nil {
			return nil, err
		}
		n := events(st)
		for _, l := range st.Losses {
			n += l.Count
		}
		if n < last+500 && st.Queue.Depth == 0 {
			d.quiet = true
			return st, nil
		}
		last = n
	}
	return a.status(ctx)
}

// tierOf is the mechanism that reports a kind of event; "" when none does.
func tierOf(st *api.Status, kind string) string {
	for _, f := range st.Features {
		for _, k := range f.Kinds {
			if string(k) == kind && f.Tier != "" {
				return f.Tier
			}
		}
	}
	return ""
}

// startPrograms starts /bin/true every 50 ms until the function it returns is
// called, and notes how long the slowest took.
func startPrograms(ctx context.Context, slowest *time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			if exec.CommandContext(ctx, "/bin/true").Run() == nil {
				*slowest = max(*slowest, time.Since(began))
			}
			_ = pause(ctx, 50*time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// together does the same several times at once and sums up.
func together(times int, do func() (int, error)) (int, error) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		sum  int
		errs []error
	)
	for range times {
		wg.Go(func() {
			n, err := do()
			mu.Lock()
			defer mu.Unlock()
			sum += n
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return sum, errors.Join(errs...)
}

// untilOver does a deed in that many processes at once, for so long.
func untilOver(ctx context.Context, deed, dir string, processes int, lasts time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	return together(processes, func() (int, error) {
		d, err := inChild(ctx, deed, dir, 0)
		return d.n, err
	})
}

// forkBombs lets shells double themselves ten times, again and again: some
// thousand processes at a time at most, each of which is waited for.
func forkBombs(ctx context.Context, lasts time.Duration) (made int, err error) {
	const depth = 10
	const script = `f() { if [ "$1" -gt 0 ]; then f $(($1-1)) & f $(($1-1)) & wait; fi; }; f "$1"`
	for began := time.Now(); time.Since(began) < lasts; {
		if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script, "sh", strconv.Itoa(depth)).CombinedOutput(); err != nil {
			return made, fmt.Errorf("run fork bomb: %w: %s", err, out)
		}
		made += 1<<(depth+1) - 2 + 1 // all but the first shell fork themselves; that one is forked by us
	}
	return made, nil
}
