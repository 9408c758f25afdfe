package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// rename names the calling thread: an act that task_rename tells.
func rename(name string) error {
	b := append([]byte(name), 0)
	return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0)
}

// ahead is how far the acts may run ahead of the reader: well within the ring.
const ahead = 10000

// traffic performs numbered acts until stop, never further ahead of the reader
// than the ring holds, and returns how many.
func traffic(stop *atomic.Bool, read *atomic.Int64) (n int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := readFile(fmt.Sprintf("/proc/self/task/%d/comm", unix.Gettid()))
	for ; !stop.Load() && err == nil; n++ {
		for int64(n)-read.Load() > ahead && !stop.Load() {
			runtime.Gosched()
		}
		err = rename(fmt.Sprintf("n%07d", n))
	}
	return n, errors.Join(err, rename(own))
}

// collect reads records until none is left after stop, and counts how often
// each act was reported by which generation.
func collect(r *ringbuf.Reader, stop *atomic.Bool, read *atomic.Int64, decode func([]byte) unitT_record) (seen map[string]int, gens map[uint64]int, err error) {
	seen, gens = map[string]int{}, map[uint64]int{}
	for {
		last := stop.Load()
		r.SetDeadline(time.Now().Add(10 * time.Millisecond))
		rec, err := r.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if last {
				return seen, gens, nil
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		x := decode(rec.RawSample)
		seen[comm(x)]++
		gens[x.Gen]++
		read.Add(1)
	}
}

func TestReplaceLosesNothing(t *testing.T) {
	k := open(t, func(o *Options) { o.BulkBytes = 4 << 20 })
	u := load(t, k, "unit-1", 1, "t_rename")
	attach(t, u, "t_rename")
	r := reader(t, k, "events_bulk")

	var stopTraffic, stopReading atomic.Bool
	var read atomic.Int64
	type result struct {
		seen map[string]int
		gens map[uint64]int
		err  error
	}
	acts := make(chan int, 1)
	results := make(chan result, 1)
	go func() {
		seen, gens, err := collect(r, &stopReading, &read, func(b []byte) unitT_record { return decode(t, b) })
		results <- result{seen, gens, err}
	}()
	go func() {
		n, err := traffic(&stopTraffic, &read)
		if err != nil {
			t.Error(err)
		}
		acts <- n
	}()
	const replacements = 20
	for gen := 2; gen <= replacements+1; gen++ {
		next := load(t, k, fmt.Sprintf("unit-%d", gen), gen, "t_rename")
		if err := u.Replace("t_rename", next); err != nil {
			t.Fatal(err)
		}
		if len(u.Attached()) != 0 || len(next.Attached()) != 1 || len(k.Links()) != 1 {
			t.Fatalf("after replacing: %v, %v, %d links", u.Attached(), next.Attached(), len(k.Links()))
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
		u = next
	}
	stopTraffic.Store(true)
	n := <-acts
	stopReading.Store(true)
	got := <-results
	if got.err != nil {
		t.Fatal(got.err)
	}
	counts, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	c := counts[uint16(sharedEventKindKIND_TASK)]
	if c.Produced != uint64(read.Load()) || len(c.Lost) != 0 {
		t.Errorf("produced %d, read %d, lost %v", c.Produced, read.Load(), c.Lost)
	}
	missing, twice := 0, 0
	for i := range n {
		switch got.seen[fmt.Sprintf("n%07d", i)] {
		case 0:
			missing++
		case 1:
		default:
			twice++
		}
	}
	t.Logf("%d acts, %d replacements, %d acts seen by two generations", n, replacements, twice)
	if missing > 0 {
		t.Errorf("%d of %d acts were seen by no program", missing, n)
	}
	if len(got.gens) < 2 {
		t.Errorf("only generations %v reported: the traffic met no replacement", got.gens)
	}
}

func TestReplaceUpdatesXDP(t *testing.T) {
	k := open(t)
	const drop, pass = 1, 2
	a, b := load(t, k, "pass", pass, "t_xdp"), load(t, k, "drop", drop, "t_xdp")
	_, err := inNetNS(func() (string, error) {
		w, err := newWire("lo", "lo", [4]byte{127, 0, 0, 1})
		if err != nil {
			return "", err
		}
		defer w.close()
		attach(t, a, "t_xdp", Target{Interface: w.in, Mode: "generic"})
		if w.send(); !w.receives(time.Second) {
			t.Error("the passing program does not pass")
		}
		w.drain()
		before := k.Links()
		if err := a.Replace("t_xdp", b); err != nil {
			return "", err
		}
		after := k.Links()
		if len(before) != 1 || len(after) != 1 || before[0].ID != after[0].ID || after[0].Unit != "drop" {
			t.Errorf("the link was not updated: %+v became %+v", before, after)
		}
		if w.send(); w.receives(20 * time.Millisecond) {
			t.Error("the dropping program did not take over")
		}
		return "", b.Detach("t_xdp")
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplaceUpdatesCgroup(t *testing.T) {
	k := open(t)
	if k.Environment().CgroupPath == "" {
		t.Skip("needs cgroup2: it can't be mounted here")
	}
	dir, err := os.MkdirTemp(k.Environment().CgroupPath, "merlon-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	a, b := load(t, k, "one", 1, "t_connect4"), load(t, k, "two", 1, "t_connect4")
	attach(t, a, "t_connect4", Target{Cgroup: dir})
	before := k.Links()
	if err := a.Replace("t_connect4", b); err != nil {
		t.Fatal(err)
	}
	after := k.Links()
	if len(before) != 1 || len(after) != 1 || before[0].ID != after[0].ID || after[0].Unit != "two" {
		t.Errorf("the link was not updated: %+v became %+v", before, after)
	}
	if err := b.Detach("t_connect4"); err != nil {
		t.Fatal(err)
	}
}

func TestReplaceRefusals(t *testing.T) {
	k := open(t)
	a, b := load(t, k, "one", 1, "t_exec"), load(t, k, "two", 1, "t_rename")
	if err := a.Replace("t_exec", a); err == nil {
		t.Error("replaced a program by itself")
	}
	if err := a.Replace("t_exec", b); err == nil {
		t.Error("replaced a program by none")
	}
	if err := a.Replace("t_exec", load(t, k, "three", 1, "t_exec")); err == nil {
		t.Error("replaced a program that is not attached")
	}
}
