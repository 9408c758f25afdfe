package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func fanotifyExec(ctx context.Context, l *lab) (string, error) {
	return l.denyAll(unix.FAN_OPEN_EXEC_PERM, func() error {
		end, err := l.exec(ctx)
		if err != nil {
			return err
		}
		return l.wantDenied(end.err(), false)
	})
}

func fanotifyOpen(_ context.Context, l *lab) (string, error) {
	return l.denyAll(unix.FAN_OPEN_PERM, func() error { return l.wantDenied(l.target.open(), false) })
}

// denyAll marks the target's inode, and no more, and refuses every access that
// the mark reports while the canary runs (fanotify(7)).
func (l *lab) denyAll(mask uint64, canary func() error) (stage string, err error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return stageLoad, l.k.explain("start fanotify", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, mask, unix.AT_FDCWD, l.target.path); err != nil {
		return stageAttach, errors.Join(l.k.explain("mark a file", err), unix.Close(fd))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return stageCanary, errors.Join(err, unix.Close(fd))
	}
	defer r.Close()
	answered := make(chan error, 1)
	go func() { answered <- answer(fd, int(r.Fd())) }()
	err = canary()
	err = errors.Join(err, w.Close(), <-answered)
	if err != nil {
		return stageCanary, fmt.Errorf("canary of fanotify: %w", err)
	}
	return "", nil
}

// answer refuses what fd asks until the other end of the pipe stop is closed.
// It closes fd, which lets whoever still waits pass.
func answer(fd, stop int) (err error) {
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for fanotify: %w", err)
		}
		if fds[1].Revents != 0 {
			return nil
		}
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read fanotify: %w", err)
		}
		if err := refuse(fd, buf[:n]); err != nil {
			return err
		}
	}
}

// refuse answers each permission event in b.
func refuse(fd int, b []byte) error {
	size := int(unsafe.Sizeof(unix.FanotifyEventMetadata{}))
	for len(b) >= size {
		var m unix.FanotifyEventMetadata
		if err := binary.Read(bytes.NewReader(b), binary.NativeEndian, &m); err != nil {
			return fmt.Errorf("read fanotify: %w", err)
		}
		if int(m.Event_len) < size || int(m.Event_len) > len(b) {
			return errors.New("read fanotify: impossible length")
		}
		b = b[m.Event_len:]
		if m.Fd < 0 {
			continue
		}
		var resp [8]byte
		binary.NativeEndian.PutUint32(resp[:], uint32(m.Fd))
		binary.NativeEndian.PutUint32(resp[4:], unix.FAN_DENY)
		_, err := unix.Write(fd, resp[:])
		if err = errors.Join(err, unix.Close(int(m.Fd))); err != nil {
			return fmt.Errorf("answer fanotify: %w", err)
		}
	}
	return nil
}
