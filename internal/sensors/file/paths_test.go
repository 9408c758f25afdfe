package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// TestHostileNames makes files whose names are what nobody expects.
func TestHostileNames(t *testing.T) {
	h := start(t)
	dir := tempDir(t)
	for _, name := range []string{"a\nb", "\x1b[2J\x1b[31m", "\xff\xfe", " (deleted)", "x (deleted)", "..x", "…", strings.Repeat("n", 255), `\040`, "a\\b"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if ev := h.of(event.KindFileCreate, path); ev.File.Unresolved != "" {
			t.Errorf("%q: unresolved %s", name, ev.File.Unresolved)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		h.of(event.KindFileDelete, path)
	}
}

// TestDeepPath makes a file deeper than paths are followed, and one in a path
// longer than PATH_MAX.
func TestDeepPath(t *testing.T) {
	h := start(t, event.KindFileCreate)
	top := tempDir(t)
	fd, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("d", 40))
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	f, err := unix.Openat(fd, "deepest", unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(f)
	unix.Close(fd)
	ev := h.wait("deepest file", func(ev *event.Event) bool {
		return ev.Kind == event.KindFileCreate && strings.HasSuffix(string(ev.File.Path), "deepest")
	})
	if ev.File.Unresolved == "" {
		t.Errorf("a path of %d bytes, told as whole", len(ev.File.Path))
	}
	if h.sensor.tiers[event.KindFileCreate] != tierFanotify && !strings.HasPrefix(string(ev.File.Path), "…/") {
		t.Errorf("path %.60q", ev.File.Path)
	}
}

// TestRace opens files while a thread rewrites the path during the call: the
// event tells the file that was opened, not what the memory said.
func TestRace(t *testing.T) {
	onThread(t)
	dir := tempDir(t)
	for _, n := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := start(t, event.KindFileOpen)
	if h.sensor.tiers[event.KindFileOpen] == tierFanotify {
		t.Skip("not on this kernel: fanotify tells no opening for writing; it never reads a process's memory")
	}
	buf := append([]byte(filepath.Join(dir, "a")), 0)
	last := &buf[len(buf)-2]
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := byte(0); !stop.Load(); i ^= 1 {
			*(*byte)(unsafe.Pointer(last)) = 'a' + i //nolint // the race is the test
		}
	}()
	var opened []string
	for range 2000 {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&buf[0])), unix.O_WRONLY, 0, 0, 0)
		if e != 0 {
			t.Fatal(e)
		}
		real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err := errors.Join(err, unix.Close(int(fd))); err != nil {
			t.Fatal(err)
		}
		opened = append(opened, real)
	}
	stop.Store(true)
	<-done
	mine := func(ev *event.Event) bool {
		return ev.Kind == event.KindFileOpen && ev.Thread.TID == uint32(unix.Gettid()) && strings.HasPrefix(string(ev.File.Path), dir)
	}
	for deadline := time.Now().Add(time.Minute); len(h.all(mine)) < len(opened); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d opens told of %d", len(h.all(mine)), len(opened))
		}
	}
	both := map[string]int{}
	for i, ev := range h.all(mine) {
		both[opened[i]]++
		if string(ev.File.Path) != opened[i] {
			t.Fatalf("open %d of %s told as %s", i, opened[i], ev.File.Path)
		}
	}
	t.Logf("%v", both)
}

// TestNamespaces acts through a bind mount and below a chroot: paths are those
// that the actor sees, or, from fanotify, those of our own mount namespace.
func TestNamespaces(t *testing.T) {
	h := start(t)
	dir := tempDir(t)
	real, bound := filepath.Join(dir, "real"), filepath.Join(dir, "bound")
	err := errors.Join(os.Mkdir(real, 0o700), os.Mkdir(bound, 0o700), os.MkdirAll(filepath.Join(dir, "real", "jail"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	err = inOwnMounts(func() error {
		if err := unix.Mount(real, bound, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		if err := os.WriteFile(filepath.Join(bound, "through"), []byte("x"), 0o600); err != nil {
			return err
		}
		if err := unix.Chroot(filepath.Join(bound, "jail")); err != nil { // this thread's own: unshare(CLONE_NEWNS) took fs too
			return fmt.Errorf("chroot: %w", err)
		}
		return os.WriteFile("/inside", []byte("x"), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []event.Kind{event.KindFileCreate, event.KindFileClose} {
		if h.sensor.tiers[kind] == tierFanotify {
			h.of(kind, filepath.Join(real, "through"))
			h.of(kind, filepath.Join(real, "jail", "inside"))
			continue
		}
		h.of(kind, filepath.Join(bound, "through"))
		h.of(kind, "/inside")
	}
}

// TestOverlay acts on an overlay: each act is told once, of the overlay's own
// file.
func TestOverlay(t *testing.T) {
	h := start(t)
	if h.sensor.tiers[event.KindFileCreate] == tierFanotify {
		t.Skip("an overlay in another mount namespace is not marked by fanotify")
	}
	dir := tempDir(t)
	err := inOwnMounts(func() error {
		if err := unix.Mount("t", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		m := filepath.Join(dir, "m")
		for _, d := range []string{"l", "u", "w", "m"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
				return err
			}
		}
		if err := unix.Mount("o", m, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/l,upperdir=%[1]s/u,workdir=%[1]s/w", dir)); err != nil {
			return err
		}
		f := filepath.Join(m, "f")
		return errors.Join(os.WriteFile(f, []byte("abc"), 0o600), unix.Setxattr(f, "trusted.x", []byte("1"), 0), os.Chmod(f, 0o640), os.Rename(f, f+"2"), os.Remove(f+"2"))
	})
	if errors.Is(err, unix.ENODEV) {
		t.Skip("this kernel has no overlayfs (a module that is not loaded)")
	}
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(dir, "m", "f")
	h.of(event.KindFileDelete, f+"2")
	for kind, path := range map[event.Kind]string{event.KindFileCreate: f, event.KindFileOpen: f, event.KindFileClose: f, event.KindFileChmod: f,
		event.KindFileXattr: f, event.KindFileRename: f, event.KindFileDelete: f + "2"} {
		found := h.all(func(ev *event.Event) bool {
			return ev.Kind == kind && ev.File != nil && strings.HasPrefix(string(ev.File.Path), dir) && strings.HasPrefix(filepath.Base(string(ev.File.Path)), "f")
		})
		if len(found) != 1 && !(kind == event.KindFileXattr && h.sensor.tiers[kind] == tierProbe) {
			for _, ev := range found {
				t.Logf("%s %q on %s", ev.Kind, ev.File.Path, ev.File.FS)
			}
			t.Errorf("%s of %s told %d times", kind, path, len(found))
			continue
		}
		if a := found[0].File; a.FS != "overlay" || !a.Upper && kind != event.KindFileDelete || string(a.Path) != path {
			t.Errorf("%s: %+v", kind, a)
		}
	}
}

// TestUnlinkedWhileOpen ties a file's acts together by its inode.
func TestUnlinkedWhileOpen(t *testing.T) {
	h := start(t)
	dir := tempDir(t)
	path := filepath.Join(dir, "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	ino := h.of(event.KindFileCreate, path).File.Inode
	if err := errors.Join(os.Link(path, path+"2"), os.Remove(path), os.Remove(path+"2")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	gone := h.of(event.KindFileDelete, path+"2").File
	closed := h.wait("close", func(ev *event.Event) bool {
		return ev.Kind == event.KindFileClose && strings.HasPrefix(string(ev.File.Path), dir)
	}).File
	if closed.Merged { // the file can't be looked at any more: what is remembered of it
		if gone.Inode != ino || closed.Inode != ino {
			t.Errorf("inode %d: deleted %+v, closed %+v", ino, gone, closed)
		}
		return
	}
	if gone.Inode != ino || closed.Inode != ino || closed.Links != 0 || closed.Size != 4 {
		t.Errorf("inode %d: deleted %+v, closed %+v", ino, gone, closed)
	}
}
