package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// onLoopback is a port of 127.0.0.1.
func onLoopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// sockets are those of a canary.
type sockets []int

func (s *sockets) open(family, typ, proto int) (int, error) {
	fd, err := unix.Socket(family, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, fmt.Errorf("make canary socket: %w", err)
	}
	*s = append(*s, fd)
	return fd, nil
}

func (s *sockets) close() {
	for _, fd := range *s {
		_ = unix.Close(fd) // nothing buffered
	}
	*s = nil
}

// listen makes a listener on loopback and returns its port.
func (s *sockets) listen() (fd, port int, err error) {
	if fd, err = s.open(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return -1, 0, err
	}
	if port, err = bindLoopback(fd); err == nil {
		err = unix.Listen(fd, 1)
	}
	return fd, port, err
}

// bindLoopback binds fd to a free port of loopback.
func bindLoopback(fd int) (port int, err error) {
	if err := unix.Bind(fd, onLoopback(0)); err != nil {
		return 0, fmt.Errorf("bind canary socket: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("read canary socket: %w", err)
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return 0, errors.New("read canary socket: not IPv4")
	}
	return in.Port, nil
}

// await waits for a record that decodes into an event that matches.
func await(ctx context.Context, p *kernel.Probe, kind networkEventKind, match func(*event.Event) bool) error {
	d := NewDecoder()
	return p.Await(ctx, uint16(kind), func(rec []byte) bool {
		var ev event.Event
		return d.Decode(rec, &ev) == nil && match(&ev)
	})
}

// connection makes a connection over loopback, accepted.
func (s *sockets) connection() (port int, err error) {
	l, port, err := s.listen()
	if err != nil {
		return 0, err
	}
	c, err := s.open(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(c, onLoopback(port)); err != nil {
		return 0, fmt.Errorf("connect canary socket: %w", err)
	}
	a, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("accept canary socket: %w", err)
	}
	*s = append(*s, a)
	return port, nil
}

func canaryTCP(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	port, err := s.connection()
	if err != nil {
		return err
	}
	s.close()
	if err := await(ctx, p, networkEventKindKIND_NET_LISTEN, func(ev *event.Event) bool { return int(ev.Net.LocalPort) == port && ev.Thread.Start != 0 }); err != nil {
		return err
	}
	if err := await(ctx, p, networkEventKindKIND_NET_CONNECT, func(ev *event.Event) bool { return int(ev.Net.RemotePort) == port && ev.Thread.Start != 0 }); err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_CLOSE, func(ev *event.Event) bool { return int(ev.Net.RemotePort) == port && ev.Thread.Start != 0 })
}

func canaryAccept(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	port, err := s.connection()
	if err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_ACCEPT, func(ev *event.Event) bool { return int(ev.Net.LocalPort) == port && ev.Thread.Start != 0 })
}

// canaryTry connects to where TCP does not go.
func canaryTry(ctx context.Context, p *kernel.Probe) error { return tryNowhere(ctx, p, 0) }

// canaryTryResult wants the error too.
func canaryTryResult(ctx context.Context, p *kernel.Probe) error {
	return tryNowhere(ctx, p, -int(unix.ENETUNREACH))
}

func tryNowhere(ctx context.Context, p *kernel.Probe, result int) error {
	var s sockets
	defer s.close()
	fd, err := s.open(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	// A broadcast address: TCP refuses it before it sends (ENETUNREACH).
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{255, 255, 255, 255}}); err == nil {
		return errors.New("connect canary socket: it connected to a broadcast address")
	}
	s.close()
	return await(ctx, p, networkEventKindKIND_NET_CONNECT, func(ev *event.Event) bool {
		return ev.Net.RemoteAddr == "255.255.255.255" && ev.Net.Result == result && ev.Net.NoResult == (result == 0) && ev.Thread.Start != 0
	})
}

func canaryBind(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	fd, err := s.open(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	port, err := bindLoopback(fd)
	if err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_BIND, func(ev *event.Event) bool { return int(ev.Net.LocalPort) == port && ev.Thread.Start != 0 })
}

// canaryFlow sends a datagram to itself.
func canaryFlow(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	fd, err := s.open(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	port, err := bindLoopback(fd)
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, []byte("canary"), 0, onLoopback(port)); err != nil {
		return fmt.Errorf("send canary: %w", err)
	}
	s.close()
	return await(ctx, p, networkEventKindKIND_NET_FLOW, func(ev *event.Event) bool {
		return int(ev.Net.LocalPort) == port && ev.Net.End && ev.Thread.Start != 0
	})
}

func canaryRaw(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	if _, err := s.open(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_RAW, func(ev *event.Event) bool { return ev.Net.Family == "inet" && ev.Thread.Start != 0 })
}

func canaryPacket(ctx context.Context, p *kernel.Probe) error {
	if err := canaryRaw(ctx, p); err != nil {
		return err
	}
	var s sockets
	defer s.close()
	if _, err := s.open(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_RAW, func(ev *event.Event) bool { return ev.Net.Family == "packet" && ev.Thread.Start != 0 })
}

func canaryUnix(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	l, err := s.open(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	c, err := s.open(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("@merlon-canary-%d", os.Getpid())
	addr := &unix.SockaddrUnix{Name: name}
	if err := errors.Join(unix.Bind(l, addr), unix.Listen(l, 1), unix.Connect(c, addr)); err != nil {
		return fmt.Errorf("connect canary socket: %w", err)
	}
	return await(ctx, p, networkEventKindKIND_UNIX_CONNECT, func(ev *event.Event) bool { return string(ev.Net.Path) == name })
}

// canarySeed wants a listener found among the open files.
func canarySeed(ctx context.Context, p *kernel.Probe) error {
	var s sockets
	defer s.close()
	_, port, err := s.listen()
	if err != nil {
		return err
	}
	if err := seed(ctx, p.Unit()); err != nil {
		return err
	}
	return await(ctx, p, networkEventKindKIND_NET_LISTEN, func(ev *event.Event) bool {
		return int(ev.Net.LocalPort) == port && ev.Net.Seeded && ev.Thread.Start != 0
	})
}
