package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is the lock's name in the state directory. It is never removed: a
// lock on a file that has lost its name guards nothing.
const lockFile = "lock"

// LockedError says that another agent uses the state directory.
type LockedError struct {
	Path string // of the lock
	PID  int    // of the other agent; 0 when it could not write it down
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another agent uses %s: stop it first, or choose another state directory", filepath.Dir(e.Path))
	}
	return fmt.Sprintf("another agent, pid %d, uses %s: stop it first, or choose another state directory", e.PID, filepath.Dir(e.Path))
}

// DirLock is the right to use a state directory. It ends with Close, or with
// the process, however that ends (flock(2)).
type DirLock struct{ f *os.File }

// Lock takes the state directory, making it when it is missing. It returns a
// *LockedError when another agent has it.
func Lock(stateDir string) (*DirLock, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(stateDir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) {
		f, err = os.Open(path) // from a time when it could be written to
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer func() { _ = f.Close() }()
		return nil, &LockedError{Path: path, PID: holder(f)}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// Whether the pid can be written down (the disk may be full) changes only
	// what a second agent is told.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &DirLock{f}, nil
}

// Close gives the directory back.
func (l *DirLock) Close() error {
	_ = l.f.Truncate(0)
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("unlock state directory: %w", err)
	}
	return nil
}

// holder reads the pid from a lock that somebody else holds. That one may be
// just about to write it: until then it is missing, or of an agent that is
// gone.
func holder(f *os.File) int {
	for range 20 {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
		if err != nil {
			return 0
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil && pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}
