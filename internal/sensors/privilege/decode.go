package privilege

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unsafe"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// Decoder turns the records of privilege.bpf.c into events. It allocates what
// the events keep, several at a time. One goroutine uses it.
type Decoder struct {
	clock kernel.Clock
	texts record.Texts
	parts []part
	types map[uint32]string // sets of namespaces met, as text
}

// part is what an event of this sensor holds beside itself.
type part struct {
	priv          event.Privilege
	before, after event.Creds
	target        event.Target
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{types: make(map[uint32]string)} }

func (d *Decoder) newPart() *part {
	if len(d.parts) == 0 {
		d.parts = make([]part, 16)
	}
	p := &d.parts[0]
	d.parts = d.parts[1:]
	return p
}

// wire leads from record kinds to what they become.
var wire = map[uint16]event.Kind{
	uint16(privilegeEventKindKIND_SETUID): event.KindSetuid, uint16(privilegeEventKindKIND_SETGID): event.KindSetgid,
	uint16(privilegeEventKindKIND_CAPSET): event.KindCapset, uint16(privilegeEventKindKIND_CRED_CHANGE): event.KindCredChange,
	uint16(privilegeEventKindKIND_USERNS_CREATE): event.KindUsernsCreate, uint16(privilegeEventKindKIND_SETNS): event.KindSetns,
	uint16(privilegeEventKindKIND_UNSHARE): event.KindUnshare, uint16(privilegeEventKindKIND_CHROOT): event.KindChroot,
	uint16(privilegeEventKindKIND_PIVOT_ROOT): event.KindPivotRoot, uint16(privilegeEventKindKIND_PTRACE): event.KindPtrace,
	uint16(privilegeEventKindKIND_VM_WRITE): event.KindVMWrite, uint16(privilegeEventKindKIND_MEM_WRITE): event.KindMemWrite,
	uint16(privilegeEventKindKIND_MEMFD_CREATE): event.KindMemfdCreate, uint16(privilegeEventKindKIND_WX_MAP): event.KindWXMap,
	uint16(privilegeEventKindKIND_MODULE_LOAD): event.KindModuleLoad, uint16(privilegeEventKindKIND_MODULE_UNLOAD): event.KindModuleUnload,
	uint16(privilegeEventKindKIND_BPF_LOAD): event.KindBPFLoad, uint16(privilegeEventKindKIND_KEXEC): event.KindKexec,
	uint16(privilegeEventKindKIND_PERF_OPEN): event.KindPerfOpen, uint16(privilegeEventKindKIND_URING_SETUP): event.KindUringSetup,
	uint16(privilegeEventKindKIND_KEYRING_JOIN): event.KindKeyringJoin, uint16(privilegeEventKindKIND_SIGNAL): event.KindSignal,
}

// Decode implements contract.Decoder.
func (d *Decoder) Decode(rec []byte, ev *event.Event) error {
	r, rest, err := record.View[privilegePrivRec](rec)
	if err != nil {
		return err
	}
	kind, ok := wire[r.Hdr.Kind]
	if !ok {
		return fmt.Errorf("decode record: unknown kind %d", r.Hdr.Kind)
	}
	d.texts.Reset()
	actor, _, err := record.View[kernel.Actor](rec[unsafe.Offsetof(r.Actor):])
	if err != nil {
		return err
	}
	comm := d.texts.Add(actor.Name())
	p := d.newPart()
	p.before = credentials(&r.Before)
	d.common(&p.priv, r)
	p.priv.Before = &p.before
	if err := d.extra(kind, p, r, rec, rest); err != nil {
		return err
	}
	p.priv.Cause = cause(kind, p, r)
	ev.Thread = actor.Thread(d.texts.Get(comm))
	ev.Boot, ev.Time, ev.CPU = r.Hdr.Time, d.clock.Wall(r.Hdr.Time), r.Hdr.Cpu
	ev.Kind, ev.Privilege = kind, &p.priv
	return nil
}

// common fills what all kinds share.
func (d *Decoder) common(p *event.Privilege, r *privilegePrivRec) {
	p.Call = callName(privilegePrivCall(r.Call))
	p.Flags, p.NS = r.Flags, r.Ns
	p.Result = int(r.Result)
	p.NoResult = r.Bits&uint8(privilegePrivBitPRIV_NO_RESULT) != 0
	p.NSTypes = d.namespaces(r.Types)
	if r.Bits&uint8(privilegePrivBitPRIV_CAPABLE) != 0 {
		p.Via, p.Cap = "capable", capName(r.Num)
	}
}

// extra fills what a kind has of its own and seals the texts.
func (d *Decoder) extra(kind event.Kind, p *part, r *privilegePrivRec, rec, rest []byte) error {
	if p.priv.Via != "" { // only the check of a capability: nothing else is known
		d.texts.Seal()
		if kind == event.KindPtrace {
			p.priv.Call, p.priv.Flags = ptraceName(uint16(r.Flags)), 0
		}
		return nil
	}
	switch kind {
	case event.KindSetuid, event.KindSetgid, event.KindCapset, event.KindCredChange:
		d.texts.Seal()
		return changed(p, rec)
	case event.KindPtrace, event.KindVMWrite, event.KindMemWrite, event.KindSignal:
		return d.onTask(kind, p, r, rec)
	case event.KindChroot, event.KindPivotRoot:
		return d.path(p, rec, rest)
	case event.KindMemfdCreate, event.KindModuleLoad, event.KindModuleUnload, event.KindKeyringJoin:
		return d.named(kind, p, rec)
	case event.KindBPFLoad:
		return d.bpf(p, r, rec)
	case event.KindWXMap:
		p.priv.Address, p.priv.Length, p.priv.Prot = r.Address, r.Length, protection(r.Num)
	case event.KindPerfOpen:
		p.priv.Name = event.Text(perfType(r.Num))
	}
	d.texts.Seal()
	return nil
}

func changed(p *part, rec []byte) error {
	r, _, err := record.View[privilegePrivCredRec](rec)
	if err != nil {
		return err
	}
	p.after = credentials(&r.After)
	if r.P.Result == 0 {
		p.priv.After = &p.after
	}
	return nil
}

func (d *Decoder) onTask(kind event.Kind, p *part, r *privilegePrivRec, rec []byte) error {
	t, _, err := record.View[privilegePrivTaskRec](rec)
	if err != nil {
		return err
	}
	comm := d.texts.Add(record.CString(t.Target.Comm[:]))
	d.texts.Seal()
	p.target = event.Target{PID: t.Target.Pid, TID: t.Target.Tid, Start: t.Target.Start, UID: t.Target.Uid,
		EUID: t.Target.Euid, Comm: event.Text(d.texts.Get(comm))}
	p.priv.Target = &p.target
	switch kind {
	case event.KindPtrace:
		p.priv.Call, p.priv.Address = ptraceName(r.Num), r.Address
	case event.KindSignal:
		p.priv.Signal = int(r.Num)
	}
	return nil
}

func (d *Decoder) path(p *part, rec, rest []byte) error {
	if len(rest) == 0 { // seen at the call's exit: the path isn't known any more
		d.texts.Seal()
		return nil
	}
	r, _, err := record.View[privilegePrivPathRec](rec)
	if err != nil {
		return err
	}
	n := min(int(r.Len), len(r.Path))
	at := d.texts.AddPath(r.Path[:n], record.Status(r.Status))
	d.texts.Seal()
	p.priv.Path = event.Text(d.texts.Get(at))
	return nil
}

func (d *Decoder) named(kind event.Kind, p *part, rec []byte) error {
	r, _, err := record.View[privilegePrivNameRec](rec)
	if err != nil {
		return err
	}
	at := d.texts.Add(record.CString(r.Name[:]))
	d.texts.Seal()
	name := d.texts.Get(at)
	if kind == event.KindMemfdCreate {
		name = strings.TrimPrefix(name, "memfd:") // the kernel's own prefix
	}
	p.priv.Name = event.Text(name)
	return nil
}

func (d *Decoder) bpf(p *part, r *privilegePrivRec, rec []byte) error {
	b, _, err := record.View[privilegePrivBpfRec](rec)
	if err != nil {
		return err
	}
	var hexTag [2 * len(b.Tag)]byte
	hex.Encode(hexTag[:], b.Tag[:])
	name := d.texts.Add(record.CString(b.Name[:]))
	var tag record.Span
	if b.Tag != ([8]uint8{}) {
		tag = d.texts.Add(hexTag[:])
	}
	d.texts.Seal()
	p.priv.Name = event.Text(d.texts.Get(name))
	p.priv.BPFType, p.priv.BPFTag = bpfType(r.Num), d.texts.Get(tag)
	p.priv.Helpers = dangerous(&b.Helpers)
	return nil
}

func credentials(c *privilegeCreds) event.Creds {
	return event.Creds{UID: c.Uid, GID: c.Gid, EUID: c.Euid, EGID: c.Egid, SUID: c.Suid, SGID: c.Sgid,
		Effective: event.CapSet(c.Effective), Permitted: event.CapSet(c.Permitted),
		Inheritable: event.CapSet(c.Inheritable), Bounding: event.CapSet(c.Bounding),
		Ambient: event.CapSet(c.Ambient)}
}

var _ contract.Decoder = (*Decoder)(nil)
