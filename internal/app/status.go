package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/engine"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// limitMemory sets the soft limit and a thrifty collector: the agent makes
// little garbage, so collecting more often costs little.
func limitMemory(soft int64) {
	debug.SetMemoryLimit(soft)
	debug.SetGCPercent(200)
}

// view is the agent as the API sees it.
type view Agent

// Processes implements api.Agent.
func (v *view) Processes() []*event.Process {
	list := v.enrichers.Observables.Processes()
	slices.SortFunc(list, func(a, b *event.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	return list
}

// Alerts implements api.Agent.
func (v *view) Alerts(ctx context.Context, n int) ([]*event.Alert, error) {
	list, err := v.alerts.List(ctx, time.Time{}, n)
	if err != nil && ctx.Err() == nil { // a client that went away is no trouble
		v.trouble.tell("store", err.Error(), "alerts kept in memory are told; see the state directory "+v.cfg.StateDir)
	}
	slices.Reverse(list)
	return list, nil
}

// Ask implements api.Agent.
func (v *view) Ask(ctx context.Context, who string, kinds []event.Kind, paths []string) *api.Asked {
	return (*Agent)(v).Ask(ctx, who, kinds, paths)
}

// Config implements api.Agent.
func (v *view) Config(w io.Writer) error { return v.cfg.Print(w) }

// Status implements api.Agent.
func (v *view) Status(ctx context.Context, cost time.Duration) (*api.Status, error) {
	a := (*Agent)(v)
	env := a.kernel.Environment()
	programs, over, err := a.programs(ctx, cost)
	if err != nil {
		return nil, err
	}
	books := a.engine.Stats()
	st := &api.Status{
		Version: a.o.Version, PID: os.Getpid(), Started: a.started, Uptime: time.Since(a.started).Seconds(),
		Kernel: env.Release, Arch: env.Arch, Memory: memory(), CPU: cpuSeconds(),
		Queue:   api.Queue{Depth: books.Queue.QueueDepth, Limit: books.Queue.QueueLimit},
		Clients: a.hub.Clients(), Alerts: a.tally.alerts(),
		Programs: programs, CostOver: over.Seconds(), Counting: a.counting(), Features: a.Features(), Degraded: a.degraded(),
		Losses: a.hub.Lost(), Faults: []api.FaultCount{}, Hooks: []string{},
		Profile: a.cfg.Profile, Probing: a.probing(), Needs: a.needed(), Paths: a.watched(), Syscalls: []string{},
	}
	st.Events = a.tally.events(&books)
	addBooks(st, &books)
	n, limit := a.hub.Size()
	st.Tables = append(st.Tables, api.Table{Name: "event buffer", Count: n, Limit: limit})
	al := a.alerts.Stats()
	st.Tables = append(st.Tables, api.Table{Name: "open alerts", Count: al.Held, Limit: al.Limit})
	for _, m := range a.kernel.Maps() {
		st.Maps = append(st.Maps, api.Map{Name: m.Name, Type: m.Type, Entries: m.Entries, Max: m.MaxEntries, Bytes: m.Bytes})
	}
	for _, l := range a.kernel.Links() {
		hook := l.Program + " at " + l.Attach
		st.Hooks = append(st.Hooks, hook)
		if perSyscall(l.Attach) {
			st.Syscalls = append(st.Syscalls, hook)
		}
	}
	return st, nil
}

// addBooks adds losses, faults, rates and tables from the engine's books, with
// record kinds that become the same kind of event summed.
func addBooks(st *api.Status, books *engine.Stats) {
	losses, faults := map[api.LossCount]uint64{}, map[api.FaultCount]uint64{}
	for _, k := range books.Kinds {
		for _, l := range k.Lost {
			losses[api.LossCount{Kind: k.Kind, Stage: l.Stage, Reason: l.Reason}] += l.Count
		}
		for reason, n := range k.Faults {
			faults[api.FaultCount{Kind: k.Kind, Reason: reason}] += n
		}
	}
	for l, n := range losses {
		l.Count = n
		st.Losses = append(st.Losses, l)
	}
	slices.SortFunc(st.Losses, func(a, b api.LossCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	for f, n := range faults {
		f.Count = n
		st.Faults = append(st.Faults, f)
	}
	slices.SortFunc(st.Faults, func(a, b api.FaultCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason))
	})
	for _, e := range books.Enrichers {
		st.Tables = append(st.Tables, api.Table{Name: e.Name, Count: e.Size, Limit: e.Limit})
	}
}

// probing reports whether features are still being tried.
func (a *Agent) probing() bool {
	select {
	case <-a.provenAll:
		return false
	default:
		return true
	}
}

// partCost is the part that measures programs, in the list of what is degraded.
const partCost = "cost of programs"

// counting reports whether the kernel counts runs and time of BPF programs:
// because we measure, or because the machine's sysctl says so.
func (a *Agent) counting() bool {
	b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled") // Linux 5.1, 492ecee892c2
	return a.measuring.Load() > 0 || err == nil && strings.TrimSpace(string(b)) == "1"
}

// programs describes the BPF programs. With a cost above zero, the kernel's
// statistics are switched on for that long and the difference is told.
func (a *Agent) programs(ctx context.Context, cost time.Duration) ([]api.Program, time.Duration, error) {
	var before map[uint32]kernel.ProgramStat
	start := time.Now()
	if cost > 0 {
		stats, err := a.kernel.EnableStats()
		if err != nil {
			a.trouble.tell(partCost, err.Error(), "the status comes without the programs' cost")
			cost = 0
		} else {
			a.trouble.well(partCost)
			a.measuring.Add(1)
			defer a.measuring.Add(-1)
			defer func() { _ = stats.Close() }() // an fd; the kernel counts those open
			before, start = byID(a.kernel.Programs()), time.Now()
			select {
			case <-time.After(cost):
			case <-ctx.Done():
				return nil, 0, fmt.Errorf("measure programs: %w", ctx.Err())
			}
		}
	}
	after := a.kernel.Programs()
	over := time.Since(start)
	list := make([]api.Program, 0, len(after))
	for _, p := range after {
		q := api.Program{
			Name: p.Name, ID: p.ID, Type: p.Type, Hook: p.Attach, Attached: p.Attached, Verified: p.VerifiedInsns, Memory: p.Memlock,
			Runs: p.RunCount, Nanos: uint64(p.RunTime), Missed: p.RecursionMisses,
		}
		if cost > 0 {
			b := before[p.ID]
			runs, spent := float64(p.RunCount-b.RunCount), float64(p.RunTime-b.RunTime)
			q.Rate = runs / over.Seconds()
			q.Core = 100 * spent / float64(over)
			if runs > 0 {
				q.Average = spent / runs
			}
		}
		list = append(list, q)
	}
	if cost == 0 {
		over = 0
	}
	return list, over, nil
}

func byID(list []kernel.ProgramStat) map[uint32]kernel.ProgramStat {
	m := make(map[uint32]kernel.ProgramStat, len(list))
	for _, p := range list {
		m[p.ID] = p
	}
	return m
}

// memory reads what this process takes (proc_pid_status(5)).
func memory() api.Memory {
	var m api.Memory
	b, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			for name, into := range map[string]*uint64{"RssAnon:": &m.Anon, "RssFile:": &m.File, "RssShmem:": &m.Shmem} {
				if v, ok := strings.CutPrefix(line, name); ok {
					kb, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
					*into = kb << 10
				}
			}
		}
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(s)
	m.Heap, m.Limit = s[0].Value.Uint64(), s[1].Value.Uint64()
	return m
}

func cpuSeconds() float64 {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
}

// sortedRules lists alert counts by rule.
func sortedRules(m map[string]api.AlertCount) []api.AlertCount {
	list := make([]api.AlertCount, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[id])
	}
	return list
}
