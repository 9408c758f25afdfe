package ring

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// poller waits until one of the rings has a record or its context ends.
type poller struct {
	epoll, event int
	events       [4]unix.EpollEvent
}

func newPoller(fds ...int) (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	p := &poller{epoll: ep, event: ev}
	for _, fd := range append(fds, ev) {
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
			_ = p.close()
			return nil, fmt.Errorf("watch ring: %w", err)
		}
	}
	return p, nil
}

// wakeOn wakes wait when ctx ends. The function it returns undoes that; no
// write to the eventfd happens after it has returned.
func (p *poller) wakeOn(ctx context.Context) func() {
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(written)
		_, _ = unix.Write(p.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	return func() {
		if !stop() {
			<-written
		}
	}
}

// wait blocks until a producer has woken us since the last wait. It may
// return early.
func (p *poller) wait() error {
	_, err := unix.EpollWait(p.epoll, p.events[:], -1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for records: %w", err)
	}
	return nil
}

func (p *poller) close() error {
	err := unix.Close(p.event)
	if e := unix.Close(p.epoll); err == nil {
		err = e
	}
	return err
}
