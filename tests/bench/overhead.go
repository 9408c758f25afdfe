package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// measureOverhead compares the starting of programs with and without the agent
// in its default configuration.
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
	const whose = "of the loop and its children, hooks included, agent not"
	c := newComparison([]*work{
		{name: "fork+exec of /bin/true, one loop", limit: 1.05, whose: whose,
			do: func(ctx context.Context, n int) (spent, error) { return loop(ctx, "/bin/true", n) }},
		{name: "fork+exec of a static program that exits, one loop", whose: whose,
			do: func(ctx context.Context, n int) (spent, error) { return loop(ctx, tiny, n) }},
		{name: fmt.Sprintf("fork+exec of /bin/true, %d loops on %d CPUs", runtime.NumCPU(), runtime.NumCPU()), whose: whose,
			do: func(ctx context.Context, n int) (spent, error) { return loops(ctx, "/bin/true", n) }},
	}, "")
	if err := c.run(ctx, s); err != nil {
		return nil, fmt.Errorf("measure overhead: %w", err)
	}
	return c.results(), nil
}
