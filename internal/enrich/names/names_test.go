package names

import (
	"fmt"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

const second = uint64(time.Second)

var _ contract.Enricher = (*Enricher)(nil)

func process(pid uint32, container string) *event.Process {
	p := &event.Process{PID: pid, Start: uint64(pid)}
	if container != "" {
		p.Container = &event.Container{ID: container}
	}
	return p
}

func answer(at uint64, p *event.Process, name event.Text, records ...event.DNSRecord) *event.Event {
	return &event.Event{Boot: at, Kind: event.KindDNS, Process: p, DNS: &event.DNS{Response: true, Code: "NOERROR",
		Direction: "in", RemotePort: 53, Name: name, Answers: records}}
}

func a(name, addr event.Text, ttl uint32) event.DNSRecord {
	return event.DNSRecord{Name: name, Type: "A", TTL: ttl, Data: addr}
}

func domain(e *Enricher, at uint64, p *event.Process, addr string) string {
	ev := &event.Event{Boot: at, Kind: event.KindNetConnect, Process: p, Net: &event.Net{RemoteAddr: addr, Direction: "out"}}
	e.Enrich(ev)
	return ev.Net.Domain
}

func TestChain(t *testing.T) {
	e := New(Options{})
	p := process(7, "")
	e.Enrich(answer(second, p, "www.a.test",
		event.DNSRecord{Name: "edge.b.test", Type: "CNAME", TTL: 1, Data: "node.c.test"}, // before the one that leads to it
		event.DNSRecord{Name: "www.a.test", Type: "CNAME", TTL: 1, Data: "edge.b.test"},
		a("node.c.test", "192.0.2.1", 300), a("other.test", "192.0.2.9", 300),
		event.DNSRecord{Name: "node.c.test", Type: "AAAA", TTL: 300, Data: "2001:db8::1"}))
	for addr, want := range map[string]string{"192.0.2.1": "www.a.test", "2001:db8::1": "www.a.test", "192.0.2.9": "", "192.0.2.2": ""} {
		if got := domain(e, 2*second, p, addr); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	loop := answer(second, p, "x.test", event.DNSRecord{Name: "x.test", Type: "CNAME", Data: "y.test"},
		event.DNSRecord{Name: "y.test", Type: "CNAME", Data: "x.test"}, a("y.test", "192.0.2.3", 1))
	e.Enrich(loop)
	if got := domain(e, 2*second, p, "192.0.2.3"); got != "x.test" {
		t.Errorf("after a loop of aliases: %q", got)
	}
}

func TestTime(t *testing.T) {
	e := New(Options{})
	p := process(7, "")
	e.Enrich(answer(second, p, "short.test", a("short.test", "192.0.2.1", 0)))
	e.Enrich(answer(second, p, "long.test", a("long.test", "192.0.2.2", 1<<31)))
	day := uint64(24*60*60) * second
	for _, c := range []struct {
		at   uint64
		addr string
		want string
	}{
		{second / 2, "192.0.2.1", ""}, // before the answer
		{60 * second, "192.0.2.1", "short.test"}, {62 * second, "192.0.2.1", ""},
		{day, "192.0.2.2", "long.test"}, {day + 2*second, "192.0.2.2", ""},
	} {
		if got := domain(e, c.at, p, c.addr); got != c.want {
			t.Errorf("%s at %d s: %q, want %q", c.addr, c.at/second, got, c.want)
		}
	}
	// A connection's end shows the name it was made for.
	ev := &event.Event{Boot: 1000 * second, Kind: event.KindNetClose, Process: p,
		Net: &event.Net{RemoteAddr: "192.0.2.1", Direction: "out", Duration: 990 * time.Second}}
	if e.Enrich(ev); ev.Net.Domain != "short.test" {
		t.Errorf("the end of a connection: %q", ev.Net.Domain)
	}
}

func TestPreference(t *testing.T) {
	e := New(Options{})
	addr := event.Text("192.0.2.1")
	mine, sibling, other := process(1, "c1"), process(2, "c1"), process(3, "c2")
	e.Enrich(answer(second, mine, "mine.test", a("mine.test", addr, 100)))
	e.Enrich(answer(2*second, sibling, "sibling.test", a("sibling.test", addr, 200)))
	e.Enrich(answer(3*second, other, "other.test", a("other.test", addr, 300)))
	e.Enrich(answer(4*second, nil, "nobody.test", a("nobody.test", addr, 400)))
	for _, c := range []struct {
		p    *event.Process
		want string
	}{{mine, "mine.test"}, {process(9, "c1"), "sibling.test"}, {other, "other.test"}, {process(8, "c9"), "nobody.test"}, {nil, "nobody.test"}} {
		if got := domain(e, 5*second, c.p, string(addr)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}

// TestNotLearnt: what is no answer of a server to somebody here teaches nothing.
func TestNotLearnt(t *testing.T) {
	for what, change := range map[string]func(*event.DNS){
		"a query":       func(d *event.DNS) { d.Response = false },
		"an error":      func(d *event.DNS) { d.Code = "SERVFAIL" },
		"sent":          func(d *event.DNS) { d.Direction = "out" },
		"another port":  func(d *event.DNS) { d.RemotePort = 54 },
		"a broken data": func(d *event.DNS) { d.Answers[0].Data = "3 bytes" },
	} {
		e := New(Options{})
		ev := answer(second, process(1, ""), "x.test", a("x.test", "192.0.2.1", 100))
		change(ev.DNS)
		e.Enrich(ev)
		if n, _ := e.Size(); n != 0 {
			t.Errorf("%s was learnt from", what)
		}
	}
	e := New(Options{})
	e.Enrich(answer(second, nil, "", a("printer.local", "192.0.2.1", 100)))
	if got := domain(e, second, nil, "192.0.2.1"); got != "printer.local" {
		t.Errorf("a multicast answer: %q", got)
	}
	in := &event.Event{Boot: second, Kind: event.KindNetConnect, Net: &event.Net{RemoteAddr: "192.0.2.1", Direction: "in"}}
	if e.Enrich(in); in.Net.Domain != "" {
		t.Errorf("the peer of an accepted connection: %q", in.Net.Domain)
	}
}

// TestBounds fills it ten times over and checks its inner order.
func TestBounds(t *testing.T) {
	const limit = 100
	e := New(Options{Limit: limit})
	for i := range 10 * limit {
		addr := event.Text(fmt.Sprintf("192.0.2.%d", i%77))
		name := event.Text(fmt.Sprintf("n%d.test", i))
		e.Enrich(answer(second, process(uint32(i%5+1), ""), name, a(name, addr, 100)))
		domain(e, second, nil, "192.0.2.1") // keeps one in use
		n := 0
		for _, x := range e.byAddr {
			for ; x != nil; x = x.older {
				n++
			}
		}
		ring := 0
		for x := e.used.next; x != &e.used; x = x.next {
			ring++
		}
		if size, _ := e.Size(); n != size || ring != size || size > limit {
			t.Fatalf("after %d: size %d, %d by address, %d in order", i+1, size, n, ring)
		}
	}
	for i := range 10 * sameAddress {
		name := event.Text(fmt.Sprintf("m%d.test", i))
		e.Enrich(answer(second, nil, name, a(name, "198.51.100.1", 100)))
	}
	n := 0
	for x := e.byAddr["198.51.100.1"]; x != nil; x = x.older {
		n++
	}
	if n != sameAddress {
		t.Errorf("%d names of one address", n)
	}
}

func BenchmarkLearn(b *testing.B) {
	e := New(Options{})
	p := process(1, "")
	evs := make([]*event.Event, 1000)
	for i := range evs {
		evs[i] = answer(second, p, "x.test", a("x.test", event.Text(fmt.Sprintf("10.0.%d.%d", i/256, i%256)), 100))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Enrich(evs[i%len(evs)])
	}
}

func BenchmarkFind(b *testing.B) {
	e := New(Options{})
	p := process(1, "")
	e.Enrich(answer(second, p, "x.test", a("x.test", "192.0.2.1", 100)))
	ev := &event.Event{Boot: 2 * second, Kind: event.KindNetConnect, Process: p, Net: &event.Net{RemoteAddr: "192.0.2.1"}}
	b.ReportAllocs()
	for b.Loop() {
		ev.Net.Domain = ""
		e.Enrich(ev)
	}
}
