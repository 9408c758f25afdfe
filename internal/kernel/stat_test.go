package kernel

import (
	"runtime"
	"strings"
	"testing"
)

func TestCounts(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_exec", "t_point")
	attach(t, u, "t_exec")
	attach(t, u, "t_point")
	// Fill the hash, so that the program's update fails and is counted.
	small, err := k.Load(unitSpec(t), LoadOptions{Name: "small", Programs: []string{"t_point"}, Sizes: map[string]uint32{"t_seen": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Map("t_seen").Put(^uint32(0), uint64(1)); err != nil {
		t.Fatal(err)
	}
	attach(t, small, "t_point")
	for range 5 {
		runCanary(t)
	}
	counts, err := k.Counts()
	if err != nil {
		t.Fatal(err)
	}
	c := counts[kindExec]
	if c.Produced != 5 || len(c.Lost) != 0 || c.Faults["map_update"] < 5 {
		t.Errorf("got %+v, want 5 produced and 5 or more faults", c)
	}
}

func TestStats(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_exec", "t_rename", "t_point")
	for _, p := range []string{"t_exec", "t_rename", "t_point"} {
		attach(t, u, p)
	}
	stats, err := k.EnableStats()
	if err != nil {
		t.Fatal(err)
	}
	const acts = 1000
	runtime.LockOSThread()
	for range acts {
		if err := rename("stat"); err != nil {
			t.Fatal(err)
		}
	}
	runtime.UnlockOSThread()
	programs := map[string]ProgramStat{}
	for _, p := range k.Programs() {
		programs[p.Name] = p
	}
	if err := stats.Close(); err != nil {
		t.Error(err)
	}
	p := programs["t_rename"]
	if len(programs) != 3 || p.Unit != "unit" || p.ID == 0 || p.Tag == "" || p.Type != "RawTracepoint" || p.Attach != "raw_tp/task_rename" || !p.Attached {
		t.Errorf("%d programs, t_rename: %+v", len(programs), p)
	}
	if p.RunCount < acts || p.RunTime <= 0 || p.Memlock == 0 {
		t.Errorf("t_rename ran %d times for %v, %d bytes", p.RunCount, p.RunTime, p.Memlock)
	}
	maps := map[string]MapStat{}
	for _, m := range k.Maps() {
		maps[m.Unit+"/"+m.Name] = m
	}
	if m := maps["shared/events_bulk"]; m.Entries < acts*56 || m.Bytes < 1<<20 || m.MaxEntries != 1<<20 {
		t.Errorf("events_bulk after %d unread records: %+v", acts, m)
	}
	if _, ok := maps["unit/events_bulk"]; ok {
		t.Error("a shared map is told twice")
	}
}

func TestMapFill(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_point")
	for i := range uint32(3000) {
		if err := u.Map("t_seen").Put(i, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range k.Maps() {
		if m.Name == "t_seen" && m.Entries != 3000 {
			t.Errorf("t_seen holds 3000 entries, told %d", m.Entries)
		}
	}
}

// TestLinks wants the link list to tell truthfully what sits on system calls.
func TestLinks(t *testing.T) {
	k := open(t)
	u := load(t, k, "unit", 1, "t_exec", "t_point", "t_iter")
	for _, p := range []string{"t_exec", "t_point", "t_iter"} {
		attach(t, u, p)
	}
	onSyscalls := func() (n int) {
		for _, l := range k.Links() {
			if strings.Contains(l.Attach, "sys_enter") || strings.Contains(l.Attach, "sys_exit") || strings.Contains(l.Attach, "syscalls") {
				n++
			}
		}
		return n
	}
	links := map[string]LinkStat{}
	for _, l := range k.Links() {
		links[l.Program] = l
	}
	if l := links["t_exec"]; l.Type != "raw_tracepoint" || l.ID == 0 || l.Attach != "raw_tp/sched_process_exec" || l.Unit != "unit" {
		t.Errorf("t_exec: %+v", l)
	}
	if l := links["t_point"]; l.Type != "perf_event" || !strings.HasPrefix(l.Attach, "tracepoint/") || !strings.HasSuffix(l.Attach, "sched_process_exec") {
		t.Errorf("t_point: %+v", l)
	}
	if l := links["t_iter"]; l.Type != "iter" {
		t.Errorf("t_iter: %+v", l)
	}
	if n := onSyscalls(); n != 0 {
		t.Errorf("%d links on system calls", n)
	}
	never, err := k.Load(unitSpec(t), LoadOptions{Name: "never", Programs: []string{"t_never"}, Sizes: map[string]uint32{"t_huge": 1}})
	if err != nil {
		t.Fatal(err)
	}
	attach(t, never, "t_never")
	if n := onSyscalls(); n != 1 {
		t.Errorf("a program sits on raw_syscalls, and the list tells %d", n)
	}
}
