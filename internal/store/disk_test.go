package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tmpfs mounts a file system of size bytes.
func tmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to mount a tmpfs: run as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes to path until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for chunk := 64 << 10; chunk > 0; chunk /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, chunk))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// checkRecovery puts alerts while the disk refuses them, mends it, and wants
// all of them stored.
func checkRecovery(t *testing.T, s *Store, mend func()) {
	t.Helper()
	const n = 300
	for i := range n {
		a := alert(fmt.Sprintf("%03d", i), time.Duration(i))
		a.Reason = strings.Repeat("x", 1000)
		s.PutAlert(a)
	}
	if err := s.Flush(context.Background()); err == nil {
		t.Fatal("Flush: no error, although the disk takes nothing")
	}
	st := s.Stats()
	if st.OK || st.Failures == 0 || st.LastError == "" || st.Dropped != 0 || st.Pending != n {
		t.Errorf("while the disk refuses: %+v", st)
	}
	t.Log(st.LastError)
	list, _ := s.Alerts(context.Background(), start, 0)
	if len(list) < n {
		t.Errorf("while the disk refuses: %d alerts can be read, want %d", len(list), n)
	}
	mend()
	flush(t, s)
	if st := s.Stats(); !st.OK || st.Pending != 0 || st.Dropped != 0 {
		t.Errorf("after it was mended: %+v", st)
	}
	if got := len(ids(t, s, start, 0)); got < n {
		t.Errorf("after it was mended: %d alerts, want %d", got, n)
	}
}

func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, 2<<20)
	s, stop := run(t, Options{Dir: dir})
	s.PutAlert(alert("before", 0))
	flush(t, s)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	checkRecovery(t, s, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	stop()
}

func TestDiskFullAtTheStart(t *testing.T) {
	dir := tmpfs(t, 2<<20)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	s, stop := run(t, Options{Dir: filepath.Join(dir, "state")})
	checkRecovery(t, s, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	stop()
}

func TestReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, 4<<20)
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	s, stop := run(t, Options{Dir: filepath.Join(dir, "state")})
	checkRecovery(t, s, func() { remount(0) })
	stop()
}

// Nobody asks: the store tries again by itself.
func TestTriesAgain(t *testing.T) {
	dir := tmpfs(t, 2<<20)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	s, stop := run(t, Options{Dir: dir})
	s.PutAlert(alert("a", 0))
	if err := s.Flush(context.Background()); err == nil {
		t.Fatal("Flush: no error, although the disk is full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); s.Stats().Written == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never tried again: %+v", s.Stats())
		}
	}
	stop()
}
