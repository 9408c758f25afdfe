// Package app is the agent's life: it starts the parts bottom-up, keeps them
// running, and stops them top-down. A part that fails is told in the status;
// the rest goes on. Only what the agent can't be without ends it: the kernel
// layer, a sensor, the pipeline.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/merlon/merlon/internal/alert"
	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/catalog"
	"github.com/merlon/merlon/internal/config"
	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/engine"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/needs"
	"github.com/merlon/merlon/internal/ring"
	"github.com/merlon/merlon/internal/store"
)

// Options are what Run needs.
type Options struct {
	Config  *config.Config
	Version string
	Log     *slog.Logger
	Level   *slog.LevelVar // of Log; the API changes it
	// Ready is called when the process sensor is attached and nothing was
	// published yet. It must not block.
	Ready func(*Agent)
}

// Agent is a running agent. Any goroutine may call its methods.
type Agent struct {
	o       Options
	cfg     *config.Config
	log     *slog.Logger
	started time.Time
	own     binary

	lock      io.Closer // nil when the state directory can't be used
	kernel    *kernel.Kernel
	sensors   []contract.Sensor // the first is the process sensor
	needs     *needs.Set
	proven    proven
	provenAll chan struct{} // closed when Features is complete, or will never be
	enrichers *catalog.Enrichers
	detectors []contract.Detector
	reader    *ring.Reader
	feed      *ring.Feed // of the sensors that are a contract.Source
	engine    *engine.Engine
	alerts    *alert.Manager
	store     *store.Store
	hub       *api.Hub
	server    *api.Server
	tally     *tally
	trouble   *trouble
	measuring atomic.Int32 // status requests that measure programs
}

// Run runs an agent until ctx ends, and leaves nothing behind. The error says
// why it could not start, or what broke.
func Run(ctx context.Context, o Options) error {
	limitMemory(int64(o.Config.Memory.SoftLimit))
	a := &Agent{o: o, provenAll: make(chan struct{}), cfg: o.Config, log: o.Log, started: time.Now(), own: ownBinary(), trouble: newTrouble(o.Log)}
	err := a.start(ctx)
	if err == nil {
		err = a.run(ctx)
	}
	return errors.Join(err, a.close())
}

// Proven is closed when Features is complete, or when the agent stops before.
func (a *Agent) Proven() <-chan struct{} { return a.provenAll }

// Features returns what this kernel can do, as found until now.
func (a *Agent) Features() []event.Feature { return a.proven.list() }

// Hub returns the streams of events and alerts.
func (a *Agent) Hub() *api.Hub { return a.hub }

// Environment tells what machine this is.
func (a *Agent) Environment() kernel.Environment { return a.kernel.Environment() }

// start makes every part, from the kernel up, and attaches the process sensor;
// the others come while the agent already runs.
func (a *Agent) start(ctx context.Context) error {
	noLock, err := a.takeLock()
	if err != nil {
		return err
	}
	if err := socketTaken(api.Taken(a.cfg.Socket)); err != nil {
		return err
	}
	if a.kernel, err = kernel.Open(ctx, kernelOptions(a.cfg, a.log)); err != nil {
		return err
	}
	if noLock != nil {
		a.trouble.tell("state directory", noLock.Error(), "make "+a.cfg.StateDir+" writable, or choose another with --state-dir; until then alerts live in memory only")
	}
	if err := a.attach(ctx); err != nil {
		return err
	}
	a.feed = ring.NewFeed(int(a.cfg.Rings.Queue) / 4)
	if a.reader, err = ring.New(ring.Options{
		Critical: a.kernel.Map("events_crit"), Bulk: a.kernel.Map("events_bulk"), State: a.kernel.Map("events_reader"),
		Feed: a.feed, QueueBytes: int(a.cfg.Rings.Queue), Log: a.log,
	}); err != nil {
		return err
	}
	a.store = store.Open(store.Options{Dir: a.cfg.StateDir, MaxAlerts: a.cfg.Alerts.Max, MaxAge: time.Duration(a.cfg.Alerts.Retention), Log: a.log})
	a.hub = api.NewHub(a.cfg.Events.Buffer, int(a.cfg.Events.BufferBytes), a.cfg.Events.MaxClients, a.usual()...)
	a.tally = newTally()
	a.alerts = alert.New(alert.Options{
		Sinks: []contract.Sink{a.hub, a.tally}, Store: a.store,
		Idle: time.Duration(a.cfg.Alerts.Window), Update: time.Duration(a.cfg.Alerts.Update), Log: a.log,
	})
	a.enrichers = catalog.NewEnrichers(a.cfg, a.log)
	if err := a.enrichers.Scan(ctx); err != nil {
		a.trouble.tell("cgroups", err.Error(), "containers and services of some processes stay unknown; see that cgroups are mounted")
	}
	a.detectors = catalog.NewDetectors()
	a.askers()
	a.engine = engine.New(engine.Options{
		Sensors: a.sensors, Enrichers: a.enrichers.List, Detectors: a.detectors,
		Sinks: []contract.Sink{a.hub, a.tally}, Findings: a.finding,
		Counts: a.counts, Queue: a.reader.Stats, Log: a.log,
	})
	a.server, err = api.New(api.Options{Agent: (*view)(a), Hub: a.hub, Access: a.access(), Level: a.o.Level, Log: a.log})
	return err
}

// takeLock makes this agent the only one of its state directory. A directory
// that can't be used costs the stored alerts, not the agent: unusable says why.
func (a *Agent) takeLock() (unusable, err error) {
	lock, err := store.Lock(a.cfg.StateDir)
	var taken *store.LockedError
	switch {
	case errors.As(err, &taken):
		return nil, secondAgent(taken.PID, taken)
	case err != nil:
		return err, nil
	}
	a.lock = lock
	return nil, nil
}

func (a *Agent) counts() (map[uint16]engine.KernelLoss, error) {
	counts, err := a.kernel.Counts()
	if err != nil {
		return nil, err
	}
	out := make(map[uint16]engine.KernelLoss, len(counts))
	for kind, c := range counts {
		out[kind] = engine.KernelLoss{Produced: c.Produced, Lost: c.Lost, Faults: c.Faults}
	}
	produced, lost := a.feed.Counts()
	for kind, n := range produced {
		l := out[kind]
		l.Produced += n
		if lost[kind] > 0 {
			l.Lost = maps.Clone(l.Lost)
			if l.Lost == nil {
				l.Lost = make(map[string]uint64)
			}
			l.Lost["source"] += lost[kind]
		}
		out[kind] = l
	}
	return out, nil
}

// run keeps the parts running until ctx ends or a vital one fails, and then
// stops them top-down: the API and the sensors, the rings, the engine, the
// alerts, the store.
func (a *Agent) run(ctx context.Context) error {
	ls, err := a.listen(ctx)
	if err != nil {
		return err
	}
	if a.o.Ready != nil {
		a.o.Ready(a) // before the engine runs, so that it can see the first alert
	}
	g, vital := errgroup.WithContext(ctx)
	top, stopTop := context.WithCancel(context.WithoutCancel(ctx))       // the api
	middle, stopMiddle := context.WithCancel(context.WithoutCancel(ctx)) // rings and engine
	bottom, stopBottom := context.WithCancel(context.WithoutCancel(ctx)) // alerts and store
	defer stopBottom()
	defer stopMiddle()
	defer stopTop()

	engineDone, alertsDone, apiDone, needsDone := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	g.Go(func() error { return a.reader.Run(middle) })
	g.Go(func() error {
		defer close(engineDone)
		return a.engine.Run(middle, a.reader.Batches())
	})
	g.Go(func() error {
		defer close(needsDone)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { a.needs.Run(vital) })
		a.prove(vital)
		return nil
	})
	for _, s := range a.sensors {
		if src, ok := s.(contract.Source); ok {
			g.Go(func() error { return a.source(vital, s.Info().Name, src) })
		}
	}
	g.Go(func() error {
		defer close(alertsDone)
		return a.alerts.Run(bottom)
	})
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	g.Go(func() error { return a.store.Run(storeCtx) })
	g.Go(func() error {
		defer close(apiDone)
		a.serve(top, ls)
		return nil
	})
	g.Go(func() error {
		<-vital.Done()
		notify("STOPPING=1")
		err := a.hub.Close()
		stopTop()
		<-needsDone
		for _, s := range a.sensors { // at once, however long the clients take
			err = errors.Join(err, s.Close())
		}
		<-apiDone
		stopMiddle()
		<-engineDone
		stopBottom()
		<-alertsDone
		stopStore()
		return err
	})
	notify("READY=1")
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run agent: %w", err)
	}
	return nil
}

// source runs a sensor that reads something else than the rings. It is not
// worth ending the agent for.
func (a *Agent) source(ctx context.Context, name string, s contract.Source) error {
	if err := s.Run(ctx, a.feed); err != nil && ctx.Err() == nil {
		a.trouble.tell("sensor "+name, err.Error(), "start the agent again")
	}
	return nil
}

// close lets go of everything that start made, in the opposite order. It
// works on an agent whose start failed half-way.
func (a *Agent) close() error {
	var errs []error
	for _, s := range a.sensors {
		errs = append(errs, s.Close())
	}
	if a.reader != nil {
		errs = append(errs, a.reader.Close())
	}
	if a.kernel != nil {
		errs = append(errs, a.kernel.Close())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.Close())
	}
	return errors.Join(errs...)
}

func kernelOptions(c *config.Config, log *slog.Logger) kernel.Options {
	return kernel.Options{
		Canary:  []string{"/proc/self/exe", "version"},
		BTFPath: c.Kernel.BTF, PinDir: c.Kernel.PinDir, Log: log,
		CriticalBytes: uint32(c.Rings.Critical), BulkBytes: uint32(c.Rings.Bulk),
	}
}
