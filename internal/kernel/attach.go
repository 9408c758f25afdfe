package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Target says where to attach a program whose section does not say it all.
type Target struct {
	Interface int    // index of a network interface: XDP, TCX, netkit
	Mode      string // XDP: "native", "generic", or empty for native where possible
	Cgroup    string // directory in the unified hierarchy; empty is its root
	NetNS     string // sk_lookup, flow_dissector: a namespace's file; empty is our own
	Path      string // uprobes: the executable or library
	Symbol    string // uprobes: the function in it
	PID       int    // uprobes: only in this process; 0 is all
	Family    uint8  // netfilter: NFPROTO_*
	Hook      uint8  // netfilter: NF_INET_*
	Priority  int32  // netfilter
}

// attachment is one link of a program.
type attachment struct {
	link   link.Link
	point  string // the section, or what the kernel says of an adopted link
	target Target
	pin    string // path of the pin, empty when not pinned
}

// release detaches for good. Where the kernel can, at once (XDP, TCX, cgroup,
// netns); elsewhere the hook goes with the link's last reference, which a child
// of ours between fork and exec may hold for a moment.
func (a *attachment) release() error {
	info, _ := a.link.Info() // needed for pinned links, which have it
	errs := []error{removePin(a.pin)}
	if err := a.link.Detach(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		errs = append(errs, err)
	}
	errs = append(errs, a.link.Close())
	if a.pin != "" && info != nil {
		awaitGone(info.ID)
	}
	return errors.Join(errs...)
}

// awaitGone waits for a link whose pin was removed: the kernel drops a pin's
// reference after a grace period (kernel/bpf/inode.c: bpf_free_inode).
func awaitGone(id link.ID) {
	for range 500 {
		l, err := link.NewFromID(id)
		if err != nil {
			return
		}
		_ = l.Close() // only looked at
		time.Sleep(time.Millisecond)
	}
}

// Attach attaches a program where its section says, and the target completes
// it. A program that is attached already is attached once more if a target
// is given, otherwise left as it is. A refusal comes back as an *Error.
func (u *Unit) Attach(prog string, target ...Target) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.progs[prog]
	if p == nil || u.specs[prog] == nil {
		return fmt.Errorf("attach %s/%s: no such program", u.name, prog)
	}
	if len(u.links[prog]) > 0 && len(target) == 0 {
		delete(u.idle, prog)
		return nil
	}
	if len(target) == 0 {
		target = []Target{{}}
	}
	for _, t := range target {
		if err := u.attach(prog, t); err != nil {
			return err
		}
	}
	return nil
}

func (u *Unit) attach(prog string, t Target) error {
	spec := u.specs[prog]
	l, err := u.k.attach(u.progs[prog], spec, t)
	// One program can't be twice on a raw tracepoint, nor, before Linux 5.15, on
	// a perf event; one that was just detached may still be there, held by a
	// call under way on its link (Links) or by a child of ours: see release.
	for i := 0; exists(err) && i < 1000 && mayLinger(spec.Type); i++ {
		time.Sleep(time.Millisecond)
		l, err = u.k.attach(u.progs[prog], spec, t)
	}
	if err != nil {
		return u.k.explain("attach "+u.name+"/"+prog, err)
	}
	u.links[prog] = append(u.links[prog], &attachment{link: l, point: spec.SectionName, target: t})
	return nil
}

// exists tells EEXIST also where the library passes it on as text only.
func exists(err error) bool {
	return err != nil && (errors.Is(err, unix.EEXIST) || strings.HasSuffix(err.Error(), unix.EEXIST.Error()))
}

func mayLinger(t ebpf.ProgramType) bool {
	return t == ebpf.TracePoint || t == ebpf.Kprobe || t == ebpf.RawTracepoint || t == ebpf.Tracing
}

// attach creates the link that the program's type asks for.
func (k *Kernel) attach(p *ebpf.Program, spec *ebpf.ProgramSpec, t Target) (link.Link, error) {
	switch spec.Type {
	case ebpf.RawTracepoint, ebpf.RawTracepointWritable:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	case ebpf.Tracing:
		if spec.AttachType == ebpf.AttachTraceIter {
			return link.AttachIter(link.IterOptions{Program: p})
		}
		return link.AttachTracing(link.TracingOptions{Program: p, AttachType: spec.AttachType})
	case ebpf.LSM:
		if spec.AttachType == ebpf.AttachLSMCgroup {
			return k.attachCgroup(p, spec, t)
		}
		return link.AttachLSM(link.LSMOptions{Program: p})
	case ebpf.TracePoint:
		group, name, ok := strings.Cut(spec.AttachTo, "/")
		if !ok {
			return nil, fmt.Errorf("read section %s: no tracepoint", spec.SectionName)
		}
		return link.Tracepoint(group, name, p, nil)
	case ebpf.Kprobe:
		return attachProbe(p, spec, t)
	case ebpf.XDP:
		mode := map[string]link.XDPAttachFlags{"native": link.XDPDriverMode, "generic": link.XDPGenericMode}[t.Mode]
		return link.AttachXDP(link.XDPOptions{Program: p, Interface: t.Interface, Flags: mode})
	case ebpf.SchedCLS:
		return attachInterface(p, spec, t)
	case ebpf.Netfilter:
		return link.AttachNetfilter(link.NetfilterOptions{Program: p, ProtocolFamily: link.NetfilterProtocolFamily(t.Family),
			Hook: link.NetfilterInetHook(t.Hook), Priority: t.Priority})
	case ebpf.SkLookup, ebpf.FlowDissector:
		return attachNetNS(p, t)
	case ebpf.CGroupDevice, ebpf.CGroupSKB, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.CGroupSockopt, ebpf.CGroupSysctl, ebpf.SockOps:
		return k.attachCgroup(p, spec, t)
	}
	return nil, fmt.Errorf("attach a %s program: no link for this type", spec.Type)
}

func attachProbe(p *ebpf.Program, spec *ebpf.ProgramSpec, t Target) (link.Link, error) {
	kind, _, _ := strings.Cut(spec.SectionName, "/")
	ret := strings.HasPrefix(kind, "kretprobe") || strings.HasPrefix(kind, "uretprobe")
	switch {
	case strings.HasSuffix(kind, ".multi"):
		opts := link.KprobeMultiOptions{Symbols: []string{spec.AttachTo}}
		if ret {
			return link.KretprobeMulti(p, opts)
		}
		return link.KprobeMulti(p, opts)
	case strings.HasPrefix(kind, "u"):
		exe, err := link.OpenExecutable(t.Path)
		if err != nil {
			return nil, err
		}
		if ret {
			return exe.Uretprobe(t.Symbol, p, &link.UprobeOptions{PID: t.PID})
		}
		return exe.Uprobe(t.Symbol, p, &link.UprobeOptions{PID: t.PID})
	case ret:
		return link.Kretprobe(spec.AttachTo, p, nil)
	}
	return link.Kprobe(spec.AttachTo, p, nil)
}

func attachInterface(p *ebpf.Program, spec *ebpf.ProgramSpec, t Target) (link.Link, error) {
	switch spec.AttachType {
	case ebpf.AttachTCXIngress, ebpf.AttachTCXEgress:
		return link.AttachTCX(link.TCXOptions{Interface: t.Interface, Program: p, Attach: spec.AttachType})
	case ebpf.AttachNetkitPrimary, ebpf.AttachNetkitPeer:
		return link.AttachNetkit(link.NetkitOptions{Interface: t.Interface, Program: p, Attach: spec.AttachType})
	}
	return nil, fmt.Errorf("read section %s: classic TC filters have no link", spec.SectionName)
}

func (k *Kernel) attachCgroup(p *ebpf.Program, spec *ebpf.ProgramSpec, t Target) (link.Link, error) {
	path := t.Cgroup
	if path == "" {
		path = k.env.CgroupPath
	}
	if path == "" {
		return nil, &Error{Op: "attach " + spec.Name, Cause: "no cgroup2 hierarchy is mounted", Cure: "mount -t cgroup2 none DIR", Err: os.ErrNotExist}
	}
	return link.AttachCgroup(link.CgroupOptions{Path: path, Attach: spec.AttachType, Program: p})
}

func attachNetNS(p *ebpf.Program, t Target) (link.Link, error) {
	path := t.NetNS
	if path == "" {
		path = "/proc/self/ns/net"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return link.AttachNetNs(int(f.Fd()), p)
}
