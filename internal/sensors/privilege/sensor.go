// Package privilege is the sensor for privileges: credentials that change
// outside exec, namespaces, acts on other processes and their memory, code for
// the kernel. On kernels that refuse trampolines and kprobes the check of
// capabilities tells what it can, and in the full profile the exits of system
// calls.
package privilege

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Options are what New needs.
type Options struct {
	Full bool // system calls may be looked at where nothing better works
	Log  *slog.Logger
}

// Sensor implements contract.Sensor.
type Sensor struct {
	*Decoder
	k   *kernel.Kernel
	opt Options

	mu     sync.Mutex // guards what follows
	ranked bool
	chosen map[event.Kind]*way // how each kind is seen; nil for what can't be
	unit   *kernel.Unit
	failed map[string]error
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, o Options) *Sensor {
	return &Sensor{Decoder: NewDecoder(), k: k, opt: o, chosen: make(map[event.Kind]*way), failed: make(map[string]error)}
}

// Info implements contract.Sensor.
func (s *Sensor) Info() contract.SensorInfo {
	info := contract.SensorInfo{Name: "privilege", Wire: make(map[uint16]event.Kind, len(wire))}
	for n, k := range wire {
		info.Wire[n] = k
	}
	for i := range acts {
		info.Kinds = append(info.Kinds, acts[i].kinds...)
	}
	return info
}

// Probe implements contract.Sensor.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	spec, err := loadPrivilege()
	if err != nil {
		return []event.Feature{{Name: acts[0].feature, Group: group, Guarantee: event.Absent, Why: err.Error()}}
	}
	ranked := s.k.Rank(ctx, spec, s.features())
	features := make([]event.Feature, 0, len(ranked))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranked = true
	for i, r := range ranked {
		a := &acts[i]
		w := a.way(r.Hook)
		for _, k := range a.kinds {
			s.chosen[k] = w
		}
		features = append(features, s.explained(a, r.Feature, w))
	}
	return features
}

// Attach implements contract.Sensor. A program that the kernel refuses is left
// out and told by Degraded; the rest is attached. It is an error when nothing
// that was asked for could be attached.
func (s *Sensor) Attach(ctx context.Context, kinds []event.Kind) error {
	s.mu.Lock()
	ranked := s.ranked
	s.mu.Unlock()
	if !ranked && len(kinds) > 0 {
		s.Probe(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	want, masks := s.wanted(kinds)
	if s.unit == nil {
		if len(want) == 0 {
			return nil
		}
		if err := s.load(); err != nil {
			return err
		}
	}
	if err := s.ask(masks); err != nil {
		return err
	}
	for _, p := range s.unit.Attached() {
		if !slices.Contains(want, p) {
			if err := s.unit.Detach(p); err != nil {
				s.opt.Log.Warn("detach", "program", p, "err", err)
			}
		}
	}
	return s.attach(want)
}

func (s *Sensor) attach(want []string) error {
	attached := s.unit.Attached()
	var errs []error
	for _, p := range want {
		if slices.Contains(attached, p) {
			continue
		}
		if err := s.unit.Attach(p); err != nil {
			s.failed[p] = err
			errs = append(errs, err)
			continue
		}
		delete(s.failed, p)
	}
	if len(errs) > 0 && len(errs) == len(want) {
		return fmt.Errorf("attach privilege sensor: %w", errors.Join(errs...))
	}
	return nil
}

// wanted returns the programs that kinds need, and which kinds each mechanism
// shall report.
func (s *Sensor) wanted(kinds []event.Kind) (programs []string, masks [wayMax]uint64) {
	for _, k := range kinds {
		w := s.chosen[k]
		if w == nil {
			continue
		}
		for _, p := range w.programs {
			if !slices.Contains(programs, p) {
				programs = append(programs, p)
			}
		}
		for n, name := range wire {
			if name == k {
				masks[w.by] |= 1 << (n - uint16(privilegeEventKindKIND_SETUID))
			}
		}
	}
	masks[byAct] |= masks[bySyscall] // the bodies that they share look there
	return programs, masks
}

// ask tells the programs which kinds to report.
func (s *Sensor) ask(masks [wayMax]uint64) error {
	m := s.unit.Map(privilegeMapPrivKinds)
	if m == nil {
		return errors.New("ask for kinds: no map " + privilegeMapPrivKinds)
	}
	for i, mask := range masks {
		if err := m.Update(uint32(i), mask, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("ask for kinds: %w", err)
		}
	}
	return nil
}

// load brings the chosen programs into the kernel, detached.
func (s *Sensor) load() error {
	spec, err := loadPrivilege()
	if err != nil {
		return fmt.Errorf("read privilege programs: %w", err)
	}
	var progs []string
	for _, w := range s.chosen {
		if w == nil {
			continue
		}
		for _, p := range w.programs {
			if !slices.Contains(progs, p) {
				progs = append(progs, p)
			}
		}
	}
	slices.Sort(progs)
	s.unit, err = s.k.Load(spec, kernel.LoadOptions{Name: "privilege", Programs: progs, Knobs: knobs(false)})
	if err != nil {
		s.unit = nil
		return fmt.Errorf("load privilege sensor: %w", err)
	}
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

var _ contract.Sensor = (*Sensor)(nil)
