package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/merlon/merlon/internal/catalog"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/engine"
)

// options wires the engine with the agent's own enrichers and detectors.
func options(ctx context.Context, conf *config.Config, s contract.Sensor, detectors bool) (engine.Options, error) {
	log := slog.New(slog.DiscardHandler)
	enrichers := catalog.NewEnrichers(conf, log)
	if err := enrichers.Scan(ctx); err != nil {
		return engine.Options{}, fmt.Errorf("prepare enrichers: %w", err)
	}
	o := engine.Options{Sensors: []contract.Sensor{s}, Enrichers: enrichers.List, Log: log}
	if detectors {
		o.Detectors = catalog.NewDetectors()
	}
	return o, nil
}
