package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// pinned lists the files under dir.
func pinned(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestPinAdoptReplace(t *testing.T) {
	dir := pinDir(t)
	same := func(o *Options) { o.PinDir = dir }
	first := open(t, same)
	u := load(t, first, "unit", 1, "t_exec", "t_call", "t_callee")
	// A tail call must go on working without the agent: the program array is pinned too.
	if err := u.Map("t_tails").Put(uint32(0), u.Program("t_callee")); err != nil {
		t.Fatal(err)
	}
	attach(t, u, "t_exec")
	attach(t, u, "t_call")
	if err := u.Pin(""); err != nil {
		t.Fatal(err)
	}
	want := []string{"shared/event_counts", "shared/events_crit", "shared/events_reader", "unit/links/t_call", "unit/links/t_exec", "unit/maps/t_tails"}
	if got := pinned(t, dir); !slices.Equal(got, want) {
		t.Fatalf("pinned %v, want %v", got, want)
	}
	o := objectsOf(first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	pid := runCanary(t) // while no agent is there
	second := open(t, same)
	r := reader(t, second, "events_crit")
	if rec := next(t, r); rec.Hdr.Kind != uint16(sharedEventKindKIND_FORK) || int(rec.Pid) != pid {
		t.Fatalf("first record %+v, want the fork of %d, reported by the tail-called program", rec, pid)
	}
	if rec := next(t, r); int(rec.Pid) != pid || rec.Gen != 1 {
		t.Fatalf("second record %+v, want the exec of %d", rec, pid)
	}
	old, err := second.Adopt(filepath.Join(dir, "unit"))
	if err != nil {
		t.Fatal(err)
	}
	if got := old.Attached(); !slices.Equal(got, []string{"t_call", "t_exec"}) {
		t.Fatalf("adopted %v", got)
	}
	if l := second.Links()[1]; l.Attach != "raw_tp/sched_process_exec" || l.Pin == "" {
		t.Errorf("adopted link %+v", l)
	}
	if err := old.Detach("t_call"); err != nil {
		t.Fatal(err)
	}
	fresh := load(t, second, "unit", 2, "t_exec")
	if err := old.Replace("t_exec", fresh); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, dir); !slices.Equal(got, []string{"shared/event_counts", "shared/events_crit", "shared/events_reader", "unit/links/t_exec"}) {
		t.Errorf("after replacing, pinned: %v", got)
	}
	pid = runCanary(t)
	if rec := next(t, r); int(rec.Pid) != pid || rec.Gen != 2 {
		t.Errorf("got %+v, want the exec of %d by generation 2", rec, pid)
	}
	if err := fresh.Unpin(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left after unpinning: %v", pinned(t, dir))
	}
	if len(fresh.Attached()) != 1 {
		t.Error("unpinning detached")
	}
	if err := r.Close(); err != nil { // maps the ring
		t.Error(err)
	}
	o.Maps = nil // the shared ones live on in the second agent
	o2 := objectsOf(second)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if left := append(o.left(), o2.left()...); len(left) > 0 {
		t.Errorf("left in the kernel: %v", left)
	}
}

func TestPinnedMapsOfAnotherSize(t *testing.T) {
	dir := pinDir(t)
	first := open(t, func(o *Options) { o.PinDir = dir })
	u := load(t, first, "unit", 1, "t_exec")
	attach(t, u, "t_exec")
	if err := u.Pin(""); err != nil {
		t.Fatal(err)
	}
	second := open(t, func(o *Options) { o.PinDir, o.CriticalBytes = dir, 2<<20 })
	if n := second.Map("events_crit").MaxEntries(); n != 2<<20 {
		t.Errorf("the ring has %d bytes, want those configured", n)
	}
	if err := u.Unpin(); err != nil {
		t.Fatal(err)
	}
}

// TestPinProbe pins a kprobe: a link before Linux 5.15 is none that can be
// pinned, and the cause says so.
func TestPinProbe(t *testing.T) {
	dir := pinDir(t)
	k := open(t, func(o *Options) { o.PinDir = dir })
	u := load(t, k, "unit", 1, "t_exec", "t_kprobe")
	if err := u.Attach("t_kprobe"); err != nil {
		t.Skipf("needs kprobes: %v", err)
	}
	attach(t, u, "t_exec")
	err := u.Pin("")
	if err == nil {
		if got := pinned(t, dir); !slices.Contains(got, "unit/links/t_kprobe") {
			t.Errorf("pinned %v", got)
		}
		if err := u.Unpin(); err != nil {
			t.Error(err)
		}
		return
	}
	if !errors.Is(err, ebpf.ErrNotSupported) || !strings.Contains(err.Error(), "5.15") {
		t.Errorf("got %v, want the kernel named that can", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left after a pin that failed: %v", pinned(t, dir))
	}
}

func TestAdoptNothing(t *testing.T) {
	k := open(t)
	if _, err := k.Adopt("/sys/fs/bpf/merlon-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}
