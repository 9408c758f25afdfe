package file

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// TestProbe tells what this kernel can do, and wants all that it must.
func TestProbe(t *testing.T) {
	newSensor(t, 8<<20)
	for _, f := range probed.features {
		t.Logf("%-32s %-18s %s %s", f.Name, f.Tier, f.Guarantee, f.Why)
	}
	for _, a := range probed.acts {
		if probed.tiers[a.kind] == "" && a.merged == "" {
			t.Errorf("%s: no tier", a.kind)
		}
	}
}

// TestBudget wants the verifier's work for each program far below its limit of
// a million instructions.
func TestBudget(t *testing.T) {
	h := start(t)
	if h.sensor.unit == nil {
		t.Skip("no programs on this kernel")
	}
	for _, p := range h.k.Programs() {
		t.Logf("%-16s %7d instructions verified", p.Name, p.VerifiedInsns)
		if p.VerifiedInsns > 200_000 {
			t.Errorf("%s: %d instructions verified", p.Name, p.VerifiedInsns)
		}
	}
}

// need skips by name where this kernel has no way to tell the kind.
func (h *harness) need(kind event.Kind) {
	h.t.Helper()
	for i, a := range probed.acts {
		if a.kind == kind && h.sensor.tiers[kind] == "" {
			h.t.Skipf("%s: not on this kernel: %+v", kind, probed.features[i].Tried)
		}
	}
}

// file makes a file of five bytes and waits until its events have come, so
// that fanotify does not merge them with what follows.
func (h *harness) file(dir, name string, mode uint32) string {
	h.t.Helper()
	path := filepath.Join(dir, name)
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("12345")); err != nil {
		h.t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		h.t.Fatal(err)
	}
	h.of(event.KindFileClose, path)
	return path
}

// is returns what every event tells of the file as stat(2) sees it.
func (h *harness) is(kind event.Kind, path string) event.FileAct {
	h.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		h.t.Fatal(err)
	}
	key, err := inodeKey(filepath.Dir(path), map[uint64]uint32{})
	if err != nil {
		h.t.Fatal(err)
	}
	a := event.FileAct{Path: event.Text(path), Dev: uint64(key.Dev), Inode: st.Ino, Type: fileType(uint16(st.Mode)), Mode: st.Mode & 0o7777,
		UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink), Size: uint64(st.Size)}
	switch h.sensor.tiers[kind] {
	case tierFanotify:
		a.Merged, a.NoResult = true, true
	case tierProbe:
		a.NoResult = kind != event.KindFileCreate && kind != event.KindFileClose
	}
	return a
}

// compare wants the event to be exactly want, done by this thread.
func (h *harness) compare(want event.FileAct, ev *event.Event) {
	h.t.Helper()
	got := *ev.File
	if got.FS == "" {
		h.t.Error("no file system type")
	}
	got.FS, got.Upper = "", false
	if d := cmp.Diff(want, got); d != "" {
		h.t.Errorf("%s (-want +got):\n%s", ev.Kind, d)
	}
	th := ev.Thread
	if th.PID != uint32(os.Getpid()) || th.UID != uint32(os.Getuid()) || th.EUID != uint32(os.Geteuid()) || th.Start == 0 {
		h.t.Errorf("%s by %+v", ev.Kind, th)
	}
	if !got.Merged && (th.TID != uint32(unix.Gettid()) || th.Comm == "") {
		h.t.Errorf("%s by thread %+v, want %d", ev.Kind, th, unix.Gettid())
	}
	if ev.Boot == 0 || ev.Time.IsZero() {
		h.t.Errorf("%s at %d, %v", ev.Kind, ev.Boot, ev.Time)
	}
}

// onThread keeps the test on one thread, so that it can be named.
func onThread(t *testing.T) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
}

func TestWholeCreate(t *testing.T) {
	onThread(t)
	h := start(t)
	path := h.file(tempDir(t), "new", 0o640)
	ev := h.of(event.KindFileCreate, path)
	want := h.is(event.KindFileCreate, path)
	if !ev.File.Merged {
		want.Size, want.Flags = 0, ev.File.Flags
		if f := ev.File.Flags; f&(unix.O_CREAT|unix.O_EXCL|unix.O_ACCMODE) != unix.O_WRONLY && f&unix.O_ACCMODE != unix.O_WRONLY {
			t.Errorf("flags %#o", f)
		}
	} else if ev.File.Size == 0 {
		want.Size = 0 // fanotify was looked at before the file was written
	}
	h.compare(want, ev)
	ev = h.of(event.KindFileClose, path)
	want = h.is(event.KindFileClose, path)
	want.Write, want.Flags = true, ev.File.Flags
	h.compare(want, ev)
	if h.sensor.tiers[event.KindFileOpen] == tierFanotify {
		t.Log("opening for writing is not told by fanotify: only of watched paths")
		return
	}
	ev = h.of(event.KindFileOpen, path)
	want = h.is(event.KindFileOpen, path)
	want.Write, want.Size, want.Flags, want.NoResult = true, 0, ev.File.Flags, true
	h.compare(want, ev)
}

// TestQuietDevices writes to /dev/null under another name: only its making is
// told, and the same of a device that keeps what is written.
func TestQuietDevices(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	null, zero := filepath.Join(dir, "null"), filepath.Join(dir, "zero")
	for path, dev := range map[string]uint64{null: unix.Mkdev(1, 3), zero: unix.Mkdev(1, 5)} {
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(dev)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0); err != nil {
			t.Skipf("devices can't be opened here: %v", err)
		}
	}
	last := h.file(dir, "last", 0o600)
	h.of(event.KindFileClose, last)
	h.of(event.KindFileClose, zero)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range h.events {
		if ev.File != nil && string(ev.File.Path) == null && (ev.Kind == event.KindFileClose || ev.Kind == event.KindFileOpen) {
			t.Errorf("%s of %s", ev.Kind, null)
		}
	}
}

func TestWholeNodes(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	probe := h.sensor.tiers[event.KindFileCreate] == tierProbe
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	for name, do := range map[string]func(path string) error{
		"dir":    func(p string) error { return unix.Mkdir(p, 0o750) },
		"pipe":   func(p string) error { return unix.Mknod(p, unix.S_IFIFO|0o600, 0) },
		"file":   func(p string) error { return unix.Mknod(p, unix.S_IFREG|0o600, 0) },
		"char":   func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 7))) },
		"socket": func(p string) error { return unix.Bind(sock, &unix.SockaddrUnix{Name: p}) },
	} {
		t.Run(name, func(t *testing.T) {
			onThread(t)
			h.t = t
			path := filepath.Join(dir, name)
			if err := do(path); err != nil {
				t.Fatal(err)
			}
			if probe && name == "file" {
				t.Skip("mknod(2) of a plain file: kprobes can't tell it from open(2)")
			}
			ev := h.of(event.KindFileCreate, path)
			want := h.is(event.KindFileCreate, path)
			if ev.File.Type != name {
				t.Errorf("type %q", ev.File.Type)
			}
			if probe { // before it is there
				want.NoResult, want.Inode, want.Links, want.Size, want.UID, want.GID = true, 0, 0, 0, 0, 0
				want.Mode = ev.File.Mode // before umask(2)
			}
			h.compare(want, ev)
		})
	}
}

func TestWholeDelete(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	path := h.file(dir, "gone", 0o600)
	want := h.is(event.KindFileDelete, path)
	if err := unix.Unlink(path); err != nil {
		t.Fatal(err)
	}
	h.compare(want, h.of(event.KindFileDelete, path))

	sub := filepath.Join(dir, "sub")
	if err := unix.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	h.of(event.KindFileCreate, sub)
	want = h.is(event.KindFileDelete, sub)
	want.NoResult = want.NoResult || h.sensor.tiers[event.KindFileDelete] == tierEarly
	if err := unix.Rmdir(sub); err != nil {
		t.Fatal(err)
	}
	h.compare(want, h.of(event.KindFileDelete, sub))
}

func TestWholeRename(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "over"} {
		from, to := h.file(dir, name, 0o600), filepath.Join(other, name+"2")
		if name == "over" {
			h.file(other, name+"2", 0o600)
		}
		if err := unix.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		want := h.is(event.KindFileRename, to)
		want.Path, want.NewPath = event.Text(from), event.Text(to)
		h.compare(want, h.of(event.KindFileRename, from))
	}
	a, b := h.file(dir, "a", 0o600), h.file(dir, "b", 0o640)
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		t.Skipf("RENAME_EXCHANGE: %v", err)
	}
	want := h.is(event.KindFileRename, b)
	want.Path, want.NewPath = event.Text(a), event.Text(b)
	if h.sensor.tiers[event.KindFileRename] != tierFanotify {
		want.Flags = unix.RENAME_EXCHANGE
	}
	h.compare(want, h.of(event.KindFileRename, a))
}

func TestWholeLinks(t *testing.T) {
	onThread(t)
	h := start(t)
	dir := tempDir(t)
	path := h.file(dir, "file", 0o600)
	hard, soft := filepath.Join(dir, "hard"), filepath.Join(dir, "soft")
	before := h.is(event.KindFileLink, path)
	if err := unix.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	ev := h.wait("hard link", func(ev *event.Event) bool { return ev.Kind == event.KindFileLink && string(ev.File.NewPath) == hard })
	want := h.is(event.KindFileLink, path)
	want.NewPath = event.Text(hard)
	switch h.sensor.tiers[event.KindFileLink] {
	case tierFanotify:
		want.Path, want.Partial = "", true
	case tierProbe:
		want.Links = before.Links
	}
	h.compare(want, ev)

	if err := unix.Symlink("to/\x1b[31m\xff", soft); err != nil {
		t.Fatal(err)
	}
	ev = h.of(event.KindFileSymlink, soft)
	want = h.is(event.KindFileSymlink, soft)
	want.Link = "to/\x1b[31m\xff"
	if ev.File.NoResult && !ev.File.Merged {
		want.Inode, want.Links, want.Size = 0, 0, 0
	}
	h.compare(want, ev)
}
