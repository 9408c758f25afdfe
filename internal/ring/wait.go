package ring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits until one of the rings has a record or its context ends.
//
// The epoll instance that watches the rings is itself watched by Go's network
// poller (a nested epoll, epoll(7)). A goroutine that blocked in epoll_wait
// instead would hold its P for milliseconds, while the runtime's monitor looks
// at it every 20 µs: measured, that cost ten times as much as the reading.
type poller struct {
	file   *os.File
	bell   int // an eventfd: ring wakes wait
	conn   syscall.RawConn
	look   func(fd uintptr) bool // ready, bound once
	events [4]unix.EpollEvent
	err    error
}

func newPoller(fds ...int) (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil { // os.NewFile looks at it
		_ = unix.Close(ep)
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &poller{file: os.NewFile(uintptr(ep), "rings"), bell: bell}
	p.look = p.ready
	if p.conn, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails when it can't be polled
	}
	for _, fd := range append(fds, bell) {
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err == nil {
			err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &e)
		}
	}
	if err != nil {
		_ = p.close()
		return nil, fmt.Errorf("watch rings: %w", err)
	}
	return p, nil
}

// wakeOn wakes wait when ctx ends, for good. The function it returns undoes
// that unless it has happened.
func (p *poller) wakeOn(ctx context.Context) func() {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = p.file.SetReadDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-woken
		}
	}
}

// wait blocks until a producer has woken us since the last wait, for at most d
// (a context that ends just then is noticed after d). It reports whether one
// has; it may return early.
func (p *poller) wait(ctx context.Context, d time.Duration) (woken bool, err error) {
	p.err = nil
	if err := p.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false, fmt.Errorf("wait for records: %w", err)
	}
	if ctx.Err() != nil {
		return false, nil
	}
	err = p.conn.Read(p.look)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("wait for records: %w", err)
	case p.err != nil:
		return false, fmt.Errorf("wait for records: %w", p.err)
	}
	return true, nil
}

func (p *poller) ready(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), p.events[:], 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		p.err = err
	}
	return n > 0 || err != nil
}

// ring makes the wait under way, or the next, return. Any goroutine may call
// it, until close.
func (p *poller) ring() {
	one := [8]byte{7: 1} // any number but 0 does
	_, _ = unix.Write(p.bell, one[:])
}

// silence forgets the calls of ring so far.
func (p *poller) silence() {
	var n [8]byte
	_, _ = unix.Read(p.bell, n[:])
}

func (p *poller) close() error { return errors.Join(p.file.Close(), unix.Close(p.bell)) }
