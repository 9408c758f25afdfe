package dns

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	proto "github.com/merlon/merlon/internal/proto/dns"
	"github.com/merlon/merlon/internal/record"
)

// remembered bounds the texts of addresses and threads that are kept to be
// shared between events.
const remembered = 1024

// Decoder turns the records of dns.bpf.c into events. One goroutine uses it.
type Decoder struct {
	clock   kernel.Clock
	parser  proto.Parser
	streams streams
	parts   []event.DNS // allocated, not used yet
	addrs   map[netip.Addr]string
	comms   map[[16]int8]string
	again   []byte // a record made of a message that was not the first of its segment
	feed    atomic.Pointer[contract.Feed]
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{addrs: make(map[netip.Addr]string), comms: make(map[[16]int8]string), streams: newStreams()}
}

// Decode implements contract.Decoder. A segment of a stream that ends no
// message gives ErrPartial; of one that ends several, the first is the event
// and the others come back as records through the Feed that Run was given.
func (d *Decoder) Decode(rec []byte, ev *event.Event) error {
	r, rest, err := record.View[dnsDnsRec](rec)
	if err != nil {
		return err
	}
	if k := dnsEventKind(r.Hdr.Kind); k != dnsEventKindKIND_DNS_PACKET {
		return fmt.Errorf("decode record: unknown kind %d", k)
	}
	if int(r.Copied) > len(rest) || uint32(r.Copied) > r.Len || r.Len > maxMessage && r.Flags&uint16(dnsPacketFlagDNS_TCP) == 0 {
		return record.ErrShort
	}
	payload := rest[:r.Copied]
	const stream = uint16(dnsPacketFlagDNS_TCP)
	if r.Flags&(stream|uint16(dnsPacketFlagDNS_MESSAGE)) != stream {
		d.event(rec, r, payload, int(r.Len), ev)
		return nil
	}
	found, more := false, false
	missed := d.streams.add(flowKey{r.Cookie, r.Flags&uint16(dnsPacketFlagDNS_OUT) != 0}, r.Seq, payload, r.Len, func(msg []byte, size int) {
		if !found {
			found = true
			d.event(rec, r, msg, size, ev)
			return
		}
		d.putAgain(rec, r, msg, size)
		more = true
	})
	if feed := d.feed.Load(); feed != nil {
		if missed > 0 {
			(*feed).Lost(uint16(dnsEventKindKIND_DNS_PACKET), uint64(missed))
		}
		if more {
			(*feed).Flush()
		}
	}
	if !found {
		return contract.ErrPartial
	}
	return nil
}

// event fills ev from one message.
func (d *Decoder) event(rec []byte, r *dnsDnsRec, msg []byte, size int, ev *event.Event) {
	if len(d.parts) == 0 {
		d.parts = make([]event.DNS, 16)
	}
	out := &d.parts[0]
	d.parts = d.parts[1:]
	ev.Boot, ev.CPU, ev.Time = r.Hdr.Time, r.Hdr.Cpu, d.clock.Wall(r.Hdr.Time)
	ev.Kind, ev.DNS = event.KindDNS, out
	if r.Actor.Pid != 0 {
		if a, _, err := record.View[kernel.Actor](rec[actorAt:]); err == nil {
			ev.Thread = a.Thread(d.comm(a))
		}
	}
	local, remote := &r.Daddr, &r.Saddr
	out.LocalPort, out.RemotePort, out.Direction = r.Dport, r.Sport, "in"
	if r.Flags&uint16(dnsPacketFlagDNS_OUT) != 0 {
		local, remote = remote, local
		out.LocalPort, out.RemotePort, out.Direction = r.Sport, r.Dport, "out"
	}
	v6 := r.Flags&uint16(dnsPacketFlagDNS_IPV6) != 0
	out.LocalAddr, out.RemoteAddr = d.addr(local, v6), d.addr(remote, v6)
	out.Transport = "udp"
	if r.Flags&uint16(dnsPacketFlagDNS_TCP) != 0 {
		out.Transport = "tcp"
	}
	if out.Flavour = proto.Flavour(r.Dport); out.Flavour == "" {
		out.Flavour = proto.Flavour(r.Sport)
	}
	d.parser.Parse(msg, size, out)
}

// putAgain sends a message back to the pipeline as a record of its own.
func (d *Decoder) putAgain(rec []byte, r *dnsDnsRec, msg []byte, size int) {
	feed := d.feed.Load()
	if feed == nil {
		return
	}
	d.again = append(append(d.again[:0], rec[:recSize]...), msg...)
	if again, _, err := record.View[dnsDnsRec](d.again); err == nil {
		again.Flags |= uint16(dnsPacketFlagDNS_MESSAGE)
		again.Len, again.Copied = uint32(size), uint16(len(msg))
	}
	(*feed).Put(d.again)
}

func (d *Decoder) addr(b *[16]uint8, v6 bool) string {
	a := netip.AddrFrom4([4]byte(b[:4]))
	if v6 {
		a = netip.AddrFrom16(*b)
	}
	s, ok := d.addrs[a]
	if !ok {
		if len(d.addrs) >= remembered {
			clear(d.addrs)
		}
		s = a.String()
		d.addrs[a] = s
	}
	return s
}

func (d *Decoder) comm(a *kernel.Actor) string {
	s, ok := d.comms[a.Comm]
	if !ok {
		if len(d.comms) >= remembered {
			clear(d.comms)
		}
		s = string(a.Name())
		d.comms[a.Comm] = s
	}
	return s
}

var _ contract.Decoder = (*Decoder)(nil)
