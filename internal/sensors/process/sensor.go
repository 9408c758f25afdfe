// Package process is the sensor for processes: fork, exec and exit from the
// kernel's tracepoints, the control groups they live in, and the processes
// that were there before. One raw tracepoint an event kind, nothing on any
// system call.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Sensor implements contract.Sensor and contract.Seeder.
type Sensor struct {
	*Decoder
	k   *kernel.Kernel
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	unit   *kernel.Unit
	before string // program that reports credentials before an exec; "" when none can be had
	seeds  bool   // the task iterator works
	failed map[string]error
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, log *slog.Logger) *Sensor {
	return &Sensor{Decoder: NewDecoder(), k: k, log: log, before: processProgProcPrepare, seeds: true,
		failed: make(map[string]error)}
}

// Info implements contract.Sensor.
func (s *Sensor) Info() contract.SensorInfo {
	return contract.SensorInfo{
		Name: "process",
		Wire: map[uint16]event.Kind{
			uint16(processEventKindKIND_FORK):   event.KindFork,
			uint16(processEventKindKIND_EXEC):   event.KindExec,
			uint16(processEventKindKIND_ARGS):   event.KindExec,
			uint16(processEventKindKIND_EXIT):   event.KindExit,
			uint16(processEventKindKIND_CGROUP): event.KindCgroup,
			uint16(processEventKindKIND_TASK):   event.KindTask,
		},
		Kinds: []event.Kind{event.KindFork, event.KindExec, event.KindExit, event.KindCgroup},
	}
}

// programs lists what has to be attached for the kinds.
func (s *Sensor) programs(kinds []event.Kind) []string {
	var p []string
	for _, k := range kinds {
		switch k {
		case event.KindFork:
			p = append(p, processProgProcFork)
		case event.KindExec:
			if s.before != "" {
				p = append(p, s.before)
			}
			p = append(p, processProgProcExec)
		case event.KindExit:
			p = append(p, processProgProcExit)
		case event.KindCgroup:
			p = append(p, processProgProcCgMkdir, processProgProcCgRmdir, processProgProcCgRename)
		}
	}
	return p
}

// Attach implements contract.Sensor. A program that the kernel refuses is left
// out and told by Degraded; the rest is attached. It is an error when nothing
// that was asked for could be attached.
func (s *Sensor) Attach(ctx context.Context, kinds []event.Kind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit == nil {
		if err := s.load(); err != nil {
			return err
		}
	}
	want := s.programs(kinds)
	for _, p := range s.unit.Attached() {
		if !slices.Contains(want, p) {
			if err := s.unit.Detach(p); err != nil {
				s.log.Warn("detach", "program", p, "err", err)
			}
		}
	}
	attached := s.unit.Attached()
	var last error
	ok := 0
	for _, p := range want {
		if slices.Contains(attached, p) {
			ok++
			continue
		}
		if err := s.unit.Attach(p); err != nil {
			s.failed[p] = err
			last = err
			continue
		}
		delete(s.failed, p)
		ok++
	}
	if ok == 0 && last != nil {
		return fmt.Errorf("attach process sensor: %w", last)
	}
	return nil
}

// load brings the programs into the kernel, without the ones that Probe found
// missing there.
func (s *Sensor) load() error {
	spec, err := s.spec()
	if err != nil {
		return err
	}
	progs := s.programs(s.Info().Kinds)
	if s.seeds {
		progs = append(progs, processProgProcSeed)
	}
	o := kernel.LoadOptions{Name: "process", Programs: progs, Knobs: s.knobs()}
	unit, err := s.k.Load(spec, o)
	if err != nil && (s.before != "" || s.seeds) {
		// without Probe before: leave out what older kernels lack
		s.log.Warn("load without optional programs", "err", err)
		s.before, s.seeds = "", false
		o.Programs = s.programs(s.Info().Kinds)
		if spec, err = s.spec(); err == nil {
			unit, err = s.k.Load(spec, o)
		}
	}
	if err != nil {
		return fmt.Errorf("load process sensor: %w", err)
	}
	s.unit = unit
	return nil
}

// Degraded returns the programs that the kernel refused, with its reasons.
func (s *Sensor) Degraded() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[string]error, len(s.failed))
	for p, err := range s.failed {
		m[p] = err
	}
	return m
}

// Close implements contract.Sensor.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit == nil {
		return nil
	}
	u := s.unit
	s.unit = nil
	return u.Close()
}

var (
	_ contract.Sensor = (*Sensor)(nil)
	_ contract.Seeder = (*Sensor)(nil)
)
