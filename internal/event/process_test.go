package event

import (
	"encoding/json"
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
// another in memory.
func TestChainIsBounded(t *testing.T) {
	p := chain(10_000)
	n, last := 0, p.PID
	for a := range p.Ancestors {
		n++
		if a.PID != last-1 {
			t.Fatalf("ancestor %d of %d", a.PID, last)
		}
		last = a.PID
	}
	if n >= maxDepth || n < maxDepth/2-1 {
		t.Errorf("%d ancestors kept, want %d to %d", n, maxDepth/2-1, maxDepth-1)
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
