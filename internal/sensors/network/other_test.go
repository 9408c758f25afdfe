package network

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// flowEvents waits for the first packet and the end of the flow.
func (h *harness) flowEvents(cookie uint64, rport uint16) (begin, end *event.Event) {
	h.t.Helper()
	for _, ended := range []bool{false, true} {
		match := func(ev *event.Event) bool {
			return ev.Kind == event.KindNetFlow && ev.Net.Cookie == cookie && ev.Net.RemotePort == rport && ev.Net.End == ended
		}
		ev := h.wait(fmt.Sprintf("flow of socket %d with port %d, ended %v", cookie, rport, ended), match)
		if n := len(h.all(match)); n != 1 {
			h.t.Errorf("%d events of flow %d, ended %v", n, cookie, ended)
		}
		begin, end = end, ev
	}
	return begin, end
}

// TestFlow sends datagrams over IPv4, IPv6 and mapped, from connected and
// unconnected sockets.
func TestFlow(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		family     string
		domain     int
		addr, told string
		mapped     bool
		connected  bool
	}{
		{"inet", unix.AF_INET, "127.0.0.1", "127.0.0.1", false, true},
		{"inet", unix.AF_INET, "127.0.0.1", "127.0.0.1", false, false},
		{"inet6", unix.AF_INET6, "::1", "::1", false, true},
		{"inet6", unix.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", true, false},
	} {
		v6 := c.domain == unix.AF_INET6
		server, client := socket(t, c.domain, unix.SOCK_DGRAM, 0), socket(t, c.domain, unix.SOCK_DGRAM, 0)
		if err := unix.Bind(server, sockaddr(netip.AddrPortFrom(netip.MustParseAddr(c.addr), 0), v6)); err != nil {
			t.Fatal(err)
		}
		sport := portOf(t, server)
		to := sockaddr(netip.AddrPortFrom(netip.MustParseAddr(c.addr), sport), v6)
		if c.connected {
			if err := unix.Connect(client, to); err != nil {
				t.Fatal(err)
			}
			to = nil
		}
		var from unix.Sockaddr
		for range 3 {
			if err := unix.Sendmsg(client, make([]byte, 100), nil, to, 0); err != nil {
				t.Fatal(err)
			}
			var err error
			if _, from, err = unix.Recvfrom(server, make([]byte, 200), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Sendto(server, make([]byte, 1200), 0, from); err != nil {
			t.Fatal(err)
		}
		if _, _, err := unix.Recvfrom(client, make([]byte, 2000), 0); err != nil {
			t.Fatal(err)
		}
		cport := portOf(t, client)
		cc, sc := cookieOf(t, client), cookieOf(t, server)
		_, _ = unix.Close(client), unix.Close(server)

		base := event.Net{Family: c.family, Type: "dgram", Protocol: "udp", NetNS: netNS(t), Mapped: c.mapped}
		out := event.Net{Direction: "out", LocalAddr: c.told, LocalPort: cport, RemoteAddr: c.told, RemotePort: sport}
		in := event.Net{Direction: "in", LocalAddr: c.told, LocalPort: sport, RemoteAddr: c.told, RemotePort: cport}
		cb, ce := h.flowEvents(cc, sport)
		sb, se := h.flowEvents(sc, cport)
		h.check(cb, base, out)
		h.check(sb, base, in)
		out.BytesOut, out.BytesIn, in.BytesIn, in.BytesOut = 300, 1200, 300, 1200
		h.check(ce, base, out)
		h.check(se, base, in)
		if ce.Net.PacketsOut != 3 || ce.Net.PacketsIn != 1 || se.Net.PacketsIn != 3 || se.Net.PacketsOut != 1 {
			t.Errorf("packets: %+v %+v", ce.Net, se.Net)
		}
		for _, ev := range []*event.Event{cb, ce, sb, se} {
			h.checkThread(ev)
		}
	}
}

// feed takes the records of Run.
type feed struct{ h *harness }

func (f feed) Put(rec []byte) bool   { f.h.add(NewDecoder(), rec); return true }
func (feed) Flush()                  {}
func (feed) Lost(_ uint16, _ uint64) {}

// TestFlowIdle talks to two peers with one socket, and waits for the silence.
func TestFlowIdle(t *testing.T) {
	h := start(t)
	fd := socket(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	cookie := cookieOf(t, fd)
	for port := 1001; port <= 1002; port++ {
		if err := unix.Sendto(fd, make([]byte, port), 0, onLoopback(port)); err != nil {
			t.Fatal(err)
		}
	}
	h.idle(time.Hour)
	h.sensor.sweep(feed{h})
	if n := len(h.all(func(ev *event.Event) bool { return ev.Net.End && ev.Net.Cookie == cookie })); n != 0 {
		t.Errorf("%d flows ended within the hour", n)
	}
	h.idle(time.Nanosecond)
	h.sensor.sweep(feed{h})
	for port := uint16(1001); port <= 1002; port++ {
		begin, end := h.flowEvents(cookie, port)
		if end.Net.BytesOut != uint64(port) || end.Net.PacketsOut != 1 || end.Boot < begin.Boot || end.Thread != begin.Thread {
			t.Errorf("%+v %+v", end, end.Net)
		}
	}
}

// TestRaw makes raw and packet sockets.
func TestRaw(t *testing.T) {
	h := start(t)
	hooks := h.sensor.hooks.by[FeatureRaw]
	traced := hooks[0] != networkProgNetRawCg
	for _, c := range []struct {
		family, typ, proto int
		want               event.Net
	}{
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, event.Net{Family: "inet", Type: "raw", Protocol: "icmp"}},
		{unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, event.Net{Family: "inet6", Type: "raw", Protocol: "58"}},
		{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_NONBLOCK, unix.IPPROTO_RAW, event.Net{Family: "inet", Type: "raw", Protocol: "255"}},
		{unix.AF_PACKET, unix.SOCK_RAW, 0x0300, event.Net{Family: "packet", Type: "raw", Protocol: "3"}},
		{unix.AF_PACKET, unix.SOCK_DGRAM, 0x0008, event.Net{Family: "packet", Type: "dgram", Protocol: "2048"}},
	} {
		if c.family == unix.AF_PACKET && len(hooks) == 1 && !traced {
			t.Log("packet sockets: not on this kernel")
			continue
		}
		if fd, err := unix.Socket(c.family, c.typ|unix.SOCK_CLOEXEC, c.proto); err == unix.EAFNOSUPPORT {
			t.Logf("%+v: no such sockets in this kernel", c.want)
			continue
		} else if err != nil {
			t.Fatal(err)
		} else {
			_ = unix.Close(fd)
		}
		match := func(ev *event.Event) bool {
			return ev.Kind == event.KindNetRaw && ev.Net.Family == c.want.Family && ev.Net.Type == c.want.Type && ev.Net.Protocol == c.want.Protocol
		}
		ev := h.wait(fmt.Sprintf("raw socket %+v", c.want), match)
		if n := len(h.all(match)); n != 1 {
			t.Errorf("%d events of %+v", n, c.want)
		}
		if c.family != unix.AF_PACKET {
			c.want.LocalAddr, c.want.RemoteAddr = ev.Net.LocalAddr, ev.Net.RemoteAddr
		}
		c.want.NoResult = c.family == unix.AF_PACKET && !traced
		h.check(ev, event.Net{Family: c.want.Family, Type: c.want.Type, Protocol: c.want.Protocol, NetNS: netNS(t)}, c.want)
		h.checkThread(ev)
	}
}

// TestUnix connects to unix sockets by name.
func TestUnix(t *testing.T) {
	h := start(t)
	asked := h.sensor.hooks.by[FeatureUnix][0] == networkProgNetUnixCg
	dir := t.TempDir()
	long := "./"
	t.Chdir(dir)
	for len(long) < 107 {
		long += "x"
	}
	for _, c := range []struct {
		typ        int
		name       string
		typ_, path string
	}{
		{unix.SOCK_STREAM, dir + "/s", "stream", dir + "/s"},
		{unix.SOCK_STREAM, "rel", "stream", "rel"},
		{unix.SOCK_STREAM, "@merlon-test", "stream", "@merlon-test"},
		{unix.SOCK_STREAM, "@a\x00b\xff\x1b[31m", "stream", "@a\x00b\xff\x1b[31m"},
		{unix.SOCK_SEQPACKET, dir + "/q", "seqpacket", dir + "/q"},
		{unix.SOCK_STREAM, long, "stream", long},
		{unix.SOCK_DGRAM, dir + "/d", "dgram", dir + "/d"},
		{unix.SOCK_STREAM, "/nothing/here", "stream", "/nothing/here"},
	} {
		if !asked && (c.typ == unix.SOCK_DGRAM || c.name == "/nothing/here") {
			t.Logf("%s: not on this kernel", c.name)
			continue
		}
		l, fd := socket(t, unix.AF_UNIX, c.typ, 0), socket(t, unix.AF_UNIX, c.typ, 0)
		addr := &unix.SockaddrUnix{Name: c.name}
		if c.name != "/nothing/here" {
			if err := unix.Bind(l, addr); err != nil {
				t.Fatalf("bind %q: %v", c.name, err)
			}
			if c.typ != unix.SOCK_DGRAM {
				if err := unix.Listen(l, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		cookie := cookieOf(t, fd)
		if err := unix.Connect(fd, addr); err != nil && err != unix.ENOENT {
			t.Fatalf("connect %q: %v", c.name, err)
		}
		ev := h.of(event.KindUnixConnect, cookie)
		want := event.Net{Family: "unix", Type: c.typ_, Direction: "out", Path: event.Text(c.path), Cookie: cookie, NetNS: netNS(t), NoResult: asked}
		if d := cmp.Diff(want, *ev.Net); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.name, d)
		}
		h.checkThread(ev)
	}
}

// TestSockaddrRace lets another thread rewrite the address all through
// connect(2): the event must tell where the socket really went.
func TestSockaddrRace(t *testing.T) {
	h := start(t)
	addr := netip.MustParseAddr("127.0.0.1")
	l1, at1 := listener(t, unix.AF_INET, addr, 0)
	l2, at2 := listener(t, unix.AF_INET, addr, 0)
	raw := newRawSockaddr(at1)
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !done.Load() {
			raw.port(at2.Port())
			raw.port(at1.Port())
		}
	}()
	went := map[uint16]int{}
	for range 200 {
		fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		cookie := cookieOf(t, fd)
		if err := raw.connect(fd); err != nil {
			t.Fatal(err)
		}
		peer := must(unix.Getpeername(fd))(t).(*unix.SockaddrInet4)
		went[uint16(peer.Port)]++
		a, _ := accept(t, map[int]int{int(at1.Port()): l1, int(at2.Port()): l2}[peer.Port])
		_, _ = unix.Close(a), unix.Close(fd)
		if ev := h.of(event.KindNetConnect, cookie); int(ev.Net.RemotePort) != peer.Port {
			t.Errorf("told port %d, went to %d", ev.Net.RemotePort, peer.Port)
		}
	}
	done.Store(true)
	<-ended
	if len(went) != 2 {
		t.Skipf("the race was not run: every connect went to %v", went)
	}
}

// TestNeeds attaches what is asked for, and sees nothing else.
func TestNeeds(t *testing.T) {
	h := open(t)
	isolate(t)
	h.attach(event.KindNetConnect)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	cookie := cookieOf(t, fd)
	if err := unix.Connect(fd, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	h.of(event.KindNetConnect, cookie)
	if found := h.all(func(ev *event.Event) bool {
		return ev.Kind != event.KindNetConnect && ev.Thread.PID == uint32(os.Getpid())
	}); len(found) != 0 {
		t.Errorf("%d events of kinds that nobody asked for: %s", len(found), found[0].Kind)
	}
	h.attach()
	if a := h.sensor.unit.Attached(); len(a) != 0 {
		t.Errorf("still attached: %v", a)
	}
	for _, kinds := range [][]event.Kind{{event.KindNetFlow}, {event.KindNetRaw}, {event.KindUnixConnect}, {event.KindNetBind}} {
		h.attach(kinds...)
		if d := cmp.Diff(h.sensor.hooks.programs(kinds), h.sensor.unit.Attached(), sortedStrings); d != "" {
			t.Errorf("%v (-want +got):\n%s", kinds, d)
		}
	}
}

// TestFlowsFull makes more flows than are followed: what is too much is counted
// as lost, what is followed ends, and then there is room again.
func TestFlowsFull(t *testing.T) {
	h := open(t)
	isolate(t)
	h.attach(event.KindNetFlow)
	fd := socket(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	cookie := cookieOf(t, fd)
	limit := int(h.sensor.unit.Map(networkMapNetFlows).MaxEntries())
	send := func(port int) {
		t.Helper()
		err := unix.Sendto(fd, []byte("x"), 0, onLoopback(port))
		for err == unix.ECONNREFUSED { // of an earlier one: nobody listens
			err = unix.Sendto(fd, []byte("x"), 0, onLoopback(port))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	lostNow := func() (n uint64) {
		for _, x := range must(h.k.Counts())(t)[uint16(networkEventKindKIND_NET_FLOW)].Lost {
			n += x
		}
		return n
	}
	const room = 100
	before := lostNow()
	send(1)
	h.fill(limit - room)
	for port := 2; port <= room+500; port++ {
		send(port)
	}
	mine := func(end bool) func(*event.Event) bool {
		return func(ev *event.Event) bool { return ev.Net.Cookie == cookie && ev.Net.End == end }
	}
	lost := lostNow() - before
	h.idle(time.Nanosecond)
	h.sensor.sweep(feed{h})
	send(limit + 1000)
	h.wait("flow after the sweep", func(ev *event.Event) bool { return int(ev.Net.RemotePort) == limit+1000 })
	begun, ended := len(h.all(mine(false))), len(h.all(mine(true)))
	if begun < room/2 || begun > room+1 || ended != begun-1 {
		t.Errorf("%d flows begun, %d ended; %d had room", begun, ended, room)
	}
	if lost < 500 {
		t.Errorf("%d lost, want 500 at least", lost)
	}
}

// fill copies the first flow that is followed until so many are.
func (h *harness) fill(flows int) {
	h.t.Helper()
	m := h.sensor.unit.Map(networkMapNetFlows)
	var key networkFlowKey
	var flow networkNetFlow
	if !m.Iterate().Next(&key, &flow) {
		h.t.Fatal("no flow is followed")
	}
	keys, values := make([]networkFlowKey, flows), make([]networkNetFlow, flows)
	for i := range keys {
		keys[i], values[i] = key, flow
		keys[i].Cookie = ^uint64(i) // no socket has come that far
		values[i].Head.Cookie = keys[i].Cookie
	}
	if n, err := m.BatchUpdate(keys, values, nil); err != nil || n != flows {
		h.t.Fatalf("%d of %d flows put: %v", n, flows, err)
	}
}
