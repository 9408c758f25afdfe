package dns

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/merlon/merlon/internal/event"
)

const server = "127.77.0.1:53"

func TestProbe(t *testing.T) {
	s := New(openKernel(t), Options{Log: slog.New(slog.DiscardHandler)})
	for _, f := range s.Probe(context.Background()) {
		switch {
		case f.Guarantee == event.Observe:
		case f.Name == FeatureOwner && strings.HasPrefix(s.k.Environment().Release, "5.10."):
			t.Logf("%s: not on this kernel: %s", f.Name, f.Why)
		default:
			t.Errorf("feature %q: %s %+v", f.Name, f.Why, f.Tried)
		}
	}
}

// TestEarlier: sockets that were open before the sensor have their process.
func TestEarlier(t *testing.T) {
	asker, err := net.Dial("udp4", server) // nobody sees it any more when the sensor comes
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // the iterator does not find the sockets below those of MPTCP
	serveWith(t, &plain, server, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetReply(q)) })
	h := start(t)
	if !h.sensor.seeds {
		t.Skip("no iterator over open files on this kernel: earlier sockets stay unknown")
	}
	if _, err := asker.Write(query(t, "earlier.merlon.test.")); err != nil {
		t.Fatal(err)
	}
	for _, direction := range []string{"out", "in"} {
		if ev := h.of("earlier.merlon.test", direction, false); ev.Thread.PID != uint32(os.Getpid()) || ev.Thread.Start == 0 {
			t.Errorf("%s: %+v", direction, ev.Thread)
		}
	}
	exchange(t, "tcp", server, new(dns.Msg).SetQuestion("listener.merlon.test.", dns.TypeA))
	if ev := h.of("listener.merlon.test", "in", false); ev.Thread.PID != uint32(os.Getpid()) {
		t.Errorf("at an earlier listener: %+v", ev.Thread)
	}
}

// TestResolver lets a Go program ask a server of ours and compares both sides
// of the query and of the answer.
func TestResolver(t *testing.T) {
	h := start(t)
	serve(t, server, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr("www.merlon.test. 300 IN CNAME edge.merlon.test."), rr("edge.merlon.test. 60 IN A 192.0.2.7"))
		}
		_ = w.WriteMsg(m)
	})
	pid := child(t, "lookup", server, "www.merlon.test")
	isA := func(ev *event.Event) bool { return ev.DNS.Type == "A" }
	query := h.of("www.merlon.test", "out", false, isA)
	want := &event.DNS{ID: query.DNS.ID, Name: "www.merlon.test", Type: "A", Recursion: true, EDNSSize: 1232,
		Transport: "udp", Direction: "out", Flavour: "dns", LocalAddr: "127.0.0.1", LocalPort: query.DNS.LocalPort,
		RemoteAddr: "127.77.0.1", RemotePort: 53, Size: query.DNS.Size}
	if d := cmp.Diff(want, query.DNS); d != "" {
		t.Errorf("query (-want +got):\n%s", d)
	}
	answer := h.of("www.merlon.test", "in", true, isA)
	want.Response, want.Code, want.Direction, want.EDNSSize, want.Size = true, "NOERROR", "in", 0, answer.DNS.Size
	want.Answers = []event.DNSRecord{
		{Name: "www.merlon.test", Type: "CNAME", TTL: 300, Data: "edge.merlon.test"},
		{Name: "edge.merlon.test", Type: "A", TTL: 60, Data: "192.0.2.7"}}
	if d := cmp.Diff(want, answer.DNS); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
	for _, ev := range []*event.Event{query, answer} {
		th := event.Thread{PID: uint32(pid), Comm: "exe", CgroupID: ev.Thread.CgroupID}
		if d := cmp.Diff(th, ev.Thread, cmpopts.IgnoreFields(event.Thread{}, "TID", "Start", "Comm")); d != "" {
			t.Errorf("asking thread (-want +got):\n%s", d)
		}
		if ev.Thread.Start == 0 || ev.Thread.TID == 0 || ev.Thread.Comm == "" || ev.Boot <= ev.Thread.Start || ev.Kind != event.KindDNS {
			t.Errorf("%+v of %+v", ev, ev.Thread)
		}
	}
	// The server's side of the same two messages.
	swap := func(d *event.DNS, direction string) *event.DNS {
		c := *d
		c.Direction = direction
		c.LocalAddr, c.RemoteAddr, c.LocalPort, c.RemotePort = d.RemoteAddr, d.LocalAddr, d.RemotePort, d.LocalPort
		return &c
	}
	heard, told := h.of("www.merlon.test", "in", false, isA), h.of("www.merlon.test", "out", true, isA)
	if d := cmp.Diff(swap(query.DNS, "in"), heard.DNS); d != "" {
		t.Errorf("query at the server (-want +got):\n%s", d)
	}
	if d := cmp.Diff(swap(answer.DNS, "out"), told.DNS); d != "" {
		t.Errorf("answer at the server (-want +got):\n%s", d)
	}
	for _, ev := range []*event.Event{heard, told} {
		if ev.Thread.PID != uint32(os.Getpid()) || ev.Thread.Start == 0 {
			t.Errorf("server's thread %+v, want process %d", ev.Thread, os.Getpid())
		}
	}
}
