package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// Decoder turns the records of network.bpf.c into events. It allocates what
// the events keep and nothing else. One goroutine uses it.
type Decoder struct {
	clock kernel.Clock
	texts record.Texts
	nets  []event.Net // allocated, not used yet
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{} }

// Decode implements contract.Decoder.
func (d *Decoder) Decode(rec []byte, ev *event.Event) error {
	hdr, _, err := record.View[networkEventHdr](rec)
	if err != nil {
		return err
	}
	actor, _, err := record.View[kernel.Actor](rec[unsafe.Sizeof(*hdr):])
	if err != nil {
		return err
	}
	ev.Boot, ev.Time, ev.CPU = hdr.Time, d.clock.Wall(hdr.Time), hdr.Cpu
	kind := kindOf(hdr.Kind)
	switch {
	case kind == "":
		return fmt.Errorf("decode record: unknown kind %d", hdr.Kind)
	case kind == event.KindUnixConnect:
		err = d.unix(rec, actor, ev)
	case kind == event.KindNetClose, hdr.Flags&uint16(networkNetFlagNET_END) != 0:
		err = d.end(rec, actor, ev)
	default:
		var r *networkNetRec
		if r, _, err = record.View[networkNetRec](rec); err == nil {
			d.net(r, actor, ev)
		}
	}
	ev.Kind = kind
	return err
}

// end decodes what ends a connection or a flow.
func (d *Decoder) end(rec []byte, actor *kernel.Actor, ev *event.Event) error {
	r, _, err := record.View[networkNetEndRec](rec)
	if err != nil {
		return err
	}
	n := d.net(&r.Net, actor, ev)
	n.BytesIn, n.BytesOut, n.PacketsIn, n.PacketsOut = r.BytesIn, r.BytesOut, r.PacketsIn, r.PacketsOut
	n.Retrans, n.RTT = r.Retrans, time.Duration(r.RttUs)*time.Microsecond
	n.End = true
	return nil
}

// net fills the event from the part that all records about IP and packet
// sockets begin with.
func (d *Decoder) net(r *networkNetRec, actor *kernel.Actor, ev *event.Event) *event.Net {
	n := d.alloc()
	ev.Net = n
	flags := networkNetFlag(r.Hdr.Flags)
	n.Family, n.Type, n.Protocol = kernel.Family(r.Family), kernel.SocketType(r.Type), protocol(r.Protocol)
	n.Cookie, n.NetNS, n.Result, n.Backlog = r.Cookie, r.Netns, int(r.Result), r.Value
	n.LocalPort, n.RemotePort = r.Lport, r.Rport
	n.Duration = time.Duration(r.Duration)
	n.NoResult = flags&networkNetFlagNET_NO_RESULT != 0
	n.Seeded = flags&networkNetFlagNET_SEEDED != 0
	switch {
	case flags&networkNetFlagNET_IN != 0:
		n.Direction = "in"
	case flags&networkNetFlagNET_OUT != 0:
		n.Direction = "out"
	}
	if flags&networkNetFlagNET_MPTCP != 0 {
		n.Protocol = "mptcp"
	}
	d.texts.Reset()
	comm := d.texts.Add(actor.Name())
	var local, remote record.Span
	if r.Family == unix.AF_INET || r.Family == unix.AF_INET6 {
		la, ra := address(r.Family, &r.Laddr), address(r.Family, &r.Raddr)
		n.Mapped = r.Family == unix.AF_INET6 && (la.Is4() || ra.Is4())
		local = d.address(la)
		if r.Rport != 0 || !ra.IsUnspecified() {
			remote = d.address(ra)
		}
	}
	d.texts.Seal()
	n.LocalAddr, n.RemoteAddr = d.texts.Get(local), d.texts.Get(remote)
	ev.Thread = actor.Thread(d.texts.Get(comm))
	return n
}

func (d *Decoder) unix(rec []byte, actor *kernel.Actor, ev *event.Event) error {
	r, _, err := record.View[networkUnixRec](rec)
	if err != nil {
		return err
	}
	name := r.Path[:min(int(r.Len), len(r.Path))]
	n := d.alloc()
	ev.Net = n
	n.Family, n.Type, n.Direction = "unix", kernel.SocketType(r.Type), "out"
	n.Cookie, n.NetNS, n.Result = r.Cookie, r.Netns, int(r.Result)
	n.NoResult = networkNetFlag(r.Hdr.Flags)&networkNetFlagNET_NO_RESULT != 0
	d.texts.Reset()
	comm := d.texts.Add(actor.Name())
	path := d.texts.Add(nil)
	if len(name) > 0 && name[0] == 0 {
		path = d.texts.Add([]byte{'@'})
		path.To = d.texts.Add(name[1:]).To
	} else {
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		path = d.texts.Add(name)
	}
	d.texts.Seal()
	n.Path = event.Text(d.texts.Get(path))
	ev.Thread = actor.Thread(d.texts.Get(comm))
	return nil
}

// alloc returns an empty Net, of a block of them.
func (d *Decoder) alloc() *event.Net {
	if len(d.nets) == 0 {
		d.nets = make([]event.Net, 16)
	}
	n := &d.nets[0]
	d.nets = d.nets[1:]
	return n
}

// address reads one, an IPv4 address mapped into IPv6 as IPv4.
func address(family uint16, a *[16]byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(*a).Unmap()
}

func (d *Decoder) address(a netip.Addr) record.Span {
	var b [48]byte
	return d.texts.Add(a.AppendTo(b[:0]))
}

func protocol(p uint16) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_MPTCP:
		return "mptcp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

var _ contract.Decoder = (*Decoder)(nil)
