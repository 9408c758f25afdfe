package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupConnect denies every connect in a temporary cgroup, where a child
// tries two.
func cgroupConnect(ctx context.Context, l *lab) (stage string, err error) {
	root := l.k.env.CgroupPath
	if root == "" {
		return stageAttach, &Error{Op: "attach", Cause: "no cgroup2 hierarchy is mounted", Cure: "mount -t cgroup2 none DIR", Err: os.ErrNotExist}
	}
	dir, err := os.MkdirTemp(root, fmt.Sprintf("%s%d-", canaryName, os.Getpid()))
	if err != nil {
		return stageAttach, fmt.Errorf("make a cgroup: %w", err)
	}
	defer func() { err = errors.Join(err, removeCgroup(dir)) }()
	group, err := os.Open(dir)
	if err != nil {
		return stageAttach, fmt.Errorf("open a cgroup: %w", err)
	}
	defer group.Close()
	// Without IPv6 there is nothing to deny.
	bare, err := l.run(ctx, group, "6")
	if err != nil {
		return stageCanary, err
	}
	families, progs := []string{"4"}, []string{"c_connect4"}
	if bare.errno != unix.EAFNOSUPPORT {
		families, progs = append(families, "6"), append(progs, "c_connect6")
	}
	return l.try("cgroup", progs, l.knobs(0), func(*Unit) error {
		for _, family := range families {
			end, err := l.run(ctx, group, family)
			if err != nil {
				return err
			}
			if err := l.wantDenied(end.err(), false); err != nil {
				return err
			}
		}
		return nil
	}, Target{Cgroup: dir})
}

// removeCgroup waits for the last child's traces to go.
func removeCgroup(dir string) error {
	var err error
	for range 100 {
		if err = os.Remove(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Base(dir), err)
	}
	return nil
}

// connectDiscard connects a UDP socket to 127.0.0.1, port 9, which sends
// nothing. Without a route (loopback down) it ends otherwise than by EPERM.
func connectDiscard() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing buffered
	return unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
}

// tcpPair is a connection over loopback.
type tcpPair struct {
	listener, client, server int
	sport, dport             uint16
}

func newTCPPair() (*tcpPair, error) {
	p := &tcpPair{listener: -1, client: -1, server: -1}
	err := p.open()
	if err != nil {
		p.close()
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	return p, nil
}

func (p *tcpPair) open() (err error) {
	const flags = unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if p.listener, err = unix.Socket(unix.AF_INET, flags, 0); err != nil {
		return err
	}
	if err := unix.Bind(p.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(p.listener, 1); err != nil {
		return err
	}
	if p.dport, err = localPort(p.listener); err != nil {
		return err
	}
	if p.client, err = unix.Socket(unix.AF_INET, flags, 0); err != nil {
		return err
	}
	if err := unix.Connect(p.client, &unix.SockaddrInet4{Port: int(p.dport), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if p.sport, err = localPort(p.client); err != nil {
		return err
	}
	p.server, _, err = unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
	return err
}

func (p *tcpPair) close() {
	for _, fd := range []int{p.client, p.server, p.listener} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing buffered
		}
	}
}

func localPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return 0, errors.New("read socket name: not IPv4")
	}
	return uint16(in.Port), nil
}

// wantEnded wants both ends of the connection dead.
func (p *tcpPair) wantEnded() error {
	for _, fd := range []int{p.client, p.server} {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); err != nil || n == 0 {
			return &canaryError{cause: "it ran, but the connection lives"}
		}
	}
	return nil
}

// sockDestroy ends one connection with the bpf_sock_destroy kfunc, from an
// iterator over the TCP sockets of a namespace of our own.
func sockDestroy(_ context.Context, l *lab) (string, error) {
	return inNetNS(func() (string, error) {
		p, err := newTCPPair()
		if err != nil {
			return stageCanary, err
		}
		defer p.close()
		knobs := map[string]any{canaryVarCanaryPort: p.sport}
		return l.try("sock_destroy", []string{"c_destroy"}, knobs, func(u *Unit) error {
			return errors.Join(drain(u, "c_destroy"), p.wantEnded())
		})
	})
}

func inetDiagDestroy(_ context.Context, l *lab) (string, error) {
	return inNetNS(func() (string, error) {
		p, err := newTCPPair()
		if err != nil {
			return stageCanary, err
		}
		defer p.close()
		err = diagDestroy(p.sport, p.dport)
		if errors.Is(err, unix.ENOENT) {
			return stageAttach, &Error{Op: "destroy a socket", Cause: "the modules inet_diag and tcp_diag are not there", Cure: "modprobe tcp_diag", Err: err}
		}
		if err != nil {
			return stageAttach, fmt.Errorf("destroy a socket by sock_diag: %w", err)
		}
		if err := p.wantEnded(); err != nil {
			return stageCanary, err
		}
		return "", nil
	})
}

// xdpNative runs the canary on a veth pair, the only device with native XDP that
// can be had without hardware.
func xdpNative(_ context.Context, l *lab) (string, error) {
	return inNetNS(func() (string, error) {
		if err := addVeth("merlon0", "merlon1"); err != nil {
			return stageCanary, &Error{Op: "make a veth pair", Cause: "no veth device can be had to prove it on: " + plain(err),
				Cure: "modprobe veth; a network card whose driver supports XDP may work all the same", Err: err}
		}
		if err := errors.Join(setUp("merlon0"), setUp("merlon1")); err != nil {
			return stageCanary, err
		}
		w, err := newWire("merlon0", "merlon1", [4]byte{255, 255, 255, 255})
		if err != nil {
			return stageCanary, err
		}
		defer w.close()
		return l.try("xdp native", []string{"c_xdp"}, l.knobs(0), w.wantDropped, Target{Interface: w.in, Mode: "native"})
	})
}

// onLoopback runs the canary of a program that drops packets of lo.
func (l *lab) onLoopback(name, prog string, target Target, attach func(w *wire, u *Unit) error) (string, error) {
	return inNetNS(func() (string, error) {
		w, err := newWire("lo", "lo", [4]byte{127, 0, 0, 1})
		if err != nil {
			return stageCanary, err
		}
		defer w.close()
		target.Interface = w.in
		var refused error
		stage, err := l.try(name, []string{prog}, l.knobs(0), func(u *Unit) error {
			if attach != nil {
				if refused = attach(w, u); refused != nil {
					return refused
				}
			}
			return w.wantDropped(u)
		}, target)
		if refused != nil {
			stage = stageAttach
		}
		return stage, err
	})
}

func xdpGeneric(_ context.Context, l *lab) (string, error) {
	return l.onLoopback("xdp generic", "c_xdp", Target{Mode: "generic"}, nil)
}

func tcxFilter(_ context.Context, l *lab) (string, error) {
	return l.onLoopback("tcx", "c_tcx", Target{}, nil)
}

func classicFilter(_ context.Context, l *lab) (string, error) {
	return l.onLoopback("tc", "c_tc", Target{}, func(w *wire, u *Unit) error {
		err := addClassicFilter(w.in, u.Program("c_tc").FD())
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return &Error{Op: "attach tc", Cause: "the modules sch_ingress and cls_bpf are not there: " + plain(err), Cure: "modprobe sch_ingress cls_bpf", Err: err}
		}
		return err
	})
}

func netfilterFilter(_ context.Context, l *lab) (string, error) {
	return l.onLoopback("netfilter", "c_netfilter", Target{Family: unix.NFPROTO_IPV4, Hook: unix.NF_INET_LOCAL_IN}, nil)
}
