package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

const group = "files"

// Probe implements contract.Sensor: for every kind each tier is attached, sees
// the act performed on a file of ours, and is let go.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	shape, err := readShape(s.k)
	if err != nil {
		s.log.Warn("the kernel's types can't be read", "err", err)
	}
	list := acts(shape)
	s.mu.Lock()
	s.acts, s.shape, s.probed = list, shape, true
	s.mu.Unlock()
	features := s.rank(ctx, list)
	s.addFanotify(ctx, list, features)
	s.explain(list, features)
	tiers := make(map[event.Kind]string)
	for i, a := range list {
		f := &features[i]
		f.Kinds = []event.Kind{a.kind}
		if f.Guarantee != event.Absent {
			tiers[a.kind], _, _ = strings.Cut(f.Tier, ":")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tiers = tiers
	return features
}

// rank tries the tiers that are BPF programs.
func (s *Sensor) rank(ctx context.Context, list []act) []event.Feature {
	spec, err := s.spec()
	if err != nil {
		features := make([]event.Feature, len(list))
		for i, a := range list {
			features[i] = event.Feature{Name: a.name, Group: group, Kinds: []event.Kind{a.kind}, Guarantee: event.Absent, Why: err.Error()}
		}
		return features
	}
	knobs := s.knobs(0)
	specs := make([]kernel.FeatureSpec, 0, len(list))
	for _, a := range list {
		f := kernel.FeatureSpec{Name: a.name, Group: group, Kinds: []event.Kind{a.kind}}
		for _, tier := range []string{tierTrampoline, tierEarly, tierProbe, tierCalls} {
			if len(a.programs(tier)) == 0 || tier == tierCalls && !s.full {
				continue
			}
			f.Hooks = append(f.Hooks, kernel.Hook{Tier: tier, Programs: a.programs(tier), Knobs: knobs, Guarantee: event.Observe,
				Canary: func(ctx context.Context, p *kernel.Probe) error { return s.canary(ctx, p, &a) }})
		}
		specs = append(specs, f)
	}
	features := make([]event.Feature, 0, len(list))
	for _, r := range s.k.Rank(ctx, spec, specs) {
		features = append(features, r.Feature)
	}
	return features
}

// canary performs the act and waits for its record.
func (s *Sensor) canary(ctx context.Context, p *kernel.Probe, a *act) error {
	c := fileFileConf{Kinds: 1 << a.wire}
	if err := p.Unit().Map(fileMapFileConfig).Put(uint32(0), &c); err != nil {
		return fmt.Errorf("ask for the canary's kind: %w", err)
	}
	dir, err := canaryDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := perform(a.kind, dir)
	if err != nil {
		return err
	}
	if err := s.awaitPath(ctx, p, a, path); err != nil {
		return err
	}
	for _, path := range more(a.kind, dir) {
		if err := s.awaitPath(ctx, p, a, path); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// awaitPath waits for a record of the act about path.
func (s *Sensor) awaitPath(ctx context.Context, p *kernel.Probe, a *act, path string) error {
	d := NewDecoder()
	return p.Await(ctx, uint16(a.wire), func(rec []byte) bool {
		var ev event.Event
		if d.Decode(rec, &ev) != nil {
			return false
		}
		if ev.Mount != nil {
			return string(ev.Mount.Target) == path
		}
		return string(ev.File.Path) == path
	})
}

func canaryDir() (string, error) {
	dir, err := os.MkdirTemp("", "merlon-canary-")
	if err != nil {
		return "", fmt.Errorf("make a place for the canary: %w", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return real, nil
}

// addFanotify offers fanotify for what has no better tier.
func (s *Sensor) addFanotify(ctx context.Context, list []act, features []event.Feature) {
	var seen map[event.Kind]bool
	var stage string
	var err error
	tried := false
	for i := range features {
		f := &features[i]
		if f.Guarantee != event.Absent {
			continue
		}
		if list[i].merged != "" {
			f.Tried = append(f.Tried, event.Attempt{Tier: tierFanotify, Stage: "canary", Cause: list[i].merged})
			f.Why += "; " + list[i].merged
			continue
		}
		if !tried {
			seen, stage, err = fanotifyCanary(ctx, s.log)
			tried = true
		}
		attempt := event.Attempt{Tier: tierFanotify, OK: err == nil && seen[list[i].kind], Stage: stage}
		if attempt.OK {
			attempt.Stage = ""
			f.Tier, f.Guarantee = tierFanotify, event.Observe
			if l := list[i].limits; l != "" {
				f.Tier += ": " + l
			}
		} else if err != nil {
			e := kernel.Explain("use fanotify", err, s.k.Environment())
			attempt.Cause, attempt.Cure = e.Cause, e.Cure
		} else {
			attempt.Stage, attempt.Cause = "canary", "no notification of the act came"
		}
		f.Tried = append(f.Tried, attempt)
	}
}

// What looking at the exits of system calls costs, by an empty program; with
// those at the entries, as the privilege sensor needs them, it is 62 ns.
const callPrice = "33 ns and more on every system call"

// explain adds to the features what the full profile would change, or costs.
func (s *Sensor) explain(list []act, features []event.Feature) {
	for i := range list {
		f := &features[i]
		switch {
		case f.Tier == tierCalls:
			f.Why += "; looks at system calls instead: " + callPrice
		case s.full || len(list[i].programs(tierCalls)) == 0:
		case f.Guarantee == event.Absent || strings.HasPrefix(f.Tier, tierFanotify):
			f.Why += "; system calls tell it only in profile: full"
			if f.Cure != "" {
				f.Cure += "; or "
			}
			f.Cure += "profile: full, which costs " + callPrice
		}
	}
}
