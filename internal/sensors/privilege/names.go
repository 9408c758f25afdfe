package privilege

import (
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// nsNames are the kinds of namespaces as the reference lists them.
var nsNames = [...]struct {
	bit  uint32
	name string
}{
	{unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWUSER, "user"},
	{unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWTIME, "time"},
}

const allNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// namespaces writes a set of them. There are 256 at most, so each is kept.
func (d *Decoder) namespaces(types uint32) string {
	if types == 0 {
		return ""
	}
	types &= allNamespaces
	if s, ok := d.types[types]; ok {
		return s
	}
	var b strings.Builder
	for _, n := range nsNames {
		if types&n.bit != 0 {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(n.name)
		}
	}
	d.types[types] = b.String()
	return b.String()
}

// capName names a capability by its number.
func capName(n uint16) string {
	if n > 63 {
		return ""
	}
	return event.CapSet(1 << n).Names()[0]
}

// protection writes PROT_* as /proc/PID/maps does.
func protection(p uint16) string {
	names := [8]string{"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"}
	return names[p&7]
}

// ptraceName names a ptrace request (ptrace(2)).
func ptraceName(request uint16) string {
	switch request {
	case unix.PTRACE_POKETEXT:
		return "PTRACE_POKETEXT"
	case unix.PTRACE_POKEDATA:
		return "PTRACE_POKEDATA"
	case ptracePokeUser:
		return "PTRACE_POKEUSER"
	case ptraceSetRegs:
		return "PTRACE_SETREGS"
	case ptraceSetFPRegs:
		return "PTRACE_SETFPREGS"
	case unix.PTRACE_SETREGSET:
		return "PTRACE_SETREGSET"
	case unix.PTRACE_ATTACH:
		return "PTRACE_ATTACH"
	case unix.PTRACE_SEIZE:
		return "PTRACE_SEIZE"
	}
	return "ptrace " + strconv.Itoa(int(request))
}

// Requests that not every architecture has (arch/x86/include/uapi/asm/ptrace-abi.h).
const (
	ptracePokeUser  = 6
	ptraceSetRegs   = 13
	ptraceSetFPRegs = 15
)

// perfType names a perf event's type (include/uapi/linux/perf_event.h);
// 0xffff is unknown.
func perfType(t uint16) string {
	names := [...]string{"hardware", "software", "tracepoint", "hw_cache", "raw", "breakpoint"}
	switch {
	case int(t) < len(names):
		return names[t]
	case t == 0xffff:
		return ""
	}
	return strconv.Itoa(int(t)) // a PMU of /sys/bus/event_source/devices
}

// bpfTypes are the names of enum bpf_prog_type, an ABI.
var bpfTypes = [...]string{"unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp", "perf_event",
	"cgroup_skb", "cgroup_sock", "lwt_in", "lwt_out", "lwt_xmit", "sock_ops", "sk_skb", "cgroup_device", "sk_msg",
	"raw_tracepoint", "cgroup_sock_addr", "lwt_seg6local", "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl",
	"raw_tracepoint_writable", "cgroup_sockopt", "tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter"}

func bpfType(t uint16) string {
	switch {
	case int(t) < len(bpfTypes):
		return bpfTypes[t]
	case t == 0xffff: // unknown
		return ""
	}
	return strconv.Itoa(int(t))
}

// helperNames are the helpers that read or change what is not the program's own
// (include/uapi/linux/bpf.h, an ABI).
var helperNames = map[int]string{
	4: "probe_read", 36: "probe_write_user", 45: "probe_read_str", 58: "override_return", 109: "send_signal",
	112: "probe_read_user", 113: "probe_read_kernel", 114: "probe_read_user_str", 115: "probe_read_kernel_str",
	117: "send_signal_thread", 148: "copy_from_user", 166: "sys_bpf", 191: "copy_from_user_task",
	9: "skb_store_bytes", 13: "clone_redirect", 23: "redirect", 44: "xdp_adjust_head",
}

// dangerous names those of the helpers, in the order of their numbers.
func dangerous(set *[4]uint64) (names []string) {
	for i, word := range set {
		for ; word != 0; word &= word - 1 {
			if n := helperNames[i*64+bits.TrailingZeros64(word)]; n != "" {
				names = append(names, n)
			}
		}
	}
	return names
}
