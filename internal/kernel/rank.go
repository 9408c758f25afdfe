package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/merlon/merlon/internal/event"
)

// Hook is one way to implement a feature.
type Hook struct {
	Tier      string          // the mechanism's name: "tp_btf"
	Programs  []string        // programs to load and attach
	Knobs     map[string]any  // their knobs
	Guarantee event.Guarantee // what it promises where its canary passes
	// Canary drives the hook and returns nil when it saw it work. Nil makes
	// attaching the only proof: for what can't be driven at will.
	Canary func(ctx context.Context, p *Probe) error
}

// FeatureSpec is a feature with the hooks that can implement it, best first.
type FeatureSpec struct {
	Name, Group string
	Kinds       []event.Kind // that it reports: status tells by which hook each kind is served
	Essential   bool         // without it the agent can't run
	Hooks       []Hook
}

// Ranked is a feature as this kernel has it.
type Ranked struct {
	event.Feature
	Hook *Hook // the best hook that passed; nil when none did
}

// The stages of an attempt.
const (
	stageLoad   = "load"
	stageAttach = "attach"
	stageCanary = "canary"
)

// Rank tries the hooks of each feature, best first, until one loads, attaches
// and passes its canary. Each attempt has rings and maps of its own, small
// ones, and leaves nothing attached. spec stays as it is.
func (k *Kernel) Rank(ctx context.Context, spec *ebpf.CollectionSpec, features []FeatureSpec) []Ranked {
	small := k.privateSpec(spec)
	ranked := make([]Ranked, 0, len(features))
	for _, f := range features {
		r := Ranked{Feature: event.Feature{Name: f.Name, Group: f.Group, Kinds: f.Kinds, Essential: f.Essential, Guarantee: event.Absent}}
		for i := range f.Hooks {
			h := &f.Hooks[i]
			stage, err := k.try(ctx, small, f.Name, h)
			if noteAttempt(&r.Feature, h.Tier, h.Guarantee, stage, err, k.env) {
				r.Hook = h
				break
			}
		}
		ranked = append(ranked, r)
	}
	return ranked
}

// noteAttempt notes an attempt and reports whether it succeeded.
func noteAttempt(f *event.Feature, tier string, g event.Guarantee, stage string, err error, env Environment) bool {
	if err == nil {
		f.Tried = append(f.Tried, event.Attempt{Tier: tier, OK: true})
		f.Tier, f.Guarantee = tier, g
		return true
	}
	a := event.Attempt{Tier: tier, Stage: stage}
	e := Explain(stage, err, env)
	if c := (*canaryError)(nil); errors.As(err, &c) {
		a.Cause, a.Cure = c.cause, c.cure
	} else {
		a.Cause, a.Cure = e.Cause, e.Cure
	}
	if f.Why == "" {
		f.Why, f.Cure = fmt.Sprintf("%s: %s", tier, a.Cause), a.Cure
	}
	f.Tried = append(f.Tried, a)
	return false
}

// canaryError says that a hook loaded and attached and then did not do its
// work.
type canaryError struct{ cause, cure string }

func (e *canaryError) Error() string { return e.cause }

// Sizes of the private rings and of hashes in an attempt. A hash of a thousand
// entries holds what a canary needs; a ring holds the longest record (128 KiB
// of arguments in parts) beside what the machine does meanwhile.
const (
	privateRing = 512 << 10
	privateHash = 1024
)

// privateSpec copies spec with small rings and hashes.
func (k *Kernel) privateSpec(spec *ebpf.CollectionSpec) *ebpf.CollectionSpec {
	c := spec.Copy()
	for _, m := range c.Maps {
		switch m.Type {
		case ebpf.RingBuf:
			m.MaxEntries = min(m.MaxEntries, privateRing)
		case ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash:
			m.MaxEntries = min(m.MaxEntries, privateHash)
		}
	}
	return c
}

// try loads, attaches, drives and detaches one hook. It returns the stage that
// failed.
func (k *Kernel) try(ctx context.Context, spec *ebpf.CollectionSpec, name string, h *Hook) (stage string, err error) {
	u, err := k.load(spec, LoadOptions{Name: name, Programs: h.Programs, Knobs: h.Knobs}, nil)
	if err != nil {
		return stageLoad, err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	p, err := newProbe(k, u)
	if err != nil {
		return stageLoad, err
	}
	defer p.close()
	for _, prog := range h.Programs {
		if err := u.Attach(prog); err != nil {
			return stageAttach, err
		}
	}
	if h.Canary != nil {
		if err := h.Canary(ctx, p); err != nil {
			return stageCanary, fmt.Errorf("canary of %s: %w", h.Tier, err)
		}
	}
	return "", nil
}
