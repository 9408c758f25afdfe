package event

import (
	"encoding/json"
	"slices"
	"testing"
)

func chain(n int) *Process {
	var p *Process
	for i := range n {
		c := &Process{PID: uint32(i + 1), Start: uint64(i + 1), Exe: "/x\xff"}
		c.SetParent(p)
		p = c
	}
	return p
}

// TestChainIsBounded: daemons that fork and exit for ever must not pin one
// another in memory. What is left out lies between the nearest ancestors and
// the root end, and is marked.
func TestChainIsBounded(t *testing.T) {
	for _, length := range []int{1, maxDepth, maxDepth + 1, maxDepth + 2, 100, 101, 10_000} {
		p := chain(length)
		n, cuts, near, root, last := 0, 0, 0, 0, p
		for a := range p.Ancestors {
			n++
			switch {
			case last.Cut:
				cuts++
				near, root = n-1, int(a.PID)
				if a.PID >= last.PID-1 {
					t.Errorf("chain of %d: nothing is missing between %d and %d", length, a.PID, last.PID)
				}
			case a.PID != last.PID-1:
				t.Fatalf("chain of %d: ancestor %d of %d", length, a.PID, last.PID)
			}
			last = a
		}
		switch {
		case last.PID != 1 || last.Cut || n >= maxDepth:
			t.Errorf("chain of %d: %d ancestors up to %d", length, n, last.PID)
		case length <= maxDepth && (cuts != 0 || n != length-1):
			t.Errorf("chain of %d: %d ancestors, cut %d times", length, n, cuts)
		case length > maxDepth && (cuts != 1 || near < keepNear || root != keepRoot):
			t.Errorf("chain of %d: cut %d times, %d nearest kept, the root end from %d", length, cuts, near, root)
		}
	}
}

func TestCutInJSON(t *testing.T) {
	p := chain(maxDepth + 1)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Process
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	var want, got []uint32
	for a := range p.Ancestors {
		if a.Cut {
			want = append(want, a.PID)
		}
	}
	for a := range back.Ancestors {
		if a.Cut {
			got = append(got, a.PID)
		}
	}
	if !slices.Equal(got, want) || len(want) != 1 {
		t.Errorf("marks at %v, want %v", got, want)
	}
}

func TestProcessJSON(t *testing.T) {
	b, err := json.Marshal(chain(4))
	if err != nil {
		t.Fatal(err)
	}
	var back Process
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	var pids []uint32
	for a := range back.Ancestors {
		pids = append(pids, a.PID)
		if a.Exe != "/x\xff" {
			t.Errorf("ancestor %d: exe %q", a.PID, string(a.Exe))
		}
	}
	if back.PID != 4 || len(pids) != 3 || pids[0] != 3 || pids[2] != 1 {
		t.Errorf("process %d with ancestors %v from %s", back.PID, pids, b)
	}
}

func TestCapSet(t *testing.T) {
	c := CapSet(1<<21 | 1<<41)
	if !c.Has("sys_admin") || !c.Has("CAP_SYS_ADMIN") || c.Has("net_raw") || c.Has("nonsense") {
		t.Errorf("Has on %v", c.Names())
	}
	if n := c.Names(); len(n) != 2 || n[1] != "CAP_41" {
		t.Errorf("names %v", n)
	}
	b, err := json.Marshal(c)
	if err != nil || string(b) != `"0000020000200000"` {
		t.Errorf("%s %v", b, err)
	}
	var back CapSet
	if err := json.Unmarshal(b, &back); err != nil || back != c {
		t.Errorf("back: %x %v", uint64(back), err)
	}
}
