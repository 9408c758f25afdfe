package network

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// socket makes one that ends with the test, unless closed before.
func socket(t testing.TB, family, typ, proto int) int {
	t.Helper()
	fd := must(unix.Socket(family, typ|unix.SOCK_CLOEXEC, proto))(t)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func sockaddr(a netip.AddrPort, v6 bool) unix.Sockaddr {
	if v6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// portOf returns the local port of a socket.
func portOf(t testing.TB, fd int) uint16 {
	t.Helper()
	switch sa := must(unix.Getsockname(fd))(t).(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	t.Fatal("no port")
	return 0
}

// listener listens on a free port of addr.
func listener(t testing.TB, family int, addr netip.Addr, proto int) (fd int, at netip.AddrPort) {
	t.Helper()
	fd = socket(t, family, unix.SOCK_STREAM, proto)
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(addr, 0), family == unix.AF_INET6)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 7); err != nil {
		t.Fatal(err)
	}
	return fd, netip.AddrPortFrom(addr, portOf(t, fd))
}

// check compares what an event says of its socket with want, whose address
// family and numbers all events of the socket share.
func (h *harness) check(ev *event.Event, base, want event.Net) {
	h.t.Helper()
	want.Family, want.Type, want.Protocol, want.NetNS, want.Mapped = base.Family, base.Type, base.Protocol, base.NetNS, base.Mapped
	want.Cookie = ev.Net.Cookie // it was found by that
	got := *ev.Net
	if got.End {
		if got.RTT <= 0 && got.Protocol == "tcp" || got.Duration < 0 || got.PacketsIn == 0 || got.PacketsOut == 0 && got.Protocol == "tcp" {
			h.t.Errorf("%s: %+v", ev.Kind, got)
		}
		want.End, want.RTT, want.Duration, want.PacketsIn, want.PacketsOut = true, got.RTT, got.Duration, got.PacketsIn, got.PacketsOut
	}
	if ev.Kind == event.KindNetConnect && !tried(&got) {
		if got.Duration <= 0 {
			h.t.Errorf("%s: no duration: %+v", ev.Kind, got)
		}
		want.Duration = got.Duration
	}
	if d := cmp.Diff(want, got); d != "" {
		h.t.Errorf("%s (-want +got):\n%s", ev.Kind, d)
	}
}

// tried tells that no SYN was sent.
func tried(n *event.Net) bool { return n.NoResult || n.Result == -int(unix.ENETUNREACH) }

// TestTCP makes a whole connection over IPv4, IPv6 and IPv4 mapped into IPv6,
// and compares every field of every event.
func TestTCP(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		name, family string
		domain       int
		addr, told   string
		mapped       bool
	}{
		{"v4", "inet", unix.AF_INET, "127.0.0.1", "127.0.0.1", false},
		{"v6", "inet6", unix.AF_INET6, "::1", "::1", false},
		{"mapped", "inet6", unix.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", true},
	} {
		t.Log(c.name)
		base := event.Net{Family: c.family, Type: "stream", Protocol: "tcp", NetNS: netNS(t), Mapped: c.mapped}
		l, at := listener(t, c.domain, netip.MustParseAddr(c.addr), 0)
		client := socket(t, c.domain, unix.SOCK_STREAM, 0)
		if err := unix.Connect(client, sockaddr(at, c.domain == unix.AF_INET6)); err != nil {
			t.Fatal(err)
		}
		server, _ := accept(t, l)
		lc, cc, sc := cookieOf(t, l), cookieOf(t, client), cookieOf(t, server)
		cport := portOf(t, client)
		transfer(t, client, server, 1000)
		transfer(t, server, client, 333)
		_ = unix.Close(client)
		drainFIN(t, server)
		_ = unix.Close(server)

		bind, listen := h.of(event.KindNetBind, lc), h.of(event.KindNetListen, lc)
		h.check(bind, base, event.Net{LocalAddr: c.told, LocalPort: at.Port()})
		h.check(listen, base, event.Net{LocalAddr: c.told, LocalPort: at.Port(), Backlog: 7})
		out := event.Net{LocalAddr: c.told, LocalPort: cport, RemoteAddr: c.told, RemotePort: at.Port(), Direction: "out"}
		in := event.Net{LocalAddr: c.told, LocalPort: at.Port(), RemoteAddr: c.told, RemotePort: cport, Direction: "in"}
		connect, accepted := h.of(event.KindNetConnect, cc), h.accepted(sc, at.Port(), cport)
		h.check(connect, base, out)
		h.check(accepted, base, in)
		out.BytesOut, out.BytesIn, in.BytesIn, in.BytesOut = 1000, 333, 1000, 333
		cclose, sclose := h.of(event.KindNetClose, cc), h.of(event.KindNetClose, sc)
		h.check(cclose, base, out)
		h.check(sclose, base, in)
		for _, ev := range []*event.Event{bind, listen, connect, accepted, cclose, sclose} {
			h.checkThread(ev)
		}
	}
}

// accepted returns the accept of that socket. Linux before 5.12 does not number
// it in time: there it is found by its ports.
func (h *harness) accepted(cookie uint64, lport, rport uint16) *event.Event {
	h.t.Helper()
	if h.sensor.hooks.cookies {
		return h.of(event.KindNetAccept, cookie)
	}
	return h.wait("accept", func(ev *event.Event) bool {
		return ev.Kind == event.KindNetAccept && ev.Net.LocalPort == lport && ev.Net.RemotePort == rport
	})
}

func accept(t testing.TB, l int) (fd int, from unix.Sockaddr) {
	t.Helper()
	fd, from, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, from
}

func transfer(t testing.TB, from, to, n int) {
	t.Helper()
	if _, err := unix.Write(from, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, n); n > 0; {
		got, err := unix.Read(to, b)
		if err != nil || got == 0 {
			t.Fatalf("read: %d, %v", got, err)
		}
		n -= got
	}
}

// drainFIN reads up to the peer's end.
func drainFIN(t testing.TB, fd int) {
	t.Helper()
	if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		t.Fatalf("read at the end: %d, %v", n, err)
	}
}

// TestRefused connects to where nobody listens, waiting and not.
func TestRefused(t *testing.T) {
	h := start(t)
	for _, nonblock := range []bool{false, true} {
		closed := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err := unix.Bind(closed, onLoopback(0)); err != nil {
			t.Fatal(err)
		}
		fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err := unix.SetNonblock(fd, nonblock); err != nil {
			t.Fatal(err)
		}
		cookie := cookieOf(t, fd)
		err := unix.Connect(fd, onLoopback(int(portOf(t, closed))))
		if nonblock && err == unix.EINPROGRESS {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			_ = must(unix.Poll(fds, 5000))(t)
			n := must(unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR))(t)
			err = unix.Errno(n)
		}
		if err != unix.ECONNREFUSED {
			t.Fatalf("connect: %v", err)
		}
		_ = unix.Close(fd)
		ev := h.of(event.KindNetConnect, cookie)
		h.check(ev, event.Net{Family: "inet", Type: "stream", Protocol: "tcp", NetNS: netNS(t)}, event.Net{
			Direction: "out", LocalAddr: "127.0.0.1", LocalPort: ev.Net.LocalPort, RemoteAddr: "127.0.0.1",
			RemotePort: portOf(t, closed), Result: -int(unix.ECONNREFUSED)})
		if ev.Net.LocalPort == 0 {
			t.Error("no local port")
		}
		h.checkThread(ev)
	}
}

// TestNonBlocking connects without waiting: told once, when it is known.
func TestNonBlocking(t *testing.T) {
	h := start(t)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	cookie := cookieOf(t, fd)
	if err := unix.Connect(fd, sockaddr(at, false)); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v", err)
	}
	accept(t, l)
	if err := unix.Connect(fd, sockaddr(at, false)); err != nil {
		t.Fatalf("connect again: %v", err)
	}
	if err := unix.Connect(fd, sockaddr(at, false)); err != unix.EISCONN {
		t.Fatalf("connect once more: %v", err)
	}
	_ = unix.Close(fd)
	h.of(event.KindNetClose, cookie)
	if ev := h.of(event.KindNetConnect, cookie); ev.Net.Result != 0 || ev.Net.NoResult {
		t.Errorf("%+v", ev.Net)
	}
}

// TestTimeout connects to a listener whose queue is full: SYNs are dropped.
func TestTimeout(t *testing.T) {
	h := start(t)
	l := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Bind(l, onLoopback(0)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 0); err != nil {
		t.Fatal(err)
	}
	at := onLoopback(int(portOf(t, l)))
	var cookie uint64
	for range 4 { // the queue holds one or two
		fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
			t.Fatal(err)
		}
		cookie = cookieOf(t, fd)
		before := time.Now()
		if err := unix.Connect(fd, at); err == unix.ETIMEDOUT {
			took := time.Since(before)
			ev := h.of(event.KindNetConnect, cookie)
			if ev.Net.Result != -int(unix.ETIMEDOUT) || ev.Net.NoResult {
				t.Errorf("%+v", ev.Net)
			}
			// The SYN was sent again after a second: TCP_TIMEOUT_INIT in include/net/tcp.h.
			if d := ev.Net.Duration; d < time.Second || d > took {
				t.Errorf("SYN to timeout told as %v, connect(2) took %v", d, took)
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no connect timed out")
}

// TestNoRoute connects where no SYN can go: told when the socket ends, or tries
// something else.
func TestNoRoute(t *testing.T) {
	h := start(t)
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	cookie := cookieOf(t, fd)
	for _, last := range []byte{1, 2} {
		err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, last}, Port: 80})
		if err != unix.ENETUNREACH {
			t.Fatalf("connect: %v", err)
		}
	}
	_ = unix.Close(fd)
	fd6 := socket(t, unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err := unix.Connect(fd6, &unix.SockaddrInet6{Addr: netip.MustParseAddr("2001:db8::3").As16(), Port: 81}); err != unix.ENETUNREACH {
		t.Fatalf("connect: %v", err)
	}
	_ = unix.Close(fd6)
	for _, want := range []string{"192.0.2.1:80", "192.0.2.2:80", "[2001:db8::3]:81"} {
		ap := netip.MustParseAddrPort(want)
		ev := h.wait("connect to "+want, func(ev *event.Event) bool {
			return ev.Kind == event.KindNetConnect && ev.Net.RemoteAddr == ap.Addr().String()
		})
		local, family := "0.0.0.0", "inet"
		if ap.Addr().Is6() {
			local, family = "::", "inet6"
		}
		result := 0
		if slices.Contains(h.sensor.hooks.by[FeatureTry], networkProgNetTriedFx) {
			result = -int(unix.ENETUNREACH)
		}
		h.check(ev, event.Net{Family: family, Type: "stream", Protocol: "tcp", NetNS: netNS(t)}, event.Net{
			Direction: "out", LocalAddr: local, RemoteAddr: ap.Addr().String(), RemotePort: ap.Port(), Result: result, NoResult: result == 0})
		h.checkThread(ev)
		if ap.Addr().Is4() && ev.Net.Cookie != cookie {
			t.Errorf("socket %d, want %d", ev.Net.Cookie, cookie)
		}
	}
	if n := len(h.all(func(ev *event.Event) bool { return ev.Kind == event.KindNetConnect })); n != 3 {
		t.Errorf("%d connects told, want 3", n)
	}
}

// TestMPTCP listens and connects with MPTCP and without, in all four ways.
func TestMPTCP(t *testing.T) {
	h := start(t)
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP); err != nil {
		t.Skipf("no MPTCP in this kernel or namespace: %v", err)
	} else {
		_ = unix.Close(fd)
	}
	for _, protos := range [][2]int{{0, unix.IPPROTO_MPTCP}, {unix.IPPROTO_MPTCP, 0}, {unix.IPPROTO_MPTCP, unix.IPPROTO_MPTCP}} {
		l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), protos[0])
		client := socket(t, unix.AF_INET, unix.SOCK_STREAM, protos[1])
		if err := unix.Connect(client, sockaddr(at, false)); err != nil {
			t.Fatal(err)
		}
		server, _ := accept(t, l)
		transfer(t, client, server, 100)
		cport := portOf(t, client)
		_ = unix.Close(client)
		drainFIN(t, server)
		_ = unix.Close(server)
		for _, c := range []struct {
			kind         event.Kind
			lport, rport uint16
			proto        int
		}{
			{event.KindNetListen, at.Port(), 0, protos[0]},
			{event.KindNetConnect, cport, at.Port(), protos[1]},
			{event.KindNetAccept, at.Port(), cport, -1},
			{event.KindNetClose, cport, at.Port(), -1},
			{event.KindNetClose, at.Port(), cport, -1},
		} {
			match := func(ev *event.Event) bool {
				return ev.Kind == c.kind && ev.Net.LocalPort == c.lport && ev.Net.RemotePort == c.rport
			}
			ev := h.wait(fmt.Sprintf("%s by %v", c.kind, protos), match)
			if n := len(h.all(match)); n != 1 {
				t.Errorf("%v: %d events %s", protos, n, c.kind)
			}
			if want := map[int]string{0: "tcp", unix.IPPROTO_MPTCP: "mptcp", -1: ev.Net.Protocol}[c.proto]; ev.Net.Protocol != want {
				t.Errorf("%v: %s protocol %s, want %s", protos, c.kind, ev.Net.Protocol, want)
			}
			if ev.Thread.PID != h.self().PID || ev.Thread.Start == 0 {
				t.Errorf("%v: %s by %+v", protos, c.kind, ev.Thread)
			}
		}
	}
	if n := len(h.all(func(ev *event.Event) bool { return ev.Kind == event.KindNetConnect })); n != 3 {
		t.Errorf("%d connects told, want 3", n)
	}
}

// TestReset ends a connection by a reset: the other end is told with the error.
func TestReset(t *testing.T) {
	h := start(t)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	client := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Connect(client, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	server, _ := accept(t, l)
	cc, sc := cookieOf(t, client), cookieOf(t, server)
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(client)
	if ev := h.of(event.KindNetClose, cc); ev.Net.Result != 0 || ev.Net.Direction != "out" {
		t.Errorf("who resets: %+v", ev.Net)
	}
	if ev := h.of(event.KindNetClose, sc); ev.Net.Result != -int(unix.ECONNRESET) || ev.Net.Direction != "in" {
		t.Errorf("who is reset: %+v", ev.Net)
	}
}

// TestGivenUp closes a socket whose connect has no answer yet.
func TestGivenUp(t *testing.T) {
	h := start(t)
	l := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Bind(l, onLoopback(0)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 0); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the queue holds one or two
		fd := socket(t, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		cookie := cookieOf(t, fd)
		if err := unix.Connect(fd, onLoopback(int(portOf(t, l)))); err != unix.EINPROGRESS {
			t.Fatalf("connect: %v", err)
		}
		_, err := unix.Getpeername(fd)
		connected := err == nil
		_ = unix.Close(fd)
		ev := h.of(event.KindNetConnect, cookie)
		switch {
		case ev.Net.Result == -int(unix.EINPROGRESS) && !connected:
			return
		case ev.Net.Result != 0:
			t.Fatalf("connected %v: result %d", connected, ev.Net.Result)
		}
	}
	t.Fatal("every connect was answered")
}
