package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Count is what the programs counted for one kind of record since the shared
// maps were created, summed over CPUs. Delivered to a ring is Produced less
// Lost. Reasons that never happened are absent.
type Count struct {
	Produced uint64
	Lost     map[string]uint64 // by reason: ring_full, scratch
	Faults   map[string]uint64 // helper calls that failed: kernel_read, user_read, map_update
}

// Counts reads the books that the programs keep, by kind on the wire
// (bpf/lib/event.h). Kinds without any count are absent.
func (k *Kernel) Counts() (map[uint16]Count, error) {
	m := k.shared[sharedMapEventCounts]
	if m == nil {
		return nil, fmt.Errorf("read counts: %w", fs.ErrClosed)
	}
	loss := reasons("LOSS_", map[string]uint32{"LOSS_RING_FULL": uint32(sharedLossReasonLOSS_RING_FULL), "LOSS_SCRATCH": uint32(sharedLossReasonLOSS_SCRATCH)})
	fault := reasons("FAULT_", map[string]uint32{"FAULT_KERNEL_READ": uint32(sharedFaultReasonFAULT_KERNEL_READ),
		"FAULT_USER_READ": uint32(sharedFaultReasonFAULT_USER_READ), "FAULT_MAP_UPDATE": uint32(sharedFaultReasonFAULT_MAP_UPDATE)})
	kinds, values, err := lookupCounts(m)
	if err != nil {
		return nil, k.explain("read counts", err)
	}
	counts := map[uint16]Count{}
	for i, kind := range kinds {
		each := len(values) / len(kinds)
		perCPU := values[i*each : (i+1)*each]
		sum := sharedEventCount{}
		for _, c := range perCPU {
			sum.Produced += c.Produced
			for i := range c.Lost {
				sum.Lost[i] += c.Lost[i]
			}
			for i := range c.Fault {
				sum.Fault[i] += c.Fault[i]
			}
		}
		if sum.Produced+sumOf(sum.Lost[:])+sumOf(sum.Fault[:]) > 0 {
			counts[uint16(kind)] = Count{sum.Produced, named(sum.Lost[:], loss), named(sum.Fault[:], fault)}
		}
	}
	return counts, nil
}

// lookupCounts reads the whole table: the kinds, and the values of all CPUs of
// each in turn. One system call where the kernel reads per-CPU arrays in
// batches (Linux 5.13, f008d732ab18), else one per kind.
func lookupCounts(m *ebpf.Map) (kinds []uint32, values []sharedEventCount, err error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, nil, err
	}
	n := int(m.MaxEntries())
	kinds, values = make([]uint32, n), make([]sharedEventCount, n*cpus)
	var cursor ebpf.MapBatchCursor
	got, err := m.BatchLookup(&cursor, kinds, values, nil)
	if got == n && (err == nil || errors.Is(err, ebpf.ErrKeyNotExist)) {
		return kinds, values, nil
	}
	for i := range kinds {
		kinds[i] = uint32(i)
		one := values[i*cpus : (i+1)*cpus]
		if err := m.Lookup(kinds[i], &one); err != nil {
			return nil, nil, err
		}
		copy(values[i*cpus:], one)
	}
	return kinds, values, nil
}

// reasons turns the enumerators' names into the words people read.
func reasons(prefix string, enum map[string]uint32) map[uint32]string {
	names := make(map[uint32]string, len(enum))
	for name, n := range enum {
		names[n] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	return names
}

func sumOf(v []uint64) (n uint64) {
	for _, x := range v {
		n += x
	}
	return n
}

func named(v []uint64, names map[uint32]string) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range v {
		if n == 0 {
			continue
		}
		name := names[uint32(i)]
		if name == "" {
			name = fmt.Sprintf("reason_%d", i)
		}
		m[name] = n
	}
	return m
}

// ProgramStat describes a loaded program of ours. Times and counts stand still
// unless statistics are enabled.
type ProgramStat struct {
	Unit            string        `json:"unit"`
	Name            string        `json:"name"`
	Type            string        `json:"type"`
	ID              uint32        `json:"id"`
	Tag             string        `json:"tag"`
	Attach          string        `json:"attach"`   // its section
	Attached        bool          `json:"attached"` // to one hook or more
	VerifiedInsns   uint32        `json:"verified_insns"`
	RunCount        uint64        `json:"run_count"`
	RunTime         time.Duration `json:"run_time_ns"`
	RecursionMisses uint64        `json:"recursion_misses"`
	Memlock         uint64        `json:"memlock_bytes"`
}

// Programs describes every program of the open units, adopted ones included.
func (k *Kernel) Programs() []ProgramStat {
	var stats []ProgramStat
	for _, u := range k.list() {
		stats = append(stats, u.programs()...)
	}
	return stats
}

func (u *Unit) programs() []ProgramStat {
	u.mu.Lock()
	defer u.mu.Unlock()
	var stats []ProgramStat
	for _, name := range sortedKeys(u.progs) {
		p := u.progs[name]
		s := ProgramStat{Unit: u.name, Name: name, Type: p.Type().String(), Attached: len(u.links[name]) > 0}
		if spec := u.specs[name]; spec != nil {
			s.Attach = spec.SectionName
		} else if as := u.links[name]; len(as) > 0 {
			s.Attach = as[0].point
		}
		if info, err := p.Info(); err == nil {
			id, _ := info.ID()
			s.ID, s.Tag = uint32(id), info.Tag
			s.VerifiedInsns, _ = info.VerifiedInstructions()
			s.Memlock, _ = info.Memlock()
		}
		if st, err := p.Stats(); err == nil {
			s.RunCount, s.RunTime, s.RecursionMisses = st.RunCount, st.Runtime, st.RecursionMisses
		}
		stats = append(stats, s)
	}
	return stats
}

// EnableStats makes the kernel measure the run time of every BPF program of
// the machine, at some cost, until the returned Closer is closed.
func (k *Kernel) EnableStats() (io.Closer, error) {
	c, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, k.explain("enable BPF statistics", err)
	}
	return c, nil
}

// LinkStat describes one attachment of ours.
type LinkStat struct {
	Unit    string `json:"unit"`
	Program string `json:"program"`
	Type    string `json:"type"`         // of the link; perf_event where the kernel has no link for it
	ID      uint32 `json:"id,omitempty"` // 0 where the kernel has no link for it
	Attach  string `json:"attach"`       // where the kernel says it is attached, else its section
	Pin     string `json:"pin,omitempty"`
}

// Links describes everything that is attached by the open units. Attach comes
// from the kernel where the kernel tells it (tracepoint and kprobe links: 6.6).
func (k *Kernel) Links() []LinkStat {
	var stats []LinkStat
	for _, u := range k.list() {
		stats = append(stats, u.attachments()...)
	}
	return stats
}

func (u *Unit) attachments() []LinkStat {
	u.mu.Lock()
	defer u.mu.Unlock()
	var stats []LinkStat
	for _, name := range sortedKeys(u.links) {
		for _, a := range u.links[name] {
			s := LinkStat{Unit: u.name, Program: name, Type: "perf_event", Attach: a.point, Pin: a.pin}
			if info, err := a.link.Info(); err == nil {
				s.ID, s.Type = uint32(info.ID), linkType(info.Type)
				if p := u.k.point(info); p != "" {
					s.Attach = p
				}
			}
			stats = append(stats, s)
		}
	}
	return stats
}

func linkType(t link.Type) string {
	names := map[link.Type]string{link.RawTracepointType: "raw_tracepoint", link.TracingType: "tracing", link.CgroupType: "cgroup",
		link.IterType: "iter", link.NetNsType: "netns", link.XDPType: "xdp", link.PerfEventType: "perf_event",
		link.KprobeMultiType: "kprobe_multi", link.TCXType: "tcx", link.NetfilterType: "netfilter", link.NetkitType: "netkit"}
	if n := names[t]; n != "" {
		return n
	}
	return fmt.Sprint(uint32(t))
}

// point is where the kernel says that a link is attached, empty when it does
// not say.
func (k *Kernel) point(info *link.Info) string {
	if i := info.RawTracepoint(); i != nil {
		return "raw_tp/" + i.Name
	}
	if i := info.Tracing(); i != nil && i.TargetBtfId != 0 {
		return strings.ToLower(strings.TrimPrefix(ebpf.AttachType(i.AttachType).String(), "Trace")) + "/" + k.btfName(btf.TypeID(i.TargetBtfId))
	}
	if i := info.PerfEvent(); i != nil {
		if tp := i.Tracepoint(); tp != nil {
			return "tracepoint/" + tp.Tracepoint
		}
		if kp := i.Kprobe(); kp != nil {
			return "kprobe/" + kp.Function
		}
	}
	if i := info.Cgroup(); i != nil {
		return fmt.Sprintf("%s of cgroup %d", ebpf.AttachType(i.AttachType), i.CgroupId)
	}
	if i := info.XDP(); i != nil {
		return fmt.Sprintf("xdp of interface %d", i.Ifindex)
	}
	if i := info.TCX(); i != nil {
		return fmt.Sprintf("%s of interface %d", ebpf.AttachType(i.AttachType), i.Ifindex)
	}
	if i := info.Netfilter(); i != nil {
		return fmt.Sprintf("netfilter family %d hook %d priority %d", i.ProtocolFamily, i.Hook, i.Priority)
	}
	return ""
}

func (k *Kernel) btfName(id btf.TypeID) string {
	if spec, err := k.cache.Kernel(); err == nil {
		if t, err := spec.TypeByID(id); err == nil {
			return t.TypeName()
		}
	}
	return fmt.Sprintf("btf %d", id)
}
