// Package file is the sensor for files: made, opened for writing, closed after
// it, removed, renamed, linked, their attributes changed; and for mounts.
//
// It takes the kernel's security hooks by trampolines (fentry, fexit), where
// there are none by kprobes, and where there are neither fanotify's
// notifications, which tell less. Only in the full profile, and only there, the
// exits of system calls tell what is opened; else nothing is attached to any.
// Reads are told of watched files only (contract.PathWatcher).
package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Options of New.
type Options struct {
	Full bool         // system calls may be looked at where only fanotify works
	Log  *slog.Logger // where trouble is told; nil discards
	Own  bool         // tell of this very process's acts too: for tests
}

// Sensor implements contract.Sensor, contract.Source and contract.PathWatcher.
type Sensor struct {
	*Decoder
	k    *kernel.Kernel
	log  *slog.Logger
	full bool   // Options.Full
	self uint32 // whose acts are not told; 0: everybody's are

	notes *notifier // the fanotify tier

	mu     sync.Mutex // guards what follows
	probed bool
	acts   []act
	shape  shape
	tiers  map[event.Kind]string
	kinds  []event.Kind // asked for
	paths  []string     // watched
	told   watchSet     // what the programs know of them
	unit   *kernel.Unit
}

// New returns the sensor; nothing is loaded before Probe or Attach.
func New(k *kernel.Kernel, o Options) *Sensor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sensor{Decoder: NewDecoder(), k: k, log: o.Log, full: o.Full, self: uint32(os.Getpid()), tiers: make(map[event.Kind]string)}
	if o.Own {
		s.self = 0
	}
	s.notes = newNotifier(s.self, o.Log)
	return s
}

// Info implements contract.Sensor.
func (s *Sensor) Info() contract.SensorInfo {
	info := contract.SensorInfo{Name: "file", Wire: make(map[uint16]event.Kind)}
	for _, a := range acts(shape{}) {
		info.Wire[uint16(a.wire)] = a.kind
		info.Kinds = append(info.Kinds, a.kind)
	}
	return info
}

// spec returns the programs with the scratch map sized for this machine.
func (s *Sensor) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadFile()
	if err != nil {
		return nil, fmt.Errorf("read file programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps[fileMapFileScratch].MaxEntries = 2 * uint32(cpus)
	return spec, nil
}

func (s *Sensor) knobs(self uint32) map[string]any {
	return map[string]any{fileVarFileSelf: self, fileVarFileCalls: calls(), fileVarFileShift: uint32(bit(s.shape.shifted)), fileVarFileRdata: uint32(bit(s.shape.rdata))}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// programs lists what has to be attached for the kinds, outcomes first.
func (s *Sensor) programs(kinds []event.Kind) []string {
	var p []string
	for _, begin := range []bool{false, true} {
		for i := range s.acts {
			a := &s.acts[i]
			if !slices.Contains(kinds, a.kind) {
				continue
			}
			for _, name := range a.programs(s.tiers[a.kind]) {
				if !slices.Contains(p, name) && begin == (name[:len("file_x")] != "file_x") {
					p = append(p, name)
				}
			}
		}
	}
	return p
}

// Attach implements contract.Sensor. Kinds become told at one instant, when
// all that they need is attached, and those that stay are told without a gap.
func (s *Sensor) Attach(ctx context.Context, kinds []event.Kind) error {
	s.mu.Lock()
	probed := s.probed
	s.mu.Unlock()
	if !probed {
		s.Probe(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds = slices.Clone(kinds)
	var noted []event.Kind
	for _, k := range kinds {
		if s.tiers[k] == tierFanotify {
			noted = append(noted, k)
		}
	}
	want := s.programs(kinds)
	if err := s.notes.want(noted); err != nil {
		if len(want) == 0 {
			return fmt.Errorf("attach file sensor: %w", err)
		}
		s.log.Warn("some acts on files are not seen", "err", err)
	}
	if s.unit == nil {
		if len(want) == 0 {
			return nil
		}
		if err := s.load(); err != nil {
			return err
		}
	}
	return s.attach(want)
}

func (s *Sensor) load() error {
	spec, err := s.spec()
	if err != nil {
		return err
	}
	progs := s.programs(s.Info().Kinds)
	unit, err := s.k.Load(spec, kernel.LoadOptions{Name: "file", Programs: progs, Knobs: s.knobs(s.self)})
	if err != nil {
		return fmt.Errorf("load file sensor: %w", err)
	}
	s.unit = unit
	s.told = watchSet{}
	return s.tellWatched()
}

func (s *Sensor) attach(want []string) error {
	var last error
	for _, p := range want { // outcomes before beginnings
		if err := s.unit.Attach(p); err != nil {
			s.log.Warn("attach", "program", p, "err", err)
			last = err
		}
	}
	if err := s.configure(); err != nil {
		return err
	}
	attached := s.unit.Attached()
	slices.SortFunc(attached, func(a, b string) int { // beginnings before outcomes
		return bit(a[:len("file_x")] == "file_x") - bit(b[:len("file_x")] == "file_x")
	})
	for _, p := range attached {
		if slices.Contains(want, p) {
			continue
		}
		if err := s.unit.Detach(p); err != nil {
			s.log.Warn("detach", "program", p, "err", err)
		}
	}
	if last != nil && len(s.unit.Attached()) == 0 {
		return fmt.Errorf("attach file sensor: %w", last)
	}
	return nil
}

// configure tells the programs which kinds are asked for.
func (s *Sensor) configure() error {
	c := fileFileConf{Watching: uint32(bit(len(s.told.inodes) > 0))}
	for _, a := range s.acts {
		if slices.Contains(s.kinds, a.kind) && s.tiers[a.kind] != tierFanotify {
			c.Kinds |= 1 << a.wire
		}
	}
	if err := s.unit.Map(fileMapFileConfig).Put(uint32(0), &c); err != nil {
		return fmt.Errorf("tell file programs what is asked for: %w", err)
	}
	return nil
}

// Close implements contract.Sensor.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.notes.close()
	if s.unit == nil {
		return err
	}
	u := s.unit
	s.unit = nil
	return errors.Join(err, u.Close())
}

var (
	_ contract.Sensor      = (*Sensor)(nil)
	_ contract.Source      = (*Sensor)(nil)
	_ contract.PathWatcher = (*Sensor)(nil)
)
