package dns

import (
	"bytes"
	"errors"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/ring"
)

// rawRecord is a record of a packet from 10.0.0.1:40000 to 10.0.0.2:53.
func rawRecord(flags dnsPacketFlag, seq uint32, payload []byte) []byte {
	r := dnsDnsRec{Sport: 40000, Dport: 53, Cookie: 7, Seq: seq, Len: uint32(len(payload)), Copied: uint16(len(payload)), Flags: uint16(flags)}
	copy(r.Saddr[:], []byte{10, 0, 0, 1})
	copy(r.Daddr[:], []byte{10, 0, 0, 2})
	r.Hdr.Kind, r.Hdr.Time = uint16(dnsEventKindKIND_DNS_PACKET), 5_000_000_000
	r.Actor.Pid, r.Actor.Tid, r.Actor.Start, r.Actor.Uid = 11, 12, 13, 14
	copy(r.Actor.Comm[:], []int8{'c', 'u', 'r', 'l'})
	b := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&r)), recSize))
	return append(b, payload...)
}

func query(t testing.TB, name string) []byte {
	b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	d := NewDecoder()
	rec := rawRecord(dnsPacketFlagDNS_OUT, 0, query(t, "a.test."))
	var ev event.Event
	if err := d.Decode(rec, &ev); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(event.Thread{PID: 11, TID: 12, Start: 13, UID: 14, Comm: "curl"}, ev.Thread); diff != "" {
		t.Error(diff)
	}
	if ev.DNS.Name != "a.test" || ev.DNS.LocalAddr != "10.0.0.1" || ev.DNS.RemotePort != 53 || ev.Boot != 5_000_000_000 || ev.Time.IsZero() {
		t.Errorf("%+v %+v", ev, ev.DNS)
	}
	for n := range rec {
		if err := d.Decode(rec[:n], &ev); err == nil {
			t.Fatalf("%d bytes of %d decoded", n, len(rec))
		}
	}
	rec[8]++
	if err := d.Decode(rec, &ev); err == nil {
		t.Error("a record of another kind decoded")
	}
}

// TestDecodeStream: the messages behind the first of a segment come back
// through the feed, as events of the same packet.
func TestDecodeStream(t *testing.T) {
	d := NewDecoder()
	rf := ring.NewFeed(1 << 20)
	var feed contract.Feed = rf
	d.feed.Store(&feed)
	all := framed(query(t, "one.test."), query(t, "two.test."), query(t, "three.test."))
	half := len(all) - 9
	var names []event.Text
	decode := func(rec []byte) error {
		var ev event.Event
		err := d.Decode(rec, &ev)
		if err == nil {
			names = append(names, ev.DNS.Name)
			if ev.Thread.PID != 11 || ev.DNS.Transport != "tcp" || ev.DNS.Malformed != "" || ev.DNS.Cut {
				t.Errorf("%+v of %+v", ev.DNS, ev.Thread)
			}
		}
		return err
	}
	const flags = dnsPacketFlagDNS_TCP | dnsPacketFlagDNS_OUT
	if err := decode(rawRecord(flags, 100, all[:5])); !errors.Is(err, contract.ErrPartial) {
		t.Fatalf("part of a message: %v", err)
	}
	for _, rec := range [][]byte{rawRecord(flags, 105, all[5:half]), rawRecord(flags, 100+uint32(half), all[half:])} {
		if err := decode(rec); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-rf.Batches():
			b.Each(func(rec []byte) {
				if err := decode(rec); err != nil {
					t.Error(err)
				}
			})
			b.Release()
		default:
		}
	}
	if diff := cmp.Diff([]event.Text{"one.test", "two.test", "three.test"}, names); diff != "" {
		t.Error(diff)
	}
	_ = decode(rawRecord(flags, 10000, []byte{0, 0, 0})) // a gap, then nonsense
	produced, lost := rf.Counts()
	if k := uint16(dnsEventKindKIND_DNS_PACKET); produced[k] != 3 || lost[k] != 2 {
		t.Errorf("the feed's books: %v produced, %v lost", produced, lost)
	}
}

func FuzzDecode(f *testing.F) {
	q := query(f, "a.test.")
	f.Add(rawRecord(dnsPacketFlagDNS_OUT, 0, q), rawRecord(0, 0, q))
	f.Add(rawRecord(dnsPacketFlagDNS_TCP, 0, framed(q)[:7]), rawRecord(dnsPacketFlagDNS_TCP, 7, append(framed(q)[7:], framed(q, q)...)))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		d := NewDecoder()
		var feed contract.Feed = ring.NewFeed(1 << 20)
		d.feed.Store(&feed)
		for _, rec := range [][]byte{bytes.Clone(one), bytes.Clone(two), bytes.Clone(one)} {
			var ev event.Event
			if err := d.Decode(rec, &ev); err == nil && (ev.Kind != event.KindDNS || ev.DNS == nil) {
				t.Fatal("decoded into no event")
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	q := new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA)
	m := new(dns.Msg).SetReply(q)
	m.Compress = true
	m.Answer = append(m.Answer, rr("www.example.test. 1 IN CNAME edge.example.test."), rr("edge.example.test. 1 IN A 192.0.2.1"))
	answer, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	for name, rec := range map[string][]byte{
		"query":  rawRecord(dnsPacketFlagDNS_OUT, 0, query(b, "www.example.test.")),
		"answer": rawRecord(0, 0, answer),
	} {
		b.Run(name, func(b *testing.B) {
			d := NewDecoder()
			b.ReportAllocs()
			for b.Loop() {
				var ev event.Event
				if err := d.Decode(rec, &ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
