package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// canaryPatience is how long notifications of our own acts may take.
const canaryPatience = 2 * time.Second

// fanotifyCanary performs every act on a marked file system and returns the
// kinds that were told.
func fanotifyCanary(ctx context.Context, log *slog.Logger) (seen map[event.Kind]bool, stage string, err error) {
	dir, err := canaryDir()
	if err != nil {
		return nil, "canary", err
	}
	defer os.RemoveAll(dir)
	fd, err := newGroup()
	if err != nil {
		return nil, "load", err
	}
	n := newNotifier(0, log)
	n.fd = fd
	close(n.opened)
	defer func() { err = errors.Join(err, n.close()) }()
	var kinds []event.Kind
	for _, a := range acts(shape{}) {
		if a.merged == "" && a.kind != event.KindMount && a.kind != event.KindUmount {
			kinds = append(kinds, a.kind)
		}
	}
	if err := n.want(kinds); err != nil {
		return nil, "attach", err
	}
	n.watch([]string{dir + "/"})
	c := &collector{seen: make(map[event.Kind]bool), d: NewDecoder(), dir: dir}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.run(run, c) }()
	for _, k := range kinds {
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			cancel()
			return nil, "canary", errors.Join(err, <-done)
		}
		n.refresh() // marks the new directory
		if _, err := perform(k, sub); err != nil {
			log.Debug("a canary can't be driven", "kind", k, "err", err)
		}
	}
	for deadline := time.Now().Add(canaryPatience); c.count() < len(kinds)-2 && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		return nil, "canary", err
	}
	seen = c.seen
	attr := seen[event.KindFileChmod] || seen[event.KindFileChown] || seen[event.KindFileXattr]
	for _, k := range []event.Kind{event.KindFileChmod, event.KindFileChown, event.KindFileXattr} {
		seen[k] = attr // notified alike; looking at the file tells them apart, unless it is too late
	}
	if err := mountCanary(dir); err == nil {
		seen[event.KindMount], seen[event.KindUmount] = true, true
	} else {
		log.Debug("mounts are not told", "err", err)
	}
	return seen, "canary", nil
}

var errNoMark = &kernel.Error{Op: "mark file systems", Cause: "no mounted file system takes a mark",
	Cure: "a file system with a file system id and file handles, like ext4, xfs, btrfs or tmpfs"}

// collector notes the kinds of records about files in dir. It is a
// contract.Feed.
type collector struct {
	dir  string
	mu   sync.Mutex
	d    *Decoder
	seen map[event.Kind]bool
}

// Put implements contract.Feed.
func (c *collector) Put(rec []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ev event.Event
	if c.d.Decode(rec, &ev) == nil && ev.File != nil && ev.File.Unresolved == "" &&
		(within(string(ev.File.Path), c.dir) || within(string(ev.File.NewPath), c.dir)) {
		c.seen[ev.Kind] = true
	}
	return true
}

func within(path, dir string) bool { return len(path) > len(dir) && path[:len(dir)] == dir }

// Flush implements contract.Feed.
func (c *collector) Flush() {}

// Lost implements contract.Feed.
func (c *collector) Lost(uint16, uint64) {}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// mountCanary wants the kernel to tell of a mount to who polls mountinfo.
func mountCanary(dir string) error {
	return inOwnMounts(func() error {
		fd, err := openMounts("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Mount("merlon-canary", dir, "tmpfs", 0, "size=64k"); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		n, err := unix.Poll(fds, int(canaryPatience.Milliseconds()))
		err = errors.Join(err, unix.Unmount(dir, 0))
		if err == nil && n == 0 {
			err = errors.New("follow mounts: the kernel does not tell of them")
		}
		return err
	})
}
