package privilege

import (
	"context"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

const group = "privileges"

// By which mechanism a kind is seen: enum priv_way.
const (
	byAct = iota
	byCapable
	bySyscall
	wayMax
)

// way is one way to see an act.
type way struct {
	tier     string
	programs []string
	by       int
}

// act is a feature: kinds that are seen by the same hooks.
type act struct {
	feature string
	kinds   []event.Kind
	ways    []way
	canary  func(context.Context, *kernel.Probe) error
}

func tramp(fn string, programs ...string) way {
	return way{tier: "trampoline on " + fn, programs: programs}
}

func kprobe(fn string, programs ...string) way {
	return way{tier: "kprobe on " + fn, programs: programs}
}

func point(name string, programs ...string) way {
	return way{tier: "raw tracepoint " + name, programs: programs}
}

var (
	capable  = way{tier: "raw tracepoint cap_capable: the check only, not the outcome", programs: []string{privilegeProgPvCapable}, by: byCapable}
	syscalls = way{tier: "system call entries and exits", programs: []string{privilegeProgPvEnter, privilegeProgPvExit}, by: bySyscall}
)

// acts are all features, in the order of the reference. Each lists its ways
// from best to worst.
var acts = []act{
	{"see credentials change", []event.Kind{event.KindSetuid, event.KindSetgid, event.KindCapset},
		[]way{tramp("commit_creds", privilegeProgPvCredF), kprobe("commit_creds", privilegeProgPvCredK), syscalls, capable}, canaryCreds},
	{"see credentials change in other calls", []event.Kind{event.KindCredChange},
		[]way{tramp("commit_creds", privilegeProgPvCredF), kprobe("commit_creds", privilegeProgPvCredK)}, canaryCreds},
	{"see user namespaces made", []event.Kind{event.KindUsernsCreate}, []way{
		tramp("create_user_ns", privilegeProgPvUsernsF),
		kprobe("create_user_ns", privilegeProgPvUsernsK, privilegeProgPvUsernsR),
		{tier: "system call entries and exits, raw tracepoint sched_process_fork", by: bySyscall,
			programs: []string{privilegeProgPvFork, privilegeProgPvEnter, privilegeProgPvExit}},
		{tier: "raw tracepoint sched_process_fork: by clone only, not by unshare", programs: []string{privilegeProgPvFork}}}, canaryUserns},
	{"see setns", []event.Kind{event.KindSetns},
		[]way{tramp("switch_task_namespaces", privilegeProgPvSetnsF), kprobe("switch_task_namespaces", privilegeProgPvSetnsK), syscalls}, canarySetns},
	{"see unshare", []event.Kind{event.KindUnshare}, []way{tramp("ksys_unshare", privilegeProgPvUnshareF),
		kprobe("ksys_unshare", privilegeProgPvUnshareK, privilegeProgPvUnshareR), syscalls, capable}, canaryUnshare},
	{"see chroot", []event.Kind{event.KindChroot},
		[]way{tramp("set_fs_root", privilegeProgPvChrootF), kprobe("set_fs_root", privilegeProgPvChrootK), syscalls, capable}, canaryChroot},
	{"see pivot_root", []event.Kind{event.KindPivotRoot}, []way{tramp("security_sb_pivotroot", privilegeProgPvPivotF),
		kprobe("security_sb_pivotroot", privilegeProgPvPivotK), syscalls, capable}, canaryPivot},
	{"see ptrace", []event.Kind{event.KindPtrace}, []way{
		tramp("ptrace_attach and arch_ptrace", privilegeProgPvAttachF, privilegeProgPvPokeF),
		kprobe("ptrace_attach and arch_ptrace", privilegeProgPvAttachK, privilegeProgPvAttachR, privilegeProgPvPokeK, privilegeProgPvPokeR),
		syscalls, capable}, canaryPtrace},
	{"see process_vm_writev", []event.Kind{event.KindVMWrite}, []way{tramp("mm_access", privilegeProgPvVmwF),
		kprobe("mm_access", privilegeProgPvVmwK, privilegeProgPvVmwR), syscalls, capable}, canaryVMWrite},
	{"see /proc/PID/mem opened for writing", []event.Kind{event.KindMemWrite}, []way{tramp("mem_open", privilegeProgPvMemF),
		kprobe("mem_open", privilegeProgPvMemK, privilegeProgPvMemR), syscalls}, canaryMemWrite},
	{"see memfd_create", []event.Kind{event.KindMemfdCreate}, []way{
		tramp("shmem_file_setup and hugetlb_file_setup", privilegeProgPvMemfdF, privilegeProgPvHugefdF),
		kprobe("shmem_file_setup and hugetlb_file_setup", privilegeProgPvMemfdK, privilegeProgPvMemfdR, privilegeProgPvHugefdK, privilegeProgPvHugefdR),
		syscalls}, canaryMemfd},
	{"see writable executable memory", []event.Kind{event.KindWXMap}, []way{
		tramp("vm_mmap_pgoff and security_file_mprotect", privilegeProgPvMapF, privilegeProgPvProtF),
		kprobe("vm_mmap_pgoff and security_file_mprotect", privilegeProgPvMapK, privilegeProgPvMapR, privilegeProgPvProtK),
		syscalls}, canaryWX},
	{"see kernel modules loaded", []event.Kind{event.KindModuleLoad}, []way{point("module_load", privilegeProgPvModload)}, nil},
	{"see kernel modules removed", []event.Kind{event.KindModuleUnload}, []way{point("module_free", privilegeProgPvModfree)}, nil},
	{"see BPF programs loaded", []event.Kind{event.KindBPFLoad}, []way{
		tramp("bpf_check", privilegeProgPvBpfE, privilegeProgPvBpfX5), tramp("bpf_check, four words", privilegeProgPvBpfE, privilegeProgPvBpfX4),
		tramp("bpf_check, three words", privilegeProgPvBpfE, privilegeProgPvBpfX3),
		kprobe("bpf_check", privilegeProgPvBpfK, privilegeProgPvBpfR), syscalls, capable}, canaryBPF},
	{"see kexec", []event.Kind{event.KindKexec}, []way{
		tramp("kexec_load and kexec_file_load", privilegeProgPvKexecF, privilegeProgPvKexecfF), tramp("kexec_load", privilegeProgPvKexecF),
		kprobe("kexec_load and kexec_file_load", privilegeProgPvKexecK, privilegeProgPvKexecR, privilegeProgPvKexecfK, privilegeProgPvKexecfR),
		kprobe("kexec_load", privilegeProgPvKexecK, privilegeProgPvKexecR), syscalls}, canaryKexec},
	{"see perf events opened", []event.Kind{event.KindPerfOpen}, []way{tramp("perf_event_open", privilegeProgPvPerfF),
		kprobe("perf_event_open", privilegeProgPvPerfK, privilegeProgPvPerfR), syscalls}, canaryPerf},
	{"see io_uring made", []event.Kind{event.KindUringSetup}, []way{point("io_uring_create", privilegeProgPvUring)}, canaryUring},
	{"see session keyrings joined", []event.Kind{event.KindKeyringJoin}, []way{tramp("join_session_keyring", privilegeProgPvKeyringF),
		kprobe("join_session_keyring", privilegeProgPvKeyringK, privilegeProgPvKeyringR), syscalls}, canaryKeyring},
	{"see signals to other users", []event.Kind{event.KindSignal}, []way{point("signal_generate", privilegeProgPvSignal)}, canarySignal},
}

// way returns the way that hook stands for, nil for none.
func (a *act) way(h *kernel.Hook) *way {
	if h == nil {
		return nil
	}
	for i := range a.ways {
		if a.ways[i].tier == h.Tier {
			return &a.ways[i]
		}
	}
	return nil
}

func knobs(all bool) map[string]any {
	return map[string]any{privilegeVarPrivAll: all, privilegeVarPrivCalls: calls()}
}

// features describes the acts for Kernel.Rank.
func (s *Sensor) features() []kernel.FeatureSpec {
	specs := make([]kernel.FeatureSpec, 0, len(acts))
	for i := range acts {
		a := &acts[i]
		f := kernel.FeatureSpec{Name: a.feature, Group: group, Kinds: a.kinds}
		for _, w := range a.ways {
			if w.by == bySyscall && !s.opt.Full {
				continue
			}
			f.Hooks = append(f.Hooks, kernel.Hook{Tier: w.tier, Programs: w.programs, Knobs: knobs(true), Guarantee: event.Observe, Canary: a.canary})
		}
		specs = append(specs, f)
	}
	return specs
}

// What looking at system calls costs, measured with empty programs.
const syscallPrice = "62 ns on every system call"

// explained adds to a feature what the full profile would change, or costs.
func (s *Sensor) explained(a *act, f event.Feature, chosen *way) event.Feature {
	if chosen != nil && chosen.by == bySyscall {
		f.Why += "; looks at system calls instead: " + syscallPrice
		return f
	}
	for i := range a.ways {
		w := &a.ways[i]
		if w.by != bySyscall || s.opt.Full {
			continue
		}
		if chosen != nil && before(a, chosen, w) {
			continue
		}
		f.Why += "; system calls tell it only in profile: full"
		f.Cure = join(f.Cure, "profile: full, which costs "+syscallPrice)
	}
	return f
}

// before reports whether a lists x before y.
func before(a *act, x, y *way) bool {
	for i := range a.ways {
		switch &a.ways[i] {
		case x:
			return true
		case y:
			return false
		}
	}
	return false
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; or " + b
}
