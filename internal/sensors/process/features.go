package process

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Names of the features, as check prints them.
const (
	FeatureExec   = "see exec"
	FeatureFork   = "see fork"
	FeatureExit   = "see exit"
	FeatureBefore = "see credentials before exec"
	FeatureCgroup = "see cgroups"
	FeatureSeed   = "know earlier processes"
)

// spec returns the programs with the scratch map sized for this machine.
func (s *Sensor) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadProcess()
	if err != nil {
		return nil, fmt.Errorf("read process programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps[processMapProcScratch].MaxEntries = uint32(cpus) + 1 // the iterator's slot is the last
	return spec, spec.Variables[processVarSeedSlot].Set(uint32(cpus))
}

// knobs sets which v1 hierarchy the programs follow besides v2.
func (s *Sensor) knobs() map[string]any {
	ssid, err := v1Hierarchy(s.k)
	if err != nil {
		s.log.Warn("containers on cgroup v1 stay unknown", "err", err)
	}
	return map[string]any{processVarCgroupSsid: ssid}
}

// v1Hierarchy returns the subsystem index (enum cgroup_subsys_id of the running
// kernel) of the first of event.CgroupV1Controllers on a v1 hierarchy; -1 when all are on
// v2. Source: /proc/cgroups, cgroups(7).
func v1Hierarchy(k *kernel.Kernel) (ssid int32, err error) {
	b, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return -1, nil // a kernel without control groups
	}
	v1 := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 2 && !strings.HasPrefix(line, "#") {
			v1[f[0]] = f[1] != "0"
		}
	}
	for _, name := range event.CgroupV1Controllers() {
		if v1[name] {
			return subsysID(k, name)
		}
	}
	return -1, nil
}

func subsysID(k *kernel.Kernel, controller string) (int32, error) {
	spec, err := k.BTF()
	if err != nil {
		return -1, fmt.Errorf("find cgroup controller %s: %w", controller, err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("cgroup_subsys_id", &enum); err != nil {
		return -1, fmt.Errorf("find cgroup controller %s: %w", controller, err)
	}
	for _, v := range enum.Values {
		if v.Name == controller+"_cgrp_id" {
			return int32(v.Value), nil
		}
	}
	return -1, fmt.Errorf("find cgroup controller %s: not in the kernel's BTF", controller)
}

// Probe implements contract.Sensor: every hook is attached, sees the same
// canary process run and end, and is let go.
func (s *Sensor) Probe(ctx context.Context) []event.Feature {
	spec, err := s.spec()
	if err != nil {
		return []event.Feature{{Name: FeatureExec, Group: "processes", Essential: true,
			Guarantee: event.Absent, Why: err.Error()}}
	}
	ranked := s.k.Rank(ctx, spec, s.features())
	features := make([]event.Feature, 0, len(ranked))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range ranked {
		switch r.Name {
		case FeatureBefore:
			s.before = ""
			if r.Hook != nil {
				s.before = r.Hook.Programs[len(r.Hook.Programs)-1]
			}
		case FeatureSeed:
			s.seeds = r.Hook != nil && len(r.Hook.Programs) > 0
		}
		features = append(features, r.Feature)
	}
	return features
}

func (s *Sensor) features() []kernel.FeatureSpec {
	knobs := s.knobs()
	one := func(name string, kind event.Kind, tier, prog string, canary func(context.Context, *kernel.Probe) error) kernel.FeatureSpec {
		return kernel.FeatureSpec{Name: name, Group: "processes", Kinds: []event.Kind{kind}, Essential: true, Hooks: []kernel.Hook{
			{Tier: tier, Programs: []string{prog}, Knobs: knobs, Guarantee: event.Observe, Canary: canary}}}
	}
	return []kernel.FeatureSpec{
		one(FeatureExec, event.KindExec, "raw tracepoint sched_process_exec", processProgProcExec, canaryExec),
		one(FeatureFork, event.KindFork, "raw tracepoint sched_process_fork", processProgProcFork, canaryFork),
		one(FeatureExit, event.KindExit, "raw tracepoint sched_process_exit", processProgProcExit, canaryExit),
		{Name: FeatureBefore, Group: "processes", Kinds: []event.Kind{event.KindExec}, Hooks: []kernel.Hook{
			{Tier: "raw tracepoint sched_prepare_exec", Guarantee: event.Observe, Canary: canaryBefore,
				Programs: []string{processProgProcExec, processProgProcPrepare}, Knobs: knobs},
			{Tier: "kprobe security_bprm_committing_creds", Guarantee: event.Observe, Canary: canaryBefore,
				Programs: []string{processProgProcExec, processProgProcPrepareKp}, Knobs: knobs},
		}},
		{Name: FeatureCgroup, Group: "processes", Kinds: []event.Kind{event.KindCgroup}, Hooks: []kernel.Hook{
			{Tier: "raw tracepoints cgroup_mkdir, _rmdir, _rename", Guarantee: event.Observe,
				Programs: []string{processProgProcCgMkdir, processProgProcCgRmdir, processProgProcCgRename},
				Knobs:    knobs},
		}},
		{Name: FeatureSeed, Group: "processes", Essential: true, Hooks: []kernel.Hook{
			{Tier: "task iterator", Programs: []string{processProgProcSeed}, Knobs: knobs,
				Guarantee: event.Observe, Canary: canarySeed},
			{Tier: "/proc", Guarantee: event.Observe, Canary: func(ctx context.Context, _ *kernel.Probe) error {
				return findSelf(func(emit func(*event.Event)) error { return seedProc(ctx, NewDecoder(), nil, emit) })
			}},
		}},
	}
}

// awaitCanary runs the canary process and waits for its record.
func awaitCanary(ctx context.Context, p *kernel.Probe, kind processEventKind, match func(*event.Event) bool) error {
	pid, err := p.RunCanary(ctx)
	if err != nil {
		return err
	}
	d := NewDecoder()
	return p.Await(ctx, uint16(kind), func(rec []byte) bool {
		var ev event.Event
		return d.Decode(rec, &ev) == nil && ev.Process.PID == uint32(pid) && match(&ev)
	})
}

func canaryExec(ctx context.Context, p *kernel.Probe) error {
	return awaitCanary(ctx, p, processEventKindKIND_EXEC, func(ev *event.Event) bool { return len(ev.Exec.Args) > 0 && ev.Process.Exe != "" })
}

func canaryFork(ctx context.Context, p *kernel.Probe) error {
	self := uint32(os.Getpid())
	return awaitCanary(ctx, p, processEventKindKIND_FORK, func(ev *event.Event) bool { return ev.Process.PPID == self })
}

func canaryExit(ctx context.Context, p *kernel.Probe) error {
	return awaitCanary(ctx, p, processEventKindKIND_EXIT, func(ev *event.Event) bool { return ev.Exit.PeakRSS > 0 })
}

func canaryBefore(ctx context.Context, p *kernel.Probe) error {
	euid := uint32(os.Geteuid())
	return awaitCanary(ctx, p, processEventKindKIND_EXEC, func(ev *event.Event) bool {
		return ev.Exec.Before != nil && ev.Exec.Before.EUID == euid
	})
}

func canarySeed(ctx context.Context, p *kernel.Probe) error {
	return findSelf(func(emit func(*event.Event)) error {
		return seedIterator(ctx, p.Unit(), NewDecoder(), emit)
	})
}

// findSelf runs seed and fails when this very process is not among its events.
func findSelf(seed func(emit func(*event.Event)) error) error {
	self, found := uint32(os.Getpid()), false
	err := seed(func(ev *event.Event) {
		found = found || ev.Process.PID == self && ev.Process.Exe != "" && len(ev.Process.Args) > 0
	})
	if err == nil && !found {
		err = fmt.Errorf("look for own process %d: not among those reported", self)
	}
	return err
}
