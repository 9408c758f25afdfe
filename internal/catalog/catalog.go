// Package catalog lists every plug-in, literally: who adds one adds a line
// here.
package catalog

import (
	"log/slog"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/enrich/process"
	"github.com/merlon/merlon/internal/kernel"
	processsensor "github.com/merlon/merlon/internal/sensors/process"
)

// Enrichers are the enrichers in the order in which events pass them, and what
// other parts ask of them.
type Enrichers struct {
	List        []contract.Enricher
	Observables contract.Observables
}

// NewSensors makes every sensor.
func NewSensors(k *kernel.Kernel, log *slog.Logger) []contract.Sensor {
	return []contract.Sensor{
		processsensor.New(k, log.With("sensor", "process")),
	}
}

// NewEnrichers makes every enricher.
func NewEnrichers(c *config.Config, log *slog.Logger) Enrichers {
	tree := process.New(process.Options{Limit: c.Process.MaxTracked, ArgsBytes: int(c.Process.ArgsBytes)})
	return Enrichers{
		List:        []contract.Enricher{tree},
		Observables: tree,
	}
}

// NewDetectors makes every detector.
func NewDetectors(log *slog.Logger) []contract.Detector {
	return nil
}
