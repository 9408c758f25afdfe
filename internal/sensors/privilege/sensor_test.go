package privilege

import (
	"maps"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// scenario is one act, and what each way to see it tells.
type scenario struct {
	name string
	kind event.Kind
	role string
	call string
	cap  string // what capability checks show
	// want completes what hooks tell of the act: base has Before, Call, Result
	// and the cause; by is the mechanism.
	want func(p *event.Privilege, a *actor, by int)
}

func victim(p *event.Privilege, a *actor, by int, told bool) {
	p.Target = &event.Target{PID: uint32(a.target)}
	if by == byAct || told {
		p.Target.TID, p.Target.UID, p.Target.EUID, p.Target.Comm = uint32(a.target), 1234, 1234, "exe"
	}
}

var scenarios = []scenario{
	{"setresuid", event.KindSetuid, "setresuid", "setresuid", "CAP_SETUID", func(p *event.Privilege, _ *actor, _ int) {
		after := *p.Before // capabilities(7): the last id that is not zero takes them away
		after.UID, after.EUID, after.SUID, after.Effective, after.Permitted, after.Ambient = 1234, 1234, 1234, 0, 0, 0
		p.After = &after
	}},
	{"setfsuid", event.KindSetuid, "setfsuid", "setfsuid", "CAP_SETUID", func(p *event.Privilege, _ *actor, _ int) {
		after := *p.Before
		after.Effective &^= 1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
			1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MAC_OVERRIDE
		p.After = &after
	}},
	{"setresgid", event.KindSetgid, "setresgid", "setresgid", "CAP_SETGID", func(p *event.Privilege, _ *actor, _ int) {
		after := *p.Before
		after.EGID = 4321
		p.After = &after
	}},
	{"capset", event.KindCapset, "capset", "capset", "CAP_SETPCAP", func(p *event.Privilege, _ *actor, _ int) {
		after := *p.Before
		after.Effective &^= 1 << unix.CAP_SYS_TIME
		p.After, p.Cause = &after, "owner"
	}},
	{"unshare", event.KindUnshare, "unshare", "unshare", "CAP_SYS_ADMIN", func(p *event.Privilege, _ *actor, by int) {
		p.Flags = unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
		if by != byCapable {
			p.NSTypes = "uts,ipc"
		}
	}},
	{"setns", event.KindSetns, "setns", "setns", "", func(p *event.Privilege, a *actor, _ int) { p.NSTypes, p.NS = "uts", a.ns }},
	{"chroot", event.KindChroot, "chroot", "chroot", "CAP_SYS_CHROOT", nil}, // the path is set by the test
	{"pivot_root", event.KindPivotRoot, "pivot", "pivot_root", "CAP_SYS_ADMIN", nil},
	{"ptrace attach", event.KindPtrace, "attach", "PTRACE_ATTACH", "CAP_SYS_PTRACE", func(p *event.Privilege, a *actor, by int) { victim(p, a, by, true) }},
	{"ptrace seize", event.KindPtrace, "seize", "PTRACE_SEIZE", "CAP_SYS_PTRACE", func(p *event.Privilege, a *actor, by int) { victim(p, a, by, true) }},
	{"ptrace poke", event.KindPtrace, "poke", "PTRACE_POKEDATA", "", func(p *event.Privilege, a *actor, by int) {
		victim(p, a, by, true)
		p.Address = a.address
	}},
	{"process_vm_writev", event.KindVMWrite, "vmwrite", "process_vm_writev", "CAP_SYS_PTRACE", func(p *event.Privilege, a *actor, by int) { victim(p, a, by, false) }},
	{"open /proc/PID/mem", event.KindMemWrite, "memopen", "open", "", func(p *event.Privilege, a *actor, by int) { victim(p, a, by, true) }},
	{"memfd_create", event.KindMemfdCreate, "memfd", "memfd_create", "", func(p *event.Privilege, _ *actor, _ int) {
		p.Name, p.Flags, p.Cause = "pv \x1b[31m\xff", unix.MFD_CLOEXEC, "owner"
	}},
	{"mmap", event.KindWXMap, "mmap", "mmap", "", func(p *event.Privilege, a *actor, _ int) {
		p.Address, p.Length, p.Prot, p.Flags, p.Cause = a.address, 8192, "rwx", unix.MAP_ANON|unix.MAP_PRIVATE, "owner"
	}},
	{"mprotect rwx", event.KindWXMap, "mprotectwx", "mprotect", "", func(p *event.Privilege, a *actor, by int) {
		p.Address, p.Length, p.Prot, p.Cause = a.address, 8192, "rwx", "owner"
		p.NoResult = by == byAct
	}},
	{"mprotect written memory", event.KindWXMap, "mprotect", "mprotect", "", func(p *event.Privilege, a *actor, _ int) {
		p.Address, p.Length, p.Prot, p.Cause = a.address, 8192, "r-x", "owner"
		p.NoResult = true
	}},
	{"bpf", event.KindBPFLoad, "bpf", "bpf", "CAP_BPF", func(p *event.Privilege, a *actor, by int) {
		p.Name, p.BPFType, p.BPFTag = "pv_test", "tracepoint", a.tag
		if by == byAct {
			p.Helpers = []string{"send_signal"}
		}
	}},
	{"kexec", event.KindKexec, "kexec", "kexec_load", "", func(p *event.Privilege, _ *actor, _ int) { p.Flags = 0xbad }},
	{"perf", event.KindPerfOpen, "perf", "perf_event_open", "", func(p *event.Privilege, _ *actor, _ int) {
		p.Name, p.Flags = "software", unix.PERF_FLAG_FD_CLOEXEC
	}},
	{"io_uring", event.KindUringSetup, "uring", "io_uring_setup", "", func(p *event.Privilege, _ *actor, _ int) { p.Cause = "owner" }},
	{"keyring", event.KindKeyringJoin, "keyring", "keyctl", "", func(p *event.Privilege, _ *actor, by int) {
		p.Cause = "owner"
		if by == byAct {
			p.Name = "pv test"
		}
	}},
	{"signal", event.KindSignal, "signal", "kill", "", func(p *event.Privilege, a *actor, by int) {
		victim(p, a, by, true)
		p.Signal = int(unix.SIGCONT)
	}},
}

// TestActs performs every act and compares the whole event, with what the
// default profile has on this kernel and with the full one.
func TestActs(t *testing.T) {
	profiles(t, func(t *testing.T, full bool) {
		h := start(t, full, New(nil, Options{}).Info().Kinds...)
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				h.t = t
				h.play(&s, full)
			})
		}
	})
}

// TestActsByKprobe does the same by kprobes where trampolines are better, and
// so are chosen: this kernel may have both.
func TestActsByKprobe(t *testing.T) {
	h := newHarness(t, false)
	chosen := maps.Clone(h.sensor.chosen)
	found := false
	for i := range acts {
		a := &acts[i]
		w := chosen[a.kinds[0]]
		for j := range a.ways {
			if w != nil && w.by == byAct && strings.HasPrefix(a.ways[j].tier, "kprobe") && before(a, w, &a.ways[j]) && w != &a.ways[j] {
				for _, k := range a.kinds {
					chosen[k] = &a.ways[j]
				}
				found = true
				break
			}
		}
	}
	if !found {
		t.Skip("no trampolines on this kernel: TestActs has tried what there is")
	}
	h.sensor.chosen = chosen
	h.attach(h.sensor.Info().Kinds)
	if d := h.sensor.Degraded(); len(d) != 0 {
		t.Errorf("refused: %v", d)
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			h.t = t
			h.play(&s, false)
		})
	}
}

// play performs one scenario and checks its event.
func (h *harness) play(s *scenario, full bool) {
	w := h.need(s.kind, full)
	if w.by == byCapable && s.cap == "" {
		h.t.Skipf("%s: not on this kernel: no capability is checked for it", s.name)
	}
	if w.by != byAct && s.name == "mprotect written memory" {
		h.t.Skip("whether memory was written before can't be told from system calls")
	}
	dir := h.t.TempDir()
	a := h.perform(s.role, dir)
	if a.errno != 0 && s.kind == event.KindUringSetup {
		h.t.Skipf("this kernel makes no io_uring: %v", unix.Errno(a.errno))
	}
	if a.errno != 0 && s.kind != event.KindKexec && s.kind != event.KindPivotRoot {
		h.t.Fatalf("the act failed: %v", unix.Errno(a.errno))
	}
	before := ownCreds(h.t)
	want := &event.Privilege{Before: &before, Call: s.call, Cause: "capability", Result: -a.errno}
	if w.by == byCapable {
		want = capableEvent(before, s.call, s.cap)
	}
	if s.want != nil && (w.by != byCapable || s.kind == event.KindUnshare) {
		s.want(want, a, w.by)
	}
	if w.by == byCapable {
		want.Target = nil
	} else if want.Result != 0 {
		want.Cause = "none"
	}
	switch {
	case w.by == byCapable:
	case s.kind == event.KindChroot:
		want.Path = event.Text(dir)
	case s.kind == event.KindPivotRoot && w.by == byAct: // asked for, before it is refused
		want.Path, want.NoResult, want.Result, want.Cause = event.Text(dir), true, 0, "capability"
	}
	ev := h.by(a, s.kind, s.call)
	h.check(a, ev, before.UID, want)
	h.once(a, s.kind, s.call)
}
