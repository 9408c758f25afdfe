package file

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Limits of what is remembered: when one is reached all is forgotten.
const (
	maxDirs  = 8192
	maxFiles = 8192
)

// resolver finds the paths of directories by their handles, in our own mount
// namespace. One goroutine calls dir and forget; any may call place.
type resolver struct {
	dirs map[string]string // by handle key

	stale atomic.Bool // mounts changed: paths may, too

	mu     sync.Mutex
	places map[unix.Fsid]mount // a mount of each file system, its whole tree if there is one
}

func newResolver() *resolver {
	return &resolver{dirs: make(map[string]string), places: make(map[unix.Fsid]mount)}
}

// place notes a mount through which the file system can be reached.
func (r *resolver) place(id unix.Fsid, m mount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.places[id]; !ok || old.root != "/" || m.root == "/" {
		r.places[id] = m
	}
}

// keep forgets the mounts that are no more.
func (r *resolver) keep(now map[uint64]mount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stale.Store(true)
	for id, m := range r.places {
		if _, ok := now[m.id]; !ok {
			delete(r.places, id)
		}
	}
}

func (r *resolver) mount(id unix.Fsid) (mount, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.places[id]
	return m, ok
}

// forget drops all paths: a directory got another name.
func (r *resolver) forget() { clear(r.dirs) }

var errUnplaced = errors.New("find a directory: its file system is mounted nowhere here")

// dir returns the path of a directory as it is now.
func (r *resolver) dir(h *handle) (string, error) {
	if r.stale.Swap(false) {
		r.forget()
	}
	key := h.key()
	if p, ok := r.dirs[key]; ok {
		return p, nil
	}
	m, ok := r.mount(h.fsid)
	if !ok {
		return "", errUnplaced
	}
	at, err := m.open()
	if err != nil {
		return "", err
	}
	fd, err := unix.OpenByHandleAt(at, unix.NewFileHandle(h.kind, h.b), unix.O_PATH|unix.O_CLOEXEC)
	_ = unix.Close(at) // opened for reading
	if err != nil {
		return "", fmt.Errorf("find a directory: %w", err)
	}
	defer unix.Close(fd)
	var buf [unix.PathMax]byte
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf[:])
	if err != nil {
		return "", fmt.Errorf("find a directory: %w", err)
	}
	path := string(buf[:n])
	if !strings.HasPrefix(path, "/") {
		return "", errUnplaced
	}
	var st unix.Stat_t
	if gone := strings.TrimSuffix(path, " (deleted)"); gone != path && unix.Fstat(fd, &st) == nil && st.Nlink == 0 {
		return gone, nil // not kept: another may take its place
	}
	if len(r.dirs) >= maxDirs {
		clear(r.dirs)
	}
	r.dirs[key] = path
	return path, nil
}
