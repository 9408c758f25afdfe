package process

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

var pageSize = os.Getpagesize()

// keepArgs is how much of an argument vector stays with a process after its
// exec event is gone, in bytes.
const keepArgs = 4096

// Decoder turns the records of process.bpf.c into events. It allocates what
// the events keep and nothing else. One goroutine uses it.
type Decoder struct {
	clock kernel.Clock
	parts parts
	keep  record.Texts // strings that stay with the process
	more  record.Texts // strings that only the exec event holds
	path  record.Texts // the descriptor's path at hand
	execs []execPart   // allocated, not used yet
	names map[string]string
	guard guard
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{names: make(map[string]string), parts: parts{byKey: make(map[event.Key]*argParts)}}
}

// Decode implements contract.Decoder.
func (d *Decoder) Decode(rec []byte, ev *event.Event) error {
	hdr, _, err := record.View[processEventHdr](rec)
	if err != nil {
		return err
	}
	ev.Boot = hdr.Time
	ev.Time = d.clock.Wall(hdr.Time)
	ev.CPU = hdr.Cpu
	switch processEventKind(hdr.Kind) {
	case processEventKindKIND_EXEC:
		return d.exec(rec, ev)
	case processEventKindKIND_FORK:
		return d.fork(rec, ev)
	case processEventKindKIND_EXIT:
		return d.exit(rec, ev)
	case processEventKindKIND_ARGS:
		return d.parts.add(rec)
	case processEventKindKIND_CGROUP:
		return d.cgroup(rec, ev)
	}
	return fmt.Errorf("decode record: unknown kind %d", hdr.Kind)
}

func (d *Decoder) fork(rec []byte, ev *event.Event) error {
	r, _, err := record.View[processForkRec](rec)
	if err != nil {
		return err
	}
	out := new(struct {
		proc event.Process
		fork event.Fork
	})
	d.keep.Reset()
	comm, tty := d.keep.Add(record.CString(r.Child.Comm[:])), d.keep.Add(record.CString(r.Child.Tty[:]))
	d.keep.Seal()
	fillProcess(&out.proc, &r.Child)
	out.proc.Comm, out.proc.TTY = event.Text(d.keep.Get(comm)), event.Text(d.keep.Get(tty))
	out.proc.Origin = event.OriginFork
	out.fork.Creator = event.Key{PID: r.CreatorPid, Start: r.CreatorStart}
	ev.Kind, ev.Process, ev.Fork = event.KindFork, &out.proc, &out.fork
	return nil
}

func (d *Decoder) exit(rec []byte, ev *event.Event) error {
	r, _, err := record.View[processExitRec](rec)
	if err != nil {
		return err
	}
	out := new(struct {
		proc event.Process
		exit event.Exit
	})
	out.proc.PID, out.proc.Start, out.proc.Origin = r.Pid, r.Start, event.OriginInferred
	out.proc.LoginUID, out.proc.AuditSess = ^uint32(0), ^uint32(0)
	status := unix.WaitStatus(r.Code)
	e := &out.exit
	if status.Signaled() {
		e.Signal, e.Core = int(status.Signal()), status.CoreDump()
	} else {
		e.Code = status.ExitStatus()
	}
	e.CPU, e.User, e.System = time.Duration(r.CpuNs), time.Duration(r.UserNs), time.Duration(r.SystemNs)
	e.PeakRSS = r.Maxrss * uint64(pageSize)
	if r.Hdr.Time > r.Start {
		e.Lifetime = time.Duration(r.Hdr.Time - r.Start)
	}
	d.parts.forget(event.Key{PID: r.Pid, Start: r.Start})
	ev.Kind, ev.Process, ev.Exit = event.KindExit, &out.proc, e
	return nil
}

func (d *Decoder) cgroup(rec []byte, ev *event.Event) error {
	r, _, err := record.View[processCgroupRec](rec)
	if err != nil {
		return err
	}
	op := ""
	switch processCgroupOp(r.Op) {
	case processCgroupOpCGROUP_MKDIR:
		op = "mkdir"
	case processCgroupOpCGROUP_RMDIR:
		op = "rmdir"
	case processCgroupOpCGROUP_RENAME:
		op = "rename"
	default:
		return fmt.Errorf("decode cgroup record: unknown operation %d", r.Op)
	}
	ev.Kind = event.KindCgroup
	ev.Cgroup = &event.Cgroup{ID: r.Id, Hierarchy: r.Hierarchy, Path: event.Text(record.CString(r.Path[:])), Op: op}
	return nil
}

// fillProcess copies what a task_rec says, strings excepted.
func fillProcess(p *event.Process, t *processTaskRec) {
	p.PID, p.Start, p.PPID, p.PStart = t.Pid, t.Start, t.Ppid, t.Pstart
	if t.Nspid != t.Pid {
		p.NSPID = t.Nspid
	}
	p.PGID, p.SID = t.Pgid, t.Sid
	p.LoginUID, p.AuditSess = t.LoginUid, t.AuditSession
	p.Creds = credentials(&t.Creds)
	p.NS = event.Namespaces{Mnt: t.NsMnt, PID: t.NsPid, Net: t.NsNet, User: t.NsUser,
		UTS: t.NsUts, IPC: t.NsIpc, Cgroup: t.NsCgroup}
	p.CgroupID, p.CgroupV1 = t.CgroupId, t.CgroupV1
}

func credentials(c *processCreds) event.Creds {
	return event.Creds{UID: c.Uid, GID: c.Gid, EUID: c.Euid, EGID: c.Egid, SUID: c.Suid, SGID: c.Sgid,
		Effective: event.CapSet(c.Effective), Permitted: event.CapSet(c.Permitted),
		Inheritable: event.CapSet(c.Inheritable), Bounding: event.CapSet(c.Bounding),
		Ambient: event.CapSet(c.Ambient)}
}

// fillFile copies what a file_rec says, the path excepted.
func (d *Decoder) fillFile(f *event.File, r *processFileRec) {
	f.Dev, f.Inode, f.Mode = uint64(r.Dev), r.Ino, uint32(r.Mode)
	f.UID, f.GID, f.Links = r.Uid, r.Gid, r.Nlink
	flags := processFileFlag(r.Flags)
	f.Deleted = flags&processFileFlagFILE_DELETED != 0
	f.Memfd = flags&processFileFlagFILE_MEMFD != 0
	f.Upper = flags&processFileFlagFILE_UPPER != 0
	f.FS = d.intern(record.CString(r.Fs[:]))
	f.Unresolved = record.Status(r.Status).Unresolved()
}

// intern returns one string for equal bytes; what it remembers is bounded.
func (d *Decoder) intern(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if len(d.names) >= 256 {
		clear(d.names)
	}
	s := string(b)
	d.names[s] = s
	return s
}

func socket(r *processSockRec) *event.Socket {
	s := &event.Socket{Family: kernel.Family(r.Family), Type: kernel.SocketType(r.Type), PeerPID: r.PeerPid}
	if r.Family != unix.AF_INET && r.Family != unix.AF_INET6 {
		return s
	}
	s.Protocol = r.Protocol
	if r.Protocol == unix.IPPROTO_TCP || r.Protocol == unix.IPPROTO_MPTCP {
		s.State = tcpState(r.State)
	}
	local, remote := netip.AddrFrom16(r.Laddr), netip.AddrFrom16(r.Raddr)
	if r.Family == unix.AF_INET {
		local, remote = netip.AddrFrom4([4]byte(r.Laddr[:4])), netip.AddrFrom4([4]byte(r.Raddr[:4]))
	}
	s.LocalAddr, s.LocalPort = local.Unmap().String(), r.Lport
	if r.Rport != 0 || !remote.IsUnspecified() {
		s.RemoteAddr, s.RemotePort = remote.Unmap().String(), r.Rport
	}
	return s
}

// tcpState names a state of include/net/tcp_states.h.
func tcpState(s uint8) string {
	names := [...]string{"", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait",
		"close", "close_wait", "last_ack", "listen", "closing", "new_syn_recv"}
	if int(s) < len(names) {
		return names[s]
	}
	return strconv.Itoa(int(s))
}

var _ contract.Decoder = (*Decoder)(nil)
