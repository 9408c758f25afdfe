package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// beforehand leaves of want what a hook tells that sees acts before they happen.
func (h *harness) beforehand(want *event.FileAct, kind event.Kind, was event.FileAct) {
	if h.sensor.tiers[kind] == tierProbe {
		want.Size, want.Links = was.Size, was.Links
	}
}

func TestWholeChmod(t *testing.T) {
	onThread(t)
	h := start(t)
	path := h.file(tempDir(t), "f", 0o600)
	was := h.is(event.KindFileChmod, path)
	if err := unix.Chmod(path, 0o4751); err != nil {
		t.Fatal(err)
	}
	want := h.is(event.KindFileChmod, path)
	want.OldMode = was.Mode
	h.compare(want, h.of(event.KindFileChmod, path))
}

func TestWholeFchmod(t *testing.T) {
	onThread(t)
	h := start(t)
	path := h.file(tempDir(t), "f", 0o600)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	want := h.is(event.KindFileChmod, path)
	want.OldMode = 0o600
	h.compare(want, h.of(event.KindFileChmod, path))
}

func TestWholeChown(t *testing.T) {
	onThread(t)
	h := start(t)
	path := h.file(tempDir(t), "f", 0o600)
	if err := unix.Chown(path, 1234, -1); err != nil {
		t.Fatal(err)
	}
	want := h.is(event.KindFileChown, path)
	want.OldUID, want.OldGID = uint32(os.Getuid()), uint32(os.Getgid())
	h.compare(want, h.of(event.KindFileChown, path))
}

func TestWholeXattr(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	for _, remove := range []bool{false, true} {
		path := h.file(dir, map[bool]string{false: "set", true: "removed"}[remove], 0o600)
		err := unix.Setxattr(path, "trusted.\x1b\xfe", []byte("x"), 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skipf("this file system has no extended attributes: %v", err)
		}
		if err == nil && remove {
			err = unix.Removexattr(path, "trusted.\x1b\xfe")
		}
		if err != nil {
			t.Fatal(err)
		}
		ev := h.wait("xattr", func(ev *event.Event) bool {
			return ev.Kind == event.KindFileXattr && about(ev, path) && (ev.File.Removed == remove || ev.File.Merged)
		})
		want := h.is(event.KindFileXattr, path)
		if !ev.File.Merged {
			want.Xattr, want.Removed = "trusted.\x1b\xfe", remove
		}
		h.compare(want, ev)
	}
}

func TestWholeTruncate(t *testing.T) {
	onThread(t)
	h := start(t)
	h.need(event.KindFileTruncate)
	dir := tempDir(t)
	for name, do := range map[string]func(path string) error{
		"truncate": func(p string) error { return unix.Truncate(p, 3) },
		"ftruncate": func(p string) error {
			fd, err := unix.Open(p, unix.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Ftruncate(fd, 900), unix.Close(fd))
		},
		"O_TRUNC": func(p string) error {
			fd, err := unix.Open(p, unix.O_RDWR|unix.O_TRUNC, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onThread(t)
			h.t = t
			path := h.file(dir, name, 0o600)
			was := h.is(event.KindFileTruncate, path)
			if err := do(path); err != nil {
				t.Fatal(err)
			}
			want := h.is(event.KindFileTruncate, path)
			h.beforehand(&want, event.KindFileTruncate, was)
			h.compare(want, h.of(event.KindFileTruncate, path))
		})
	}
}

// TestFailures wants acts that were refused to be told as such, where the hook
// knows.
func TestFailures(t *testing.T) {
	onThread(t)
	h := start(t)
	if tier := h.sensor.tiers[event.KindFileRename]; tier != tierTrampoline {
		t.Skipf("not on this kernel: %s do not tell outcomes", tier)
	}
	dir := tempDir(t)
	h.file(dir, "in", 0o600)
	other := filepath.Join(dir, "sub")
	for kind, c := range map[event.Kind]struct {
		path string
		err  unix.Errno
		do   func() error
	}{
		event.KindFileDelete: {dir, unix.ENOTEMPTY, func() error { return unix.Rmdir(dir) }},
		event.KindFileRename: {other, unix.ENOTEMPTY, func() error {
			return errors.Join(os.Mkdir(other, 0o700), os.Mkdir(other+"2", 0o700), os.Mkdir(other+"2/x", 0o700), unix.Rename(other, other+"2"))
		}},
		event.KindFileXattr: {filepath.Join(dir, "in"), unix.ENODATA, func() error { return unix.Removexattr(filepath.Join(dir, "in"), "trusted.none") }},
	} {
		if err := c.do(); !errors.Is(err, c.err) {
			t.Fatalf("%s: %v, want %v", kind, err, c.err)
		}
		ev := h.of(kind, c.path)
		if h.sensor.tiers[kind] == tierEarly {
			t.Logf("%s: %s", kind, tierEarly)
			continue
		}
		if ev.File.Result != -int(c.err) || ev.File.NoResult {
			t.Errorf("%s: result %d (no_result %v), want %d", kind, ev.File.Result, ev.File.NoResult, -int(c.err))
		}
		if kind == event.KindFileRename && string(ev.File.NewPath) != other+"2" {
			t.Errorf("new path %q", ev.File.NewPath)
		}
	}
}

func TestWholeMount(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	if err := unix.Mount("merlon-src", dir, "tmpfs", unix.MS_NOSUID, "size=64k"); err != nil {
		t.Fatal(err)
	}
	ev := h.of(event.KindMount, dir)
	m := *ev.Mount
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Error(err)
	}
	dev := uint64(unix.Major(st.Dev))<<20 | uint64(unix.Minor(st.Dev))
	want := event.MountAct{Target: event.Text(dir), Source: "merlon-src", FS: "tmpfs"}
	switch tier := h.sensor.tiers[event.KindMount]; tier {
	case tierFanotify:
		want.Options, want.NoResult, want.Dev = m.Options, true, dev
		if m.Options == "" {
			t.Error("no options")
		}
	default:
		want.Options, want.Flags, want.NoResult = "size=64k", unix.MS_NOSUID, tier == tierProbe
		if tier == tierProbe {
			want.Options = m.Options // security_sb_mount's data
		}
		if ev.Thread.TID != uint32(unix.Gettid()) {
			t.Errorf("by %+v", ev.Thread)
		}
	}
	if d := cmp.Diff(want, m); d != "" {
		t.Errorf("mount (-want +got):\n%s", d)
	}

	inside := h.file(dir, "inside", 0o600) // what is mounted is watched
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	ev = h.of(event.KindUmount, dir)
	want = event.MountAct{Target: event.Text(dir), FS: "tmpfs", Dev: dev, NoResult: true}
	if h.sensor.tiers[event.KindUmount] == tierFanotify {
		want.Source, want.Options = "merlon-src", ev.Mount.Options
	}
	if d := cmp.Diff(want, *ev.Mount); d != "" {
		t.Errorf("umount (-want +got):\n%s", d)
	}
	t.Logf("%s was seen on the new mount", inside)
}
