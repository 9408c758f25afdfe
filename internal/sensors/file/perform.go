package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// perform does what the kind tells of, in the directory, and returns the path
// that the event must have. It is the canary of every tier.
func perform(kind event.Kind, dir string) (string, error) {
	path := filepath.Join(dir, "canary")
	if kind == event.KindMount || kind == event.KindUmount {
		return dir, mountThere(dir)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("make the canary: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("make the canary: %w", err)
	}
	switch kind {
	case event.KindFileDelete:
		err = os.Remove(path)
	case event.KindFileRename:
		err = os.Rename(path, path+"2")
	case event.KindFileLink:
		err = os.Link(path, path+"3")
	case event.KindFileSymlink:
		path += "4"
		err = os.Symlink("canary", path)
	case event.KindFileChmod:
		err = os.Chmod(path, 0o640)
	case event.KindFileChown:
		err = os.Chown(path, os.Getuid(), os.Getgid())
	case event.KindFileXattr:
		// the hook sees it where the file system refuses it, too
		err = unix.Setxattr(path, "trusted.merlon", []byte("x"), 0)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
			err = nil
		}
	case event.KindFileTruncate:
		err = os.Truncate(path, 10)
	}
	if err != nil {
		return "", fmt.Errorf("drive the canary: %w", err)
	}
	return path, nil
}

// more performs the other acts that the kind tells of, by other functions of
// the kernel, and returns the paths of those that could be performed.
func more(kind event.Kind, dir string) (paths []string) {
	made, pipe := filepath.Join(dir, "directory"), filepath.Join(dir, "pipe")
	switch kind {
	case event.KindFileCreate:
		if os.Mkdir(made, 0o700) == nil {
			paths = append(paths, made)
		}
		if unix.Mknod(pipe, unix.S_IFIFO|0o600, 0) == nil {
			paths = append(paths, pipe)
		}
	case event.KindFileDelete:
		if os.Mkdir(made, 0o700) == nil && unix.Rmdir(made) == nil {
			paths = append(paths, made)
		}
	}
	return paths
}

// mountThere mounts on the directory and unmounts again, in a mount namespace
// of its own.
func mountThere(dir string) error {
	return inOwnMounts(func() error {
		if err := unix.Mount("merlon-canary", dir, "tmpfs", 0, "size=64k"); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
		return nil
	})
}

// inOwnMounts runs f on a thread with a mount namespace of its own; the
// thread ends with it.
func inOwnMounts(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread never ends, and is what /proc/self shows: keep it
			// here while another does it.
			defer runtime.UnlockOSThread()
			done <- inOwnMounts(f)
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // from here on never unlocked: the thread goes
			done <- fmt.Errorf("leave the mount namespace: %w", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			done <- fmt.Errorf("make mounts private: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
