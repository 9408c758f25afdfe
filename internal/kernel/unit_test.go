package kernel

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

func decodeLine(r io.Reader, into any) error { return json.NewDecoder(r).Decode(into) }

// decode reads a record of the test's programs.
func decode(t *testing.T, rec []byte) unitT_record {
	t.Helper()
	var r unitT_record
	if len(rec) < int(unsafe.Sizeof(r)) {
		t.Fatalf("record of %d bytes", len(rec))
	}
	if _, err := binary.Decode(rec, binary.NativeEndian, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func comm(r unitT_record) string {
	var b []byte
	for _, c := range r.Comm {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// next reads the next record of a shared ring. It looks again and again: not
// every record wakes its reader.
func next(t *testing.T, r *ringbuf.Reader) unitT_record {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		r.SetDeadline(time.Now().Add(5 * time.Millisecond))
		rec, err := r.Read()
		if err == nil {
			return decode(t, rec.RawSample)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	t.Fatal("no record came")
	return unitT_record{}
}

func reader(t *testing.T, k *Kernel, ring string) *ringbuf.Reader {
	t.Helper()
	r, err := ringbuf.NewReader(k.Map(ring))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestLoadTrims(t *testing.T) {
	k := open(t)
	spec := unitSpec(t)
	before := slices.Sorted(maps.Keys(spec.Programs))
	u, err := k.Load(spec, LoadOptions{Name: "unit", Programs: []string{"t_point"}, Sizes: map[string]uint32{"t_seen": 7}})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if u.Program("t_point") == nil || u.Program("t_exec") != nil {
		t.Error("loaded other programs than asked for")
	}
	if u.Map("t_huge") != nil || u.Map("events_crit") != nil {
		t.Error("loaded maps that t_point does not use")
	}
	if n := u.Map("t_seen").MaxEntries(); n != 7 {
		t.Errorf("t_seen has %d entries, want 7", n)
	}
	if !sameMap(u.Map("event_counts"), k.Map("event_counts")) {
		t.Error("the shared map was not injected")
	}
	if after := slices.Sorted(maps.Keys(spec.Programs)); !slices.Equal(before, after) {
		t.Error("the caller's spec was changed")
	}
	if n := k.Map("events_crit").MaxEntries(); n != 1<<20 {
		t.Errorf("events_crit has %d bytes, want the configured size", n)
	}
}

func TestLoadRefusals(t *testing.T) {
	k := open(t)
	for name, c := range map[string]struct {
		o    LoadOptions
		want string
	}{
		"unknown program": {LoadOptions{Programs: []string{"nothing"}}, "nothing"},
		"unknown knob":    {LoadOptions{Knobs: map[string]any{"t_none": 1}}, "t_none"},
		"knob too large":  {LoadOptions{Programs: []string{"t_exec"}, Knobs: map[string]any{"t_gen": [3]uint64{}}}, "t_gen"},
		"verifier":        {LoadOptions{Programs: []string{"t_bad"}}, "verifier rejected"},
	} {
		u, err := k.Load(unitSpec(t), c.o)
		if err == nil {
			u.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", name, err, c.want)
		}
	}
	_, err := k.Load(unitSpec(t), LoadOptions{Name: "unit", Programs: []string{"t_bad"}})
	e := (*Error)(nil)
	if !errors.As(err, &e) || !strings.Contains(e.Cause, "map_value_or_null") {
		t.Errorf("got %v, want the verifier's last words", err)
	}
}

func TestAttachDetach(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 42, "t_exec", "t_rename")
	r := reader(t, k, "events_crit")
	for range 3 { // attachable and detachable again and again
		attach(t, u, "t_exec")
		attach(t, u, "t_exec") // a second time changes nothing
		if got := u.Attached(); !slices.Equal(got, []string{"t_exec"}) || len(k.Links()) != 1 {
			t.Fatalf("attached %v with %d links", got, len(k.Links()))
		}
		pid := runCanary(t)
		if rec := next(t, r); int(rec.Pid) != pid || rec.Gen != 42 {
			t.Fatalf("got pid %d of generation %d, want %d of 42", rec.Pid, rec.Gen, pid)
		}
		if err := u.Detach("t_exec"); err != nil {
			t.Fatal(err)
		}
		if len(u.Attached()) != 0 {
			t.Fatal("still attached")
		}
		runCanary(t)
		r.SetDeadline(time.Now())
		if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a detached program reported (%v)", err)
		}
	}
	if err := u.Detach("t_exec"); err != nil {
		t.Errorf("detaching what is detached: %v", err)
	}
	if err := u.Attach("nothing"); err == nil {
		t.Error("attached a program that is not there")
	}
}

// TestConcurrentUse attaches, detaches and asks from many goroutines while one
// reads. The race detector and the kernel watch.
func TestConcurrentUse(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_exec", "t_rename", "t_point", "t_iter")
	r := reader(t, k, "events_crit")
	attach(t, u, "t_exec")
	var wg sync.WaitGroup
	for _, prog := range []string{"t_rename", "t_point"} {
		wg.Go(func() {
			for range 20 {
				if err := errors.Join(u.Attach(prog), u.Detach(prog)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_, _, _ = k.Links(), k.Programs(), k.Maps()
			if u.Map("events_crit") == nil || u.Program("t_exec") == nil {
				t.Error("lost a map or program")
			}
		}
	})
	for range 5 {
		pid := runCanary(t)
		if rec := next(t, r); int(rec.Pid) != pid {
			t.Errorf("got pid %d, want %d", rec.Pid, pid)
		}
	}
	wg.Wait()
	if got := u.Attached(); !slices.Equal(got, []string{"t_exec"}) {
		t.Errorf("attached in the end: %v", got)
	}
}

func TestIterate(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_iter")
	for _, attached := range []bool{false, true} {
		if attached {
			attach(t, u, "t_iter")
		}
		rc, err := u.Iterate("t_iter")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			t.Fatal(err)
		}
		found := false
		for ; len(b) >= 4; b = b[4:] {
			found = found || binary.NativeEndian.Uint32(b) == uint32(os.Getpid())
		}
		if !found {
			t.Errorf("the iterator (attached: %v) did not list this process", attached)
		}
	}
	if _, err := u.Iterate("nothing"); err == nil {
		t.Error("iterated over nothing")
	}
}

func TestKnobSizes(t *testing.T) {
	for _, c := range []struct {
		in   any
		size uint32
		want any
	}{
		{1, 4, uint32(1)}, {true, 1, uint8(1)}, {false, 8, uint64(0)}, {uint(7), 2, uint16(7)}, {uint32(9), 8, uint32(9)}, {-1, 8, ^uint64(0)},
	} {
		if got := sized(c.in, c.size); fmt.Sprintf("%T%v", got, got) != fmt.Sprintf("%T%v", c.want, c.want) {
			t.Errorf("sized(%v, %d) = %T %v, want %T %v", c.in, c.size, got, got, c.want, c.want)
		}
	}
}
