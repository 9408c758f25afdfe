package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/event"
)

// reads opens the path for reading.
func reads(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestWatch wants reads of watched paths told, and no others.
func TestWatch(t *testing.T) {
	h := start(t)
	dir := tempDir(t)
	below := filepath.Join(dir, "below", "deep")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	secret, other, inside := filepath.Join(dir, "secret"), filepath.Join(dir, "other"), filepath.Join(below, "inside")
	for _, p := range []string{secret, other, inside, secret + "-new"} {
		if err := os.WriteFile(p, []byte(p), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.sensor.Watch(context.Background(), []string{secret, filepath.Join(dir, "below") + "/", filepath.Join(dir, "not", "there")}); err != nil {
		t.Fatal(err)
	}
	read := func(path string) func(*event.Event) bool {
		return func(ev *event.Event) bool {
			return ev.Kind == event.KindFileOpen && about(ev, path) && !ev.File.Write
		}
	}
	reads(t, other)
	reads(t, secret)
	reads(t, inside)
	h.wait("read of the watched file", read(secret))
	ev := h.wait("read below the watched directory", read(inside))
	if ev.File.Inode == 0 || ev.File.Type != "file" {
		t.Errorf("%+v", ev.File)
	}
	if err := os.Rename(secret+"-new", secret); err != nil { // as passwd(1) replaces /etc/shadow
		t.Fatal(err)
	}
	before := len(h.all(read(secret)))
	reads(t, secret)
	h.wait("read of the file that took its place", func(*event.Event) bool { return len(h.allLocked(read(secret))) > before })
	if err := os.Link(inside, filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	if err := h.sensor.Watch(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	before = len(h.all(read(secret)))
	reads(t, secret)
	h.file(dir, "fence", 0o600)
	if n := len(h.all(read(secret))); n != before {
		t.Errorf("%d reads told of a file that nobody watches any more", n-before)
	}
	if found := h.all(read(other)); len(found) > 0 {
		t.Errorf("the read of a file that nobody watches is told: %+v", found[0].File)
	}
}

// TestNeeds changes what is asked for while files are removed: each removal,
// asked for all the time, is told exactly once, and nothing is told of what is
// not asked for. The load runs through no function that is being patched: with
// chmod(2) in it, Linux 6.12 under QEMU's TCG died twice of a breakpoint at
// notify_change, where ftrace had put a call by then.
func TestNeeds(t *testing.T) {
	dir := tempDir(t)
	const n = 3000
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := start(t, event.KindFileDelete)
	done := make(chan error, 1)
	go func() {
		var errs []error
		for i := range n {
			errs = append(errs, unix.Unlink(filepath.Join(dir, fmt.Sprint("f", i))))
		}
		done <- errors.Join(errs...)
	}()
	all := h.sensor.Info().Kinds
	changes := 0
	for over := false; !over || changes < 4; changes++ {
		kinds := []event.Kind{event.KindFileDelete}
		if changes%2 == 0 {
			kinds = all
		}
		if err := h.sensor.Attach(context.Background(), kinds); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if over = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if err := h.sensor.Attach(context.Background(), []event.Kind{event.KindFileDelete}); err != nil {
		t.Fatal(err)
	}
	removed := func(ev *event.Event) bool {
		return ev.Kind == event.KindFileDelete && strings.HasPrefix(string(ev.File.Path), dir)
	}
	h.of(event.KindFileDelete, filepath.Join(dir, fmt.Sprint("f", n-1)))
	times := make(map[event.Text]int)
	for _, ev := range h.all(removed) {
		times[ev.File.Path]++
	}
	for i := range n {
		p := event.Text(filepath.Join(dir, fmt.Sprint("f", i)))
		if times[p] != 1 {
			t.Errorf("%s told %d times", p, times[p])
		}
	}
	t.Logf("%d files, %d changes", n, changes)

	// let go: no more programs than delete needs
	if u := h.sensor.unit; u != nil {
		for _, p := range u.Attached() {
			if !strings.HasSuffix(p, "unlink") && !strings.HasSuffix(p, "rmdir") {
				t.Errorf("%s is still attached", p)
			}
		}
	}
	after := filepath.Join(dir, "after")
	if err := errors.Join(os.WriteFile(after, nil, 0o600), os.Remove(after)); err != nil {
		t.Fatal(err)
	}
	h.of(event.KindFileDelete, after)
	if found := h.all(func(ev *event.Event) bool { return ev.Kind != event.KindFileDelete && about(ev, after) }); len(found) > 0 {
		t.Errorf("%s told though nobody asks", found[0].Kind)
	}
}

// TestSelf wants nothing told of our own acts.
func TestSelf(t *testing.T) {
	h := start(t)
	if err := h.sensor.Attach(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	s := New(h.k, Options{})
	s.tiers, s.acts, s.shape, s.probed = probed.tiers, probed.acts, probed.shape, true
	if s.tiers[event.KindFileCreate] == tierFanotify {
		t.Skip("the fanotify reader of this test tells of its own process")
	}
	defer s.Close()
	if err := s.Attach(context.Background(), s.Info().Kinds); err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	if err := os.WriteFile(filepath.Join(dir, "own"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sh := filepath.Join(dir, "fence")
	runChild(t, sh)
	h.of(event.KindFileCreate, sh)
	if found := h.all(func(ev *event.Event) bool { return about(ev, filepath.Join(dir, "own")) }); len(found) > 0 {
		t.Errorf("%s of our own told", found[0].Kind)
	}
}

// TestBooks fills the ring with nobody reading: what was produced is what is
// in the ring and what is counted lost.
func TestBooks(t *testing.T) {
	k, s := newSensor(t, 1<<20)
	if s.tiers[event.KindFileCreate] == tierFanotify {
		t.Skip("not on this kernel: fanotify tells that its queue was full, not by how much")
	}
	if err := s.Attach(context.Background(), []event.Kind{event.KindFileCreate}); err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	const files = 8000 // more than the ring's 1 MiB holds
	for i := range files {
		p := filepath.Join(dir, fmt.Sprint(i))
		fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err := errors.Join(err, unix.Close(fd), unix.Unlink(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Attach(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	counts, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	c := counts[uint16(fileEventKindKIND_FILE_CREATE)]
	var lost uint64
	for _, n := range c.Lost {
		lost += n
	}
	rd, err := ringbuf.NewReader(k.Map("events_bulk"))
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	var got uint64
	for {
		rd.SetDeadline(time.Now())
		if _, err := rd.Read(); err != nil {
			break
		}
		got++
	}
	if c.Produced < files || c.Produced != got+lost || lost == 0 {
		t.Errorf("produced %d (%d files), in the ring %d, lost %d: %v", c.Produced, files, got, lost, c.Lost)
	}
	if len(c.Faults) > 0 {
		for why, n := range c.Faults {
			if n > 0 {
				t.Errorf("%d faults: %s", n, why)
			}
		}
	}
}
