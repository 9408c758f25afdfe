package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

const (
	refreshEvery = 5 * time.Second // watched paths are looked up again
	noteBuffer   = 64 << 10        // bytes read from fanotify at once
	noteBuffers  = 128             // such buffers that may wait
	hurryAt      = noteBuffers / 2 // from here on files are not looked at
)

// Run implements contract.Source: it reads the fanotify group, follows the
// mounts, and looks watched paths up again.
func (s *Sensor) Run(ctx context.Context, feed contract.Feed) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		for tick := time.NewTicker(refreshEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			if err := s.refresh(); err != nil {
				s.log.Warn("watched paths can't be looked up", "err", err)
			}
			s.notes.refresh()
		}
	})
	s.notes.mu.Lock()
	opened := s.notes.opened
	s.notes.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil
	case <-opened:
	}
	return s.notes.run(ctx, feed)
}

// refresh marks the directories of watched files: also those that came to be
// since. Two at a time may do so: the second finds all marked.
func (n *notifier) refresh() {
	n.mu.Lock()
	paths, mounts := n.watched, n.mounts
	n.mu.Unlock()
	want := n.directories(paths, mounts)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd >= 0 && slices.Equal(paths, n.watched) {
		n.markWatched(want)
	}
}

// run reads until ctx ends. Three goroutines: one takes notifications out of
// the kernel's queue as fast as it can, one makes records of them, and one
// follows the mounts.
func (n *notifier) run(ctx context.Context, feed contract.Feed) error {
	stopR, stopW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("read fanotify: %w", err)
	}
	defer stopR.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	n.mu.Lock()
	fd := n.fd
	n.cancel, n.ended = cancel, ended
	n.mu.Unlock()
	if fd < 0 {
		return stopW.Close() // closed before it began
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	full, free := make(chan []byte, noteBuffers), make(chan []byte, noteBuffers)
	wg.Go(func() {
		defer close(full)
		defer cancel()
		errs[0] = read(fd, int(stopR.Fd()), full, free)
	})
	wg.Go(func() {
		t := newTeller(n.paths)
		for b := range full {
			n.tell(t, b, len(full) > hurryAt, feed)
			free <- b[:noteBuffer]
			if len(full) == 0 {
				feed.Flush()
			}
		}
	})
	wg.Go(func() {
		defer cancel()
		errs[1] = n.follow(int(stopR.Fd()), feed)
	})
	<-ctx.Done()
	err = stopW.Close() // wakes both readers
	wg.Wait()
	return errors.Join(append(errs, err)...)
}

// read takes buffers of notifications out of the group fd until stop is closed at
// its other end.
func read(fd, stop int, full chan<- []byte, free <-chan []byte) error {
	made := 0
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for fanotify: %w", err)
		}
		if fds[1].Revents != 0 {
			return nil
		}
		var b []byte
		if made < noteBuffers && len(free) == 0 {
			b = make([]byte, noteBuffer)
			made++
		} else {
			b = <-free // the teller gives one back
		}
		size, err := unix.Read(fd, b)
		if err != nil || size <= 0 {
			made-- // b goes to the garbage
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("read fanotify: %w", err)
		}
		full <- b[:size]
	}
}

// tell makes records of a buffer of notifications.
func (n *notifier) tell(t *teller, b []byte, hurry bool, feed contract.Feed) {
	kinds := n.wanted()
	for len(b) > 0 {
		var o note
		var err error
		if o, b, err = nextNote(b); err != nil {
			n.log.Warn("a buffer of notifications is cut: its rest is lost", "err", err)
			n.overflow(kinds, feed)
			return
		}
		if o.mask&unix.FAN_Q_OVERFLOW != 0 {
			n.overflow(kinds, feed)
			continue
		}
		if o.pid == n.self && n.self != 0 {
			if o.mask&unix.FAN_RENAME != 0 && o.mask&unix.FAN_ONDIR != 0 {
				n.paths.forget()
			}
			continue
		}
		if o.mask&unix.FAN_OPEN != 0 {
			if p, _ := t.path(o.dir, o.name); !n.asked(p) {
				o.mask &^= unix.FAN_OPEN
			}
		}
		t.tell(&o, kinds, feed, hurry)
	}
}

// overflow tells that notifications are lost, mostly because the kernel's queue was full: of each wanted kind at least
// one act is missing, fanotify does not tell how many.
func (n *notifier) overflow(kinds map[event.Kind]bool, feed contract.Feed) {
	n.paths.forget()
	for _, a := range acts(shape{}) {
		if kinds[a.kind] && a.kind != event.KindMount && a.kind != event.KindUmount {
			feed.Lost(uint16(a.wire), 1)
		}
	}
}

// follow tells of mounts and marks new ones, until stop is closed. The kernel
// wakes whoever polls mountinfo (fs/proc_namespace.c: mounts_poll).
func (n *notifier) follow(stop int, feed contract.Feed) error {
	fd, err := openMounts(mountinfo)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		if err := n.remount(feed); err != nil {
			n.log.Warn("mounts can't be read", "err", err)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("follow mounts: %w", err)
		}
		if fds[1].Revents != 0 {
			return nil
		}
	}
}

// remount compares the mounts with those known.
func (n *notifier) remount(feed contract.Feed) error {
	now, err := readMounts(mountinfo)
	if err != nil {
		return err
	}
	n.mu.Lock()
	before, kinds := n.mounts, n.kinds
	n.mounts = now
	if n.fd >= 0 && !sameMounts(before, now) {
		n.paths.keep(now)
		n.mark(now) // before anything else: until here nothing on it is told
	}
	n.mu.Unlock()
	if before == nil {
		return nil
	}
	for id, m := range now {
		if _, ok := before[id]; !ok && kinds[event.KindMount] {
			putMount(feed, fileEventKindKIND_MOUNT, &m)
		}
	}
	for id, m := range before {
		if _, ok := now[id]; !ok && kinds[event.KindUmount] {
			putMount(feed, fileEventKindKIND_UMOUNT, &m)
		}
	}
	feed.Flush()
	return nil
}

func sameMounts(a, b map[uint64]mount) bool {
	if len(a) != len(b) {
		return false
	}
	for id, m := range a {
		if b[id] != m {
			return false
		}
	}
	return true
}

// putMount makes the record of a mount that came or went; who did it is not
// known.
func putMount(feed contract.Feed, kind fileEventKind, m *mount) {
	r := fileMountRec{Dev: m.dev, Bits: uint16(fileFileBitBIT_NO_RESULT | fileFileBitBIT_MERGED)}
	r.Hdr.Time, r.Hdr.Kind = kernel.BootTime(), uint16(kind)
	for i := range min(len(m.fs), len(r.Fs)-1) {
		r.Fs[i] = int8(m.fs[i])
	}
	rec := make([]byte, unsafe.Sizeof(r))
	rec = leafFirst(rec, m.target)
	r.TargetLen = uint16(len(rec) - int(unsafe.Sizeof(r)))
	options := m.options[:min(len(m.options), 256)]
	r.SourceLen, r.OptionsLen = uint16(min(len(m.source), 4096)), uint16(len(options))
	rec = append(append(rec, m.source[:r.SourceLen]...), options...)
	copy(rec, unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)))
	feed.Put(rec)
}
