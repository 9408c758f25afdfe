package main

import (
	"log/slog"

	"github.com/merlon/merlon/internal/catalog"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/engine"
)

// options wires the engine with the agent's own enrichers and detectors.
func options(conf *config.Config, s contract.Sensor, detectors bool) engine.Options {
	log := slog.New(slog.DiscardHandler)
	o := engine.Options{Sensors: []contract.Sensor{s}, Enrichers: catalog.NewEnrichers(conf, log).List, Log: log}
	if detectors {
		o.Detectors = catalog.NewDetectors(log)
	}
	return o
}
