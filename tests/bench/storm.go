package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/api"
)

// measurePipeline measures the way from a record in the ring to an enriched
// event, in children of its own.
func measurePipeline(ctx context.Context, s *settings) ([]result, error) {
	const million, some = 1_000_000, 400_000 // some: the reader rests between bursts that the ring can hold
	n, runs := 5*million, 5
	if s.long {
		n = 20 * million
	}
	var results []result
	var last *pipelineReport
	one := func(name string, o pipelineOptions, runs int) (*estimate, error) {
		var rates []float64
		for range runs {
			rep, err := pipelineRun(ctx, s, o)
			if err != nil {
				return nil, fmt.Errorf("measure pipeline: %w", err)
			}
			if !rep.balanced() {
				return nil, fmt.Errorf("measure pipeline: books of %s do not balance: %+v", name, *rep)
			}
			rates = append(rates, rep.perCore())
			last = rep
		}
		e := bootstrap(rates, 1)
		results = append(results, result{Name: name, Value: e.Median, Unit: "events/s per core", Detail: &e,
			Note: fmt.Sprintf("%.1f allocations, %.0f bytes per event; records of %v bytes", last.Allocs, last.AllocBytes, last.Records)})
		return &e, nil
	}
	if _, err := one("exec records to enriched events", pipelineOptions{Events: some, Stream: known}, runs); err != nil {
		return nil, err
	}
	results[0] = results[0].atLeast(400_000)
	for _, v := range []struct {
		name string
		o    pipelineOptions
	}{
		{"the same, with the agent's detectors", pipelineOptions{Events: some, Stream: known, Detectors: true}},
		{"the same, every fork lost, tree full", pipelineOptions{Events: some, Stream: fresh}},
		{"fork, exec and exit records together", pipelineOptions{Events: some, Stream: lives}},
	} {
		if _, err := one(v.name, v.o, runs); err != nil {
			return results, err
		}
	}
	for _, v := range []struct {
		name   string
		stream stream
	}{
		{"file records to enriched events", fileActs},
		{"network records to enriched events", netActs},
	} {
		if _, err := one(v.name, pipelineOptions{Events: million, Stream: v.stream}, runs); err != nil {
			return results, err
		}
		results[len(results)-1] = results[len(results)-1].atLeast(million)
	}
	rep, err := pipelineRun(ctx, s, pipelineOptions{Events: n, Stream: known, Detectors: true})
	if err != nil {
		return results, fmt.Errorf("measure pipeline: %w", err)
	}
	results = append(results, result{Name: fmt.Sprintf("anonymous memory after %d million exec events", n/million),
		Value: mib(rep.Anonymous), Unit: "MiB", Note: "tree of 30,000 processes"}.atMost(128))
	if rep, err = pipelineRun(ctx, s, pipelineOptions{Events: n, Stream: lives, Flood: true}); err != nil {
		return results, fmt.Errorf("measure pipeline: %w", err)
	}
	results = append(results, booksResult("produced − delivered − counted lost, rings flooded", rep))
	if rep, err = pipelineRun(ctx, s, pipelineOptions{Events: n, Stream: fileActs, Flood: true}); err != nil {
		return results, fmt.Errorf("measure pipeline: %w", err)
	}
	return append(results, booksResult("the same of file records", rep)), nil
}

func booksResult(name string, r *pipelineReport) result {
	gap := int64(r.Produced) - int64(r.Delivered) - int64(r.LostKernel) - int64(r.LostQueue)
	met := gap == 0 && r.balanced()
	return result{Name: name, Value: float64(gap), Unit: "records", Target: "= 0", Met: &met,
		Note: fmt.Sprintf("%d produced, %d delivered, %d lost in the ring, %d at the queue", r.Produced, r.Delivered, r.LostKernel, r.LostQueue)}
}

// pipelineRun runs a pipeline in a child and reads its report.
func pipelineRun(ctx context.Context, s *settings, o pipelineOptions) (*pipelineReport, error) {
	arg, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("start child: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-child", string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run child: %w", err)
	}
	rep := new(pipelineReport)
	if err := json.Unmarshal(out, rep); err != nil {
		return nil, fmt.Errorf("read report of child: %w", err)
	}
	return rep, nil
}

// measureStorm makes the real agent see as many real processes as the machine
// can make, counts them independently, and compares.
func measureStorm(ctx context.Context, s *settings) (_ []result, err error) {
	lasts := 20 * time.Second
	if s.long {
		lasts = 5 * time.Minute
	}
	a, err := startAgent(ctx, s, "")
	if err != nil {
		return nil, fmt.Errorf("measure storm: %w", err)
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	before, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	const perLoop = 500
	made := 0
	began := time.Now()
	for time.Since(began) < lasts {
		if _, err := loops(ctx, "/bin/true", perLoop); err != nil {
			return nil, err
		}
		made += perLoop * runtime.NumCPU()
	}
	rate := float64(made) / time.Since(began).Seconds()
	time.Sleep(2 * time.Second) // the last batch and the books' second
	after, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	execs, lost := of(after, "exec")-of(before, "exec"), lostOf(after, "exec")-lostOf(before, "exec")
	anon, err := anonymous(a.pid())
	if err != nil {
		return nil, err
	}
	met := int(execs+lost) >= made
	hooks, err := hookTime(ctx, a)
	if err != nil {
		return nil, err
	}
	return []result{
		{Name: "real execs told or counted lost, of those made", Value: float64(execs+lost) / float64(made), Unit: "×", Target: "≥ 1", Met: &met,
			Note: fmt.Sprintf("%d made at %.0f/s, %d told, %d counted lost; the rest of the machine adds some", made, rate, execs, lost)},
		{Name: "anonymous memory after it", Value: mib(anon), Unit: "MiB"},
		hooks,
	}, nil
}

// hookTime measures what the hooks take of one fork, exec and exit, by the
// kernel's own statistics, while loops run.
func hookTime(ctx context.Context, a *agent) (result, error) {
	busy, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = loops(busy, "/bin/true", 1_000_000) // until stop
	}()
	st, err := a.client.Status(ctx, 3*time.Second)
	stop()
	<-ended
	if err != nil {
		return result{}, fmt.Errorf("ask agent for the hooks' cost: %w", err)
	}
	var sum float64
	var each []string
	for _, p := range st.Programs {
		if p.Rate > 100 { // one per process, not the iterator's
			sum += p.Average
			each = append(each, fmt.Sprintf("%s %.1f", p.Name, p.Average/1000))
		}
	}
	return result{Name: "hooks' time per fork, exec and exit", Value: sum / 1000, Unit: "µs", Note: strings.Join(each, ", ")}, nil
}

func events(st *api.Status) (n uint64) {
	for _, k := range st.Events {
		n += k.Count
	}
	return n
}

func of(st *api.Status, kind string) (n uint64) {
	for _, k := range st.Events {
		if string(k.Kind) == kind {
			n += k.Count
		}
	}
	return n
}

func lostOf(st *api.Status, kind string) (n uint64) {
	for _, l := range st.Losses {
		if string(l.Kind) == kind && l.Stage != "client" {
			n += l.Count
		}
	}
	return n
}
