package network

import (
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// TestSeed makes sockets before the sensor attaches: the listener is told of,
// and what happens to them later is tied to their process.
func TestSeed(t *testing.T) {
	h := open(t)
	isolate(t)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	old, udp := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0), socket(t, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err := unix.Connect(old, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	oldServer, _ := accept(t, l)
	lc, oc, uc := cookieOf(t, l), cookieOf(t, old), cookieOf(t, udp)

	h.attach(h.sensor.Info().Kinds...)
	base := event.Net{Family: "inet", Type: "stream", Protocol: "tcp", NetNS: netNS(t)}
	listen := h.of(event.KindNetListen, lc)
	h.check(listen, base, event.Net{LocalAddr: "127.0.0.1", LocalPort: at.Port(), Backlog: 7, Seeded: true})
	leader := func(ev *event.Event) { // files belong to a process: the iterator tells of its first thread
		t.Helper()
		if ev.Thread.PID != uint32(os.Getpid()) || ev.Thread.TID != ev.Thread.PID || ev.Thread.Start == 0 || ev.Thread.CgroupID != h.self().CgroupID {
			t.Errorf("%s by %+v", ev.Kind, ev.Thread)
		}
	}
	leader(listen)

	fresh := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Connect(fresh, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	server, _ := accept(t, l)
	accepted := h.accepted(cookieOf(t, server), at.Port(), portOf(t, fresh))
	h.check(accepted, base, event.Net{Direction: "in", LocalAddr: "127.0.0.1", LocalPort: at.Port(), RemoteAddr: "127.0.0.1", RemotePort: portOf(t, fresh)})
	if accepted.Thread.PID != uint32(os.Getpid()) || accepted.Thread.Start != listen.Thread.Start {
		t.Errorf("accept by %+v", accepted.Thread)
	}

	transfer(t, old, oldServer, 50)
	oport := portOf(t, old)
	_ = unix.Close(old)
	ended := h.of(event.KindNetClose, oc)
	h.check(ended, base, event.Net{LocalAddr: "127.0.0.1", LocalPort: oport, RemoteAddr: "127.0.0.1", RemotePort: at.Port(), BytesOut: 50, Seeded: true})
	leader(ended)

	if err := unix.Sendto(udp, make([]byte, 10), 0, onLoopback(1003)); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(udp)
	begin, end := h.flowEvents(uc, 1003)
	leader(begin)
	if !begin.Net.Seeded || !end.Net.Seeded || end.Net.BytesOut != 10 {
		t.Errorf("%+v %+v", begin.Net, end.Net)
	}
}

// TestAcceptor lets a child accept on an inherited listener: it is told as the
// one who accepts where accept(2) can be traced, elsewhere the one who listens.
func TestAcceptor(t *testing.T) {
	h := start(t)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	dup := must(unix.FcntlInt(uintptr(l), unix.F_DUPFD_CLOEXEC, 3))(t)
	f := os.NewFile(uintptr(dup), "listener")
	defer f.Close()
	child := exec.Command("/proc/self/exe")
	child.Env = []string{"MERLON_TEST_ROLE=accept"}
	child.ExtraFiles = []*os.File{f}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	port := portOf(t, fd)
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	ev := h.wait("accept", func(ev *event.Event) bool { return ev.Kind == event.KindNetAccept && ev.Net.RemotePort == port })
	want := child.Process.Pid
	if h.sensor.hooks.by[FeatureAccept][0] == networkProgNetState {
		want = os.Getpid()
	}
	if ev.Thread.PID != uint32(want) || ev.Thread.Start == 0 {
		t.Errorf("accepted by %+v, want pid %d", ev.Thread, want)
	}
}

// TestAcceptFromBefore lets a child wait in accept(2) when the sensor attaches:
// that accept is told once all the same.
func TestAcceptFromBefore(t *testing.T) {
	h := open(t)
	isolate(t)
	l, at := listener(t, unix.AF_INET, netip.MustParseAddr("127.0.0.1"), 0)
	f := os.NewFile(uintptr(must(unix.FcntlInt(uintptr(l), unix.F_DUPFD_CLOEXEC, 3))(t)), "listener")
	defer f.Close()
	child := exec.Command("/proc/self/exe")
	child.Env = []string{"MERLON_TEST_ROLE=accept"}
	child.ExtraFiles = []*os.File{f}
	out := must(child.StdoutPipe())(t)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it is about to
		t.Fatal(err)
	}
	h.attach(h.sensor.Info().Kinds...)
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := unix.Connect(fd, sockaddr(at, false)); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	port := portOf(t, fd)
	ofPort := func(kind event.Kind) func(*event.Event) bool {
		return func(ev *event.Event) bool { return ev.Kind == kind && ev.Net.RemotePort == port }
	}
	_ = unix.Close(fd)
	h.wait("close of the accepted connection", ofPort(event.KindNetClose))
	accepts := h.all(ofPort(event.KindNetAccept))
	if len(accepts) != 1 || accepts[0].Thread.PID == 0 || accepts[0].Net.LocalPort != at.Port() {
		t.Errorf("%d accepts told: %+v", len(accepts), accepts)
	}
}

// listenShared listens, says so, and accepts one connection after the other until
// stdin ends.
func listenShared(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = unix.Bind(fd, onLoopback(port))
	}
	if err == nil {
		err = unix.Listen(fd, 100)
	}
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("listening\n"); err != nil {
		return err
	}
	_, err = os.Stdin.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return err
}

// TestSharedPort lets two processes listen on one port: each connection is tied
// to the one whose socket took it.
func TestSharedPort(t *testing.T) {
	h := open(t)
	if h.sensor.hooks.by[FeatureAccept][0] != networkProgNetState {
		h = own(t)
		worst := *h.sensor.hooks // as where accept(2) can't be traced
		worst.by = maps.Clone(worst.by)
		worst.by[FeatureAccept] = []string{networkProgNetState}
		h.sensor.hooks = &worst
	}
	isolate(t)
	h.attach(h.sensor.Info().Kinds...)
	own := socket(t, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err := unix.SetsockoptInt(own, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(own, onLoopback(0)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(own, 100); err != nil {
		t.Fatal(err)
	}
	at := onLoopback(int(portOf(t, own)))
	child := exec.Command("/proc/self/exe", strconv.Itoa(at.Port))
	child.Env = []string{"MERLON_TEST_ROLE=listen"}
	in, out := must(child.StdinPipe())(t), must(child.StdoutPipe())(t)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	by := map[uint32]int{}
	for range 60 {
		fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err := unix.Connect(fd, at); err != nil {
			t.Fatal(err)
		}
		port := portOf(t, fd)
		want := uint32(child.Process.Pid)
		if server, _, err := unix.Accept4(own, unix.SOCK_CLOEXEC); err == nil {
			want = uint32(os.Getpid())
			_ = unix.Close(server)
		}
		ev := h.wait("accept", func(ev *event.Event) bool { return ev.Kind == event.KindNetAccept && ev.Net.RemotePort == port })
		if ev.Thread.PID != want {
			t.Errorf("accepted by %+v, want %d", ev.Thread, want)
		}
		by[ev.Thread.PID]++
		_ = unix.Close(fd)
	}
	_ = in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	if len(by) != 2 {
		t.Errorf("the kernel gave all connections to one listener: %v", by)
	}
}

// TestMain turns the test binary into the helpers that some tests run.
func TestMain(m *testing.M) {
	switch os.Getenv("MERLON_TEST_ROLE") {
	case "accept":
		_, _ = os.Stdout.WriteString(".") // for who waits for it
		fd, _, err := unix.Accept(3)
		if err != nil || fd < 0 {
			os.Exit(1)
		}
		os.Exit(0)
	case "listen": // on the port of 127.0.0.1 in argv, until stdin ends
		port, err := strconv.Atoi(os.Args[1])
		if err == nil {
			err = listenShared(port)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if shared != nil {
		if err := shared.close(); err != nil {
			_, _ = os.Stderr.WriteString("close shared sensor: " + err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}
