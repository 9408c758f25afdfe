package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// notifier is the fanotify tier: one group with a mark on every real file
// system that is mounted in our mount namespace. Marks are made by Attach, so
// that nothing is missed afterwards; run reads.
type notifier struct {
	self  uint32
	log   *slog.Logger
	paths *resolver

	mu      sync.Mutex
	fd      int // the group; -1 before the first want
	opened  chan struct{}
	kinds   map[event.Kind]bool
	mask    uint64
	marked  map[uint32]uint64 // masks by device
	refused map[uint32]bool   // told of already
	watched []string
	cuts    map[string]bool // watched ones told to be too large
	inodes  map[string]bool // marked for their reads
	mounts  map[uint64]mount
	cancel  context.CancelFunc // ends run; nil when it does not run
	ended   chan struct{}      // closed when run has ended
}

func newNotifier(self uint32, log *slog.Logger) *notifier {
	return &notifier{self: self, log: log, paths: newResolver(), fd: -1, opened: make(chan struct{}),
		marked: make(map[uint32]uint64), refused: make(map[uint32]bool), inodes: make(map[string]bool)}
}

// noteMask returns what a file system must tell for the kinds.
func noteMask(kinds []event.Kind) (mask uint64) {
	for _, k := range kinds {
		switch k {
		case event.KindFileCreate, event.KindFileLink, event.KindFileSymlink:
			mask |= unix.FAN_CREATE | unix.FAN_ONDIR
		case event.KindFileClose:
			mask |= unix.FAN_CLOSE_WRITE
		case event.KindFileDelete:
			mask |= unix.FAN_DELETE | unix.FAN_ONDIR
		case event.KindFileRename:
			mask |= unix.FAN_RENAME | unix.FAN_ONDIR
		case event.KindFileChmod, event.KindFileChown, event.KindFileXattr:
			mask |= unix.FAN_ATTRIB | unix.FAN_ONDIR
		}
	}
	if mask != 0 { // paths that are remembered must follow
		mask |= unix.FAN_RENAME | unix.FAN_ONDIR
	}
	return mask
}

// want makes the group tell of these kinds and no others. It is an error when
// it can tell of none.
func (n *notifier) want(kinds []event.Kind) error {
	defer n.refresh() // after the lock is let go
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(kinds) == 0 && n.fd < 0 {
		return nil
	}
	if n.fd < 0 {
		fd, err := newGroup()
		if err != nil {
			return err
		}
		n.fd = fd
		close(n.opened)
	}
	set := make(map[event.Kind]bool, len(kinds))
	for _, k := range kinds {
		set[k] = true
	}
	n.kinds, n.mask = set, noteMask(kinds)
	mounts, err := readMounts(mountinfo)
	if err != nil {
		return err
	}
	n.mounts = mounts
	n.mark(mounts)
	if !set[event.KindFileOpen] {
		n.markWatched(nil)
	}
	if n.mask != 0 && len(n.marked) == 0 {
		return errNoMark
	}
	return nil
}

// mountinfo lists the mounts that are marked.
const mountinfo = "/proc/self/mountinfo"

// newGroup needs Linux 5.17 for FAN_REPORT_TARGET_FID and FAN_RENAME.
func newGroup() (int, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_DFID_NAME_TARGET|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("start fanotify: %w", err)
	}
	return fd, nil
}

// mark makes every real file system tell what is wanted. It takes what is too
// much off after what is missing is on: bits that stay have no gap.
func (n *notifier) mark(mounts map[uint64]mount) {
	seen := make(map[uint32]bool)
	for _, m := range mounts {
		if !m.real() {
			continue
		}
		done := seen[m.dev] && n.marked[m.dev] == n.mask
		if done && m.root != "/" {
			continue // a mount of the whole tree is the better place
		}
		if err := n.markMount(&m); err != nil {
			if !n.refused[m.dev] && !seen[m.dev] && !errors.Is(err, errHidden) && !errors.Is(err, fs.ErrNotExist) {
				n.refused[m.dev] = true
				n.log.Warn("a file system can't be watched", "mount", m.target, "type", m.fs, "err", err)
			}
			continue
		}
		seen[m.dev] = true
	}
	for dev := range n.marked {
		if !seen[dev] {
			delete(n.marked, dev) // unmounted: its mark went with it
		}
	}
}

func (n *notifier) markMount(m *mount) error {
	fd, err := m.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("identify file system: %w", err)
	}
	had, ok := n.marked[m.dev]
	if add := n.mask &^ had; add != 0 || !ok {
		if err := n.change(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, n.mask); err != nil {
			return err
		}
	}
	if drop := had &^ n.mask; drop != 0 {
		if err := n.change(fd, unix.FAN_MARK_REMOVE|unix.FAN_MARK_FILESYSTEM, drop); err != nil {
			return err
		}
	}
	n.marked[m.dev] = n.mask
	n.paths.place(st.Fsid, *m)
	return nil
}

// change adds or removes bits of the mark on what fd is. /proc/self/fd names
// it: the call takes no empty path.
func (n *notifier) change(fd int, flags uint, mask uint64) error {
	if mask == 0 {
		return nil
	}
	if err := unix.FanotifyMark(n.fd, flags, mask, unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
		return fmt.Errorf("mark file system: %w", err)
	}
	return nil
}

// watch replaces the paths whose opening is told.
func (n *notifier) watch(paths []string) {
	n.mu.Lock()
	n.watched = paths
	n.mu.Unlock()
	n.refresh()
}

const (
	openMask   = unix.FAN_OPEN | unix.FAN_EVENT_ON_CHILD
	maxWatched = 4096 // directories marked below watched ones
)

// directories returns those in which watched files are. It walks the trees,
// which takes its time: call it without the lock.
func (n *notifier) directories(paths []string, mounts map[uint64]mount) map[string]bool {
	foreign := make(map[string]bool) // where nothing is told of, or the network is waited for
	for _, m := range mounts {
		if !m.real() {
			foreign[m.target] = true
		}
	}
	want := make(map[string]bool)
	for _, p := range paths {
		if !strings.HasSuffix(p, "/") {
			want[filepath.Dir(p)] = true
			continue
		}
		if !below(p, want, foreign) {
			n.cut(p)
		}
	}
	return want
}

// cut says once that a watched directory has too many below it.
func (n *notifier) cut(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cuts[path] {
		return
	}
	if n.cuts == nil {
		n.cuts = make(map[string]bool)
	}
	n.cuts[path] = true
	n.log.Warn("more directories than can be watched for reads: those found last are left out; ask for fewer",
		"below", path, "most", maxWatched)
}

// markWatched marks those directories, each by its inode: opening anything
// elsewhere costs nothing.
func (n *notifier) markWatched(want map[string]bool) {
	if !n.kinds[event.KindFileOpen] {
		want = nil
	}
	for dir := range want {
		if n.inodes[dir] {
			continue
		}
		if err := unix.FanotifyMark(n.fd, unix.FAN_MARK_ADD|unix.FAN_MARK_ONLYDIR, openMask, unix.AT_FDCWD, dir); err == nil {
			n.inodes[dir] = true
		} else if !errors.Is(err, unix.ENOENT) {
			n.log.Warn("reads below a directory can't be watched", "dir", dir, "err", err)
		}
	}
	for dir := range n.inodes {
		if !want[dir] {
			_ = unix.FanotifyMark(n.fd, unix.FAN_MARK_REMOVE|unix.FAN_MARK_ONLYDIR, openMask, unix.AT_FDCWD, dir) // gone or not, it is not asked for
			delete(n.inodes, dir)
		}
	}
}

// below adds the directory and those below it, but not what is mounted there
// from foreign file systems; false when there are too many.
func below(top string, dirs, foreign map[string]bool) bool {
	all := true
	_ = filepath.WalkDir(filepath.Clean(top), func(p string, d fs.DirEntry, err error) error { // what can't be read is left out
		switch {
		case err != nil || !d.IsDir():
			return nil
		case foreign[p]:
			return fs.SkipDir
		case len(dirs) >= maxWatched:
			all = false
			return fs.SkipAll
		}
		dirs[p] = true
		return nil
	})
	return all
}

// asked reports whether the opening of path was asked for.
func (n *notifier) asked(path string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.watched {
		if p == path || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// wanted returns the kinds that are told.
func (n *notifier) wanted() map[event.Kind]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kinds
}

// close ends run and lets go of everything.
func (n *notifier) close() error {
	n.mu.Lock()
	cancel, ended := n.cancel, n.ended
	n.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended // it reads from the group
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return nil
	}
	fd := n.fd
	n.fd, n.kinds, n.mask, n.opened = -1, nil, 0, make(chan struct{})
	clear(n.marked)
	clear(n.inodes)
	return unix.Close(fd)
}
