package file

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// startFull is start in the full profile, where that makes a difference.
func startFull(t *testing.T, kinds ...event.Kind) *harness {
	t.Helper()
	k := openKernel(t, 8<<20)
	s := New(k, Options{Full: true, Log: slog.New(slog.DiscardHandler), Own: true})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close sensor: %v", err)
		}
	})
	f := openFeature(t, s)
	if f.Tier == tierTrampoline || f.Tier == tierProbe {
		t.Skipf("%s works on this kernel: no need to look at system calls", f.Tier)
	}
	if f.Tier != tierCalls || f.Guarantee != event.Observe || !strings.Contains(f.Why, callPrice) {
		t.Fatalf("%+v", f)
	}
	return startSensor(t, k, s, kinds...)
}

func openFeature(t *testing.T, s *Sensor) event.Feature {
	t.Helper()
	for _, f := range s.Probe(context.Background()) {
		if slices.Contains(f.Kinds, event.KindFileOpen) {
			return f
		}
	}
	t.Fatal("no feature for file_open")
	return event.Feature{}
}

func (h *harness) attached() []string {
	if h.sensor.unit == nil {
		return nil
	}
	return h.sensor.unit.Attached()
}

// TestCallsOpen opens files for writing by every call that does, and wants the
// whole event, once.
func TestCallsOpen(t *testing.T) {
	onThread(t)
	h := startFull(t, event.KindFileOpen)
	dir := tempDir(t)
	type opener func(path string) (int, error)
	plain := func(flags int) opener {
		return func(p string) (int, error) { return unix.Open(p, flags, 0o640) }
	}
	for name, c := range map[string]struct {
		open  opener
		made  bool // by the open itself
		flags uint32
	}{
		"create":   {plain(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL), true, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL},
		"existing": {plain(unix.O_WRONLY | unix.O_APPEND | unix.O_TRUNC), false, unix.O_WRONLY | unix.O_APPEND | unix.O_TRUNC},
		"creat":    {creat, true, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC},
		"openat2": {func(p string) (int, error) {
			return unix.Openat2(unix.AT_FDCWD, p, &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CREAT, Mode: 0o640})
		}, true, unix.O_WRONLY | unix.O_CREAT},
		"openat2 existing": {func(p string) (int, error) {
			return unix.Openat2(unix.AT_FDCWD, p, &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CREAT})
		}, false, unix.O_WRONLY}, // O_CREAT is in user memory only, and nothing was made
		"handle": {byHandle, false, unix.O_WRONLY},
	} {
		t.Run(name, func(t *testing.T) {
			onThread(t)
			h.t = t
			path := filepath.Join(dir, name)
			if !c.made {
				if err := unix.Mknod(path, unix.S_IFREG|0o640, 0); err != nil { // no opening
					t.Fatal(err)
				}
			}
			fd, err := c.open(path)
			if err == unix.ENOSYS || err == unix.EOPNOTSUPP {
				t.Skipf("%s: %v", name, err)
			} else if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			ev := h.of(event.KindFileOpen, path)
			want := h.is(event.KindFileOpen, path)
			want.Write, want.Flags = true, c.flags|ev.File.Flags&(largeFile|unix.O_CLOEXEC)
			h.compare(want, ev)
			if n := len(h.all(func(ev *event.Event) bool { return about(ev, path) })); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

const largeFile = 0o100000 | 0o400000 // O_LARGEFILE of amd64 and arm64, which the kernel adds

func byHandle(path string) (int, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return -1, err
	}
	mnt, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(mnt)
	return unix.OpenByHandleAt(mnt, handle, unix.O_WRONLY)
}

// TestCallsRead wants reads of watched paths told, no others, and neither
// O_PATH nor an open that failed.
func TestCallsRead(t *testing.T) {
	onThread(t)
	h := startFull(t, event.KindFileOpen)
	dir := tempDir(t)
	secret, other, last := filepath.Join(dir, "secret"), filepath.Join(dir, "other"), filepath.Join(dir, "last")
	for _, p := range []string{secret, other} {
		if err := unix.Mknod(p, unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.sensor.Watch(context.Background(), []string{secret}); err != nil {
		t.Fatal(err)
	}
	reads(t, other)
	fd, err := unix.Open(secret, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if _, err := unix.Open(secret, unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
		t.Fatal("a file opened as a directory")
	}
	reads(t, secret)
	if err := os.WriteFile(last, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.of(event.KindFileOpen, last)
	ev := h.of(event.KindFileOpen, secret)
	want := h.is(event.KindFileOpen, secret)
	want.Flags = unix.O_RDONLY | ev.File.Flags&(largeFile|unix.O_CLOEXEC)
	h.compare(want, ev)
	if n := len(h.all(func(ev *event.Event) bool { return about(ev, secret) })); n != 1 {
		t.Errorf("the watched file is told of %d times", n)
	}
	if found := h.all(func(ev *event.Event) bool { return about(ev, other) }); len(found) > 0 {
		t.Errorf("the read of a file that nobody watches is told: %+v", found[0].File)
	}
}

// TestCallsNeeds wants the program attached only while opens are asked for.
func TestCallsNeeds(t *testing.T) {
	h := startFull(t, event.KindFileDelete)
	dir := tempDir(t)
	for i, kinds := range [][]event.Kind{{event.KindFileDelete}, {event.KindFileOpen}, {event.KindFileDelete}, h.sensor.Info().Kinds, nil} {
		if err := h.sensor.Attach(context.Background(), kinds); err != nil {
			t.Fatal(err)
		}
		asked := slices.Contains(kinds, event.KindFileOpen)
		if got := slices.Contains(h.attached(), fileProgFileS_open); got != asked {
			t.Errorf("step %d, asked %v: attached %v", i, asked, h.attached())
		}
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		opens := func(ev *event.Event) bool { return ev.Kind == event.KindFileOpen && about(ev, path) }
		if asked {
			h.wait("opening", opens)
		} else if len(h.all(opens)) > 0 {
			t.Error("told though nobody asks")
		}
	}
}

// TestCallsDefault wants nothing on system calls in the default profile, and
// that it says what the full one would cost.
func TestCallsDefault(t *testing.T) {
	h := start(t)
	for _, p := range h.attached() {
		if p == fileProgFileS_open {
			t.Errorf("%s is attached", p)
		}
	}
	for _, f := range probed.features {
		if !slices.Contains(f.Kinds, event.KindFileOpen) {
			continue
		}
		lacks := f.Guarantee == event.Absent || strings.HasPrefix(f.Tier, tierFanotify)
		if told := strings.Contains(f.Why, "profile: full") && strings.Contains(f.Cure, callPrice); told != lacks {
			t.Errorf("%+v", f)
		}
	}
}
