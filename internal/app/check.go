package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/merlon/merlon/internal/catalog"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Checked is what this machine can do.
type Checked struct {
	Environment kernel.Environment `json:"environment"`
	Features    []event.Feature    `json:"features"`
}

// Runnable reports whether the agent could run: no essential feature is
// absent.
func (c *Checked) Runnable() bool {
	for _, f := range c.Features {
		if f.Essential && f.Guarantee == event.Absent {
			return false
		}
	}
	return true
}

// Check tries what this machine can do, and leaves nothing behind. It needs no
// running agent and disturbs none.
func Check(ctx context.Context, c *config.Config, log *slog.Logger) (_ *Checked, err error) {
	k, err := kernel.Open(ctx, kernelOptions(c, log))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	checked := &Checked{Environment: k.Environment()}
	for _, s := range catalog.NewSensors(k, c, log) {
		checked.Features = append(checked.Features, s.Probe(ctx)...)
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	checked.Features = append(checked.Features, k.Mechanisms(ctx)...)
	return checked, ctx.Err()
}
