package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/api/client"
)

// measureStart measures the time from the start of the agent's process to the
// first event that a client gets. A marker runs every 20 ms meanwhile, so that
// there is something to tell.
func measureStart(ctx context.Context, s *settings) ([]result, error) {
	tries := 5
	if s.long {
		tries = 30
	}
	var took []float64
	for i := range tries {
		d, err := firstEvent(ctx, s, fmt.Sprintf("merlon-bench-%d", i))
		if err != nil {
			return nil, fmt.Errorf("measure start: %w", err)
		}
		took = append(took, d.Seconds())
	}
	e := bootstrap(took, 1)
	r := result{Name: "start to first event", Value: slices.Max(took), Unit: "s", Detail: &e,
		Note: fmt.Sprintf("the slowest of %d", tries)}.atMost(2)
	return []result{r}, nil
}

func firstEvent(ctx context.Context, s *settings, marker string) (_ time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	a, err := launch(ctx, s, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	marking, stopMarking := context.WithCancel(ctx)
	marked := make(chan struct{})
	go func() {
		defer close(marked)
		for marking.Err() == nil {
			_ = exec.CommandContext(marking, "/bin/true", marker).Run() // the next one is as good
			select {
			case <-marking.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	defer func() { stopMarking(); <-marked }()
	found := errors.New("found")
	for {
		err := a.client.Events(ctx, client.Query{Kinds: []string{"exec"}, Last: -1, Follow: true}, func(line []byte) error {
			if strings.Contains(string(line), marker) {
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			return time.Since(began), nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("no event within a minute: %w", errors.Join(err, ctx.Err()))
		}
		time.Sleep(2 * time.Millisecond) // not listening yet
	}
}

// measureIdle measures an agent that nobody asks anything, on a machine where
// little happens.
func measureIdle(ctx context.Context, s *settings) (_ []result, err error) {
	idle := time.Minute
	if s.long {
		idle = 10 * time.Minute
	}
	a, err := startAgent(ctx, s, "")
	if err != nil {
		return nil, fmt.Errorf("measure idle agent: %w", err)
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := pause(ctx, 10*time.Second); err != nil { // the start's garbage goes back
		return nil, err
	}
	before, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	used, err := cpuTime(a.pid())
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, idle); err != nil {
		return nil, err
	}
	usedAfter, err := cpuTime(a.pid())
	if err != nil {
		return nil, err
	}
	percent := 100 * (usedAfter - used).Seconds() / time.Since(began).Seconds()
	anon, err := anonymous(a.pid())
	if err != nil {
		return nil, err
	}
	rings, err := ringBytes(a.pid())
	if err != nil {
		return nil, err
	}
	after, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("over %v; the machine made %d events meanwhile", idle, events(after)-events(before))
	return []result{
		result{Name: "idle agent, CPU", Value: percent, Unit: "% of a core", Note: note}.atMost(0.3),
		result{Name: "idle agent, anonymous memory", Value: mib(anon), Unit: "MiB"}.atMost(64),
		result{Name: "all rings together", Value: mib(rings), Unit: "MiB", Note: "from the agent's fdinfo"}.atMost(16),
	}, nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
