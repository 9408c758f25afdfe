package cli

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/merlon/merlon/internal/event"
)

// traceSpec is one thing to look at live: the kinds of events that it takes
// and the columns that people know from the bcc tools.
type traceSpec struct {
	name, about string
	like        string // the tool that people know it from
	kinds       []event.Kind
	cols        []column
}

// traces lists them in the order in which they are shown.
func traces() []traceSpec {
	return append(append(processTraces(), fileTraces()...), append(netTraces(), privilegeTraces()...)...)
}

func processTraces() []traceSpec {
	process := func(head string, width int, f func(*event.Process) string) column {
		return column{head, width, func(ev *event.Event) string {
			if ev.Process == nil {
				return "-"
			}
			return f(ev.Process)
		}}
	}
	ppid := process("PPID", -7, func(p *event.Process) string { return strconv.FormatUint(uint64(p.PPID), 10) })
	return []traceSpec{
		{"execs", "programs that are started", "execsnoop", []event.Kind{event.KindExec}, []column{
			colTime(), process("PCOMM", 15, func(p *event.Process) string { return p.Comm.String() }), colPID(), ppid, colUser(),
			{"ARGS", 0, func(ev *event.Event) string { w, _ := describeExec(ev); return w }},
		}},
		{"exits", "processes that end", "exitsnoop", []event.Kind{event.KindExit}, []column{
			colTime(), process("PCOMM", 15, func(p *event.Process) string { return p.Comm.String() }), colPID(), ppid,
			{"AGE(s)", -8, func(ev *event.Event) string {
				if ev.Exit == nil {
					return "-"
				}
				return fmt.Sprintf("%.2f", ev.Exit.Lifetime.Seconds())
			}},
			{"EXIT_CODE", 0, func(ev *event.Event) string {
				switch {
				case ev.Exit == nil:
					return "-"
				case ev.Exit.Signal != 0:
					return "signal " + strconv.Itoa(ev.Exit.Signal) + " (" + signalName(ev.Exit.Signal) + ")"
				}
				return strconv.Itoa(ev.Exit.Code)
			}},
		}},
	}
}

func fileTraces() []traceSpec {
	return []traceSpec{
		{"opens", "files opened for writing, and those of --path for reading", "opensnoop", []event.Kind{event.KindFileOpen}, []column{
			colTime(), colPID(), colUser(), colComm(),
			{"RW", 2, fileText(accessText)},
			colErr(),
			{"FLAGS", 20, fileText(func(f *event.FileAct) string {
				if f.Flags == 0 && (f.Write || f.Merged || f.Partial) {
					return "-"
				}
				return openFlags(f.Flags)
			})},
			{"PATH", 0, fileText(func(f *event.FileAct) string { return f.Path.String() })},
		}},
		{"files", "files made, removed, renamed or changed", "filelife, fatrace", []event.Kind{
			event.KindFileCreate, event.KindFileDelete, event.KindFileRename, event.KindFileLink, event.KindFileSymlink, event.KindFileChmod,
			event.KindFileChown, event.KindFileXattr, event.KindFileTruncate, event.KindFileClose,
		}, []column{colTime(), colPID(), colUser(), colComm(), colAct("file_", 8), colErr(), colWhat()}},
		{"mounts", "file systems mounted and unmounted", "mountsnoop", []event.Kind{event.KindMount, event.KindUmount}, []column{
			colTime(), colComm(), colPID(),
			{"MNT_NS", 11, func(ev *event.Event) string {
				if ev.Process == nil {
					return "-"
				}
				return strconv.FormatUint(uint64(ev.Process.NS.Mnt), 10)
			}},
			{"CALL", 0, mountCall},
		}},
	}
}

// accessText is what a file was opened for; - where the hook does not tell.
func accessText(f *event.FileAct) string {
	switch {
	case f.Flags == 0 && f.Write: // the hook tells no flags
		return "W"
	case f.Flags == 0 && (f.Merged || f.Partial):
		return "-"
	}
	return [4]string{"R", "W", "RW", "-"}[f.Flags&syscall.O_ACCMODE]
}

func mountCall(ev *event.Event) string {
	m := ev.Mount
	if m == nil {
		return "-"
	}
	if ev.Kind == event.KindUmount {
		return fmt.Sprintf("umount(%q, %#x) = %s", m.Target.String(), m.Flags, resultText(ev))
	}
	return fmt.Sprintf("mount(%q, %q, %q, %#x, %q) = %s", m.Source.String(), m.Target.String(), event.Safe(m.FS), m.Flags, m.Options.String(), resultText(ev))
}

func privilegeTraces() []traceSpec {
	what := []column{colTime(), colPID(), colUser(), colComm(), colAct("", 13), colErr(), colWhat()}
	return []traceSpec{
		{"creds", "user and group ids, capabilities, user namespaces", "capable, uidsnoop", []event.Kind{
			event.KindSetuid, event.KindSetgid, event.KindCapset, event.KindCredChange, event.KindUsernsCreate, event.KindKeyringJoin,
		}, []column{colTime(), colPID(), colUser(), colComm(), colAct("", 13), colErr(),
			{"CAUSE", 14, privText(func(v *event.Privilege) string { return orDash(v.Cause) })}, colWhat()}},
		{"namespaces", "namespaces entered and left, new roots", "", []event.Kind{
			event.KindSetns, event.KindUnshare, event.KindChroot, event.KindPivotRoot, event.KindUsernsCreate,
		}, what},
		{"ptraces", "processes that others attach to or write into", "", []event.Kind{event.KindPtrace, event.KindVMWrite, event.KindMemWrite}, what},
		{"memory", "files in memory, memory that is writable and executable", "", []event.Kind{event.KindMemfdCreate, event.KindWXMap}, what},
		{"signals", "signals to other users' processes", "killsnoop", []event.Kind{event.KindSignal}, []column{
			colTime(), colPID(), colComm(),
			{"SIG", 9, privText(func(v *event.Privilege) string { return signalName(v.Signal) })},
			{"TPID", -7, privText(func(v *event.Privilege) string {
				if v.Target == nil {
					return "-"
				}
				return strconv.FormatUint(uint64(v.Target.PID), 10)
			})},
			{"TCOMM", 15, privText(func(v *event.Privilege) string {
				if v.Target == nil {
					return "-"
				}
				return v.Target.Comm.String()
			})},
			{"RESULT", 0, resultText},
		}},
		{"modules", "kernel modules and kernels loaded, modules removed", "", []event.Kind{event.KindModuleLoad, event.KindModuleUnload, event.KindKexec}, what},
		{"bpf", "BPF programs loaded, perf events and io_urings made", "bpflist", []event.Kind{event.KindBPFLoad, event.KindPerfOpen, event.KindUringSetup}, []column{
			colTime(), colPID(), colUser(), colComm(), colAct("", 11), colErr(),
			{"TYPE", 14, privText(func(v *event.Privilege) string { return orDash(v.BPFType) })},
			{"NAME", 16, privText(func(v *event.Privilege) string { return orDash(string(v.Name)) })},
			{"TAG", 16, privText(func(v *event.Privilege) string { return orDash(v.BPFTag) })},
			{"HELPERS", 0, privText(func(v *event.Privilege) string { return orDash(strings.Join(v.Helpers, ",")) })},
		}},
	}
}
