// Package catalog lists every plug-in, literally: who adds one adds a line
// here.
package catalog

import (
	"context"
	"log/slog"

	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/detectors/dockersock"
	"github.com/merlon/merlon/internal/detectors/dropexec"
	"github.com/merlon/merlon/internal/detectors/execmemfd"
	"github.com/merlon/merlon/internal/detectors/exectmp"
	"github.com/merlon/merlon/internal/detectors/metadata"
	"github.com/merlon/merlon/internal/detectors/moduleload"
	"github.com/merlon/merlon/internal/detectors/persistence"
	"github.com/merlon/merlon/internal/detectors/preload"
	"github.com/merlon/merlon/internal/detectors/ptracecross"
	"github.com/merlon/merlon/internal/detectors/rootgain"
	"github.com/merlon/merlon/internal/detectors/servershell"
	"github.com/merlon/merlon/internal/detectors/shellsocket"
	"github.com/merlon/merlon/internal/enrich/container"
	"github.com/merlon/merlon/internal/enrich/names"
	"github.com/merlon/merlon/internal/enrich/process"
	"github.com/merlon/merlon/internal/enrich/user"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/sensors/dns"
	"github.com/merlon/merlon/internal/sensors/file"
	"github.com/merlon/merlon/internal/sensors/network"
	"github.com/merlon/merlon/internal/sensors/privilege"
	processsensor "github.com/merlon/merlon/internal/sensors/process"
)

// Enrichers are the enrichers in the order in which events pass them, and what
// other parts ask of them.
type Enrichers struct {
	List        []contract.Enricher
	Observables contract.Observables
	containers  *container.Enricher
}

// NewSensors makes every sensor. The first is the process sensor: the agent
// needs it to run at all, and attaches it first.
func NewSensors(k *kernel.Kernel, c *config.Config, log *slog.Logger) []contract.Sensor {
	return []contract.Sensor{
		processsensor.New(k, log.With("sensor", "process")),
		privilege.New(k, privilege.Options{Full: c.Profile == "full", Log: log.With("sensor", "privilege")}),
		network.New(k, network.Options{Log: log.With("sensor", "network")}),
		file.New(k, file.Options{Full: c.Profile == "full", Log: log.With("sensor", "file")}),
		dns.New(k, dns.Options{Log: log.With("sensor", "dns")}),
	}
}

// NewEnrichers makes every enricher.
func NewEnrichers(c *config.Config, log *slog.Logger) *Enrichers {
	containers := container.New(container.Options{})
	tree := process.New(process.Options{Limit: c.Process.MaxTracked, ArgsBytes: int(c.Process.ArgsBytes)})
	return &Enrichers{
		List: []contract.Enricher{
			user.New(user.Options{Log: log}),
			containers,
			tree, // the last that completes the process: it publishes it
			names.New(names.Options{}),
		},
		Observables: tree,
		containers:  containers,
	}
}

// Scan learns what exists, before the first event. Call it when the sensors
// are attached, so that nothing is made unseen in between. The enrichers work
// when it fails: they know less.
func (e *Enrichers) Scan(ctx context.Context) error {
	mounts, err := container.Mounts("/proc")
	if err != nil {
		return err
	}
	return e.containers.Scan(ctx, mounts)
}

// NewDetectors makes every detector.
func NewDetectors() []contract.Detector {
	return []contract.Detector{
		dockersock.New(),
		dropexec.New(),
		execmemfd.New(),
		exectmp.New(),
		metadata.New(),
		moduleload.New(),
		persistence.New(),
		preload.New(),
		ptracecross.New(),
		rootgain.New(),
		servershell.New(),
		shellsocket.New(),
	}
}
