package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// inNetNS runs f on a thread that is alone in a new network namespace with the
// loopback interface up, then returns the thread to its own namespace. The new
// one, and all in it, goes with the last reference.
func inNetNS(f func() (string, error)) (stage string, err error) {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return stageCanary, fmt.Errorf("open own network namespace: %w", err)
	}
	defer own.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return stageCanary, fmt.Errorf("make a network namespace: %w", err)
	}
	defer func() {
		if e := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); e != nil {
			// The goroutine keeps the thread, which ends with it.
			err = errors.Join(err, fmt.Errorf("return to own network namespace: %w", e))
			return
		}
		runtime.UnlockOSThread()
	}()
	if err := setUp("lo"); err != nil {
		return stageCanary, err
	}
	return f()
}

// setUp brings an interface up.
func setUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing buffered
	req, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func ifindex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing buffered
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return int(req.Uint32()), nil
}

// wire is a way for datagrams from one interface to another.
type wire struct {
	in       int // index of the interface where they arrive
	tx, rx   int
	to       *unix.SockaddrInet4
	deadline time.Duration
}

// newWire makes sockets that send out of one interface, to the address, and
// receive on another, and waits until a datagram gets through.
func newWire(from, to string, addr [4]byte) (*wire, error) {
	w := &wire{tx: -1, rx: -1, to: &unix.SockaddrInet4{Port: 9, Addr: addr}, deadline: time.Second}
	var err error
	if w.in, err = ifindex(to); err != nil {
		return nil, err
	}
	if w.rx, err = udpOn(to); err == nil {
		err = unix.Bind(w.rx, &unix.SockaddrInet4{Port: 9})
	}
	if err == nil {
		w.tx, err = udpOn(from)
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("open canary sockets: %w", err)
	}
	for end := time.Now().Add(w.deadline); time.Now().Before(end); {
		w.send()
		if w.receives(2 * time.Millisecond) {
			w.drain()
			return w, nil
		}
	}
	w.close()
	return nil, fmt.Errorf("send over %s: nothing arrives even without a program", from)
}

func udpOn(device string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err == nil {
		err = unix.BindToDevice(fd, device)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (w *wire) close() {
	for _, fd := range []int{w.tx, w.rx} {
		if fd >= 0 {
			_ = unix.Close(fd) // nothing buffered
		}
	}
}

// send sends one datagram. An interface that is not ready yet refuses: the
// caller tries again.
func (w *wire) send() { _ = unix.Sendto(w.tx, []byte("canary"), 0, w.to) }

func (w *wire) receives(wait time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(w.rx), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	return err == nil && n > 0
}

func (w *wire) drain() {
	var b [16]byte
	for w.receives(0) {
		if _, _, err := unix.Recvfrom(w.rx, b[:], 0); err != nil {
			return
		}
	}
}

// wantDropped sends until the program has seen a datagram, and wants none to
// arrive from then on.
func (w *wire) wantDropped(u *Unit) error {
	for end := time.Now().Add(w.deadline); ; {
		w.send()
		if n, err := hits(u); err != nil {
			return err
		} else if n > 0 {
			break
		}
		if time.Now().After(end) {
			return &canaryError{cause: "it attached, but packets don't pass it"}
		}
		w.receives(time.Millisecond)
	}
	w.drain()
	w.send()
	if w.receives(5 * time.Millisecond) {
		return &canaryError{cause: "it saw a packet and dropped it, yet the packet arrived"}
	}
	return nil
}
