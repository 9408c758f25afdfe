package process

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
)

var (
	_ contract.Enricher    = (*Tree)(nil)
	_ contract.Observables = (*Tree)(nil)
	_ contract.Resyncer    = (*Tree)(nil)
)

func fork(boot uint64, parent, child event.Key) *event.Event {
	return &event.Event{Kind: event.KindFork, Boot: boot, Fork: &event.Fork{Creator: parent},
		Process: &event.Process{PID: child.PID, Start: child.Start, PPID: parent.PID, PStart: parent.Start, Comm: "c"}}
}

func exec(boot uint64, parent, p event.Key, exe string, args ...event.Text) *event.Event {
	return &event.Event{Kind: event.KindExec, Boot: boot, Exec: &event.Exec{Filename: event.Text(exe), Args: args},
		Process: &event.Process{PID: p.PID, Start: p.Start, PPID: parent.PID, PStart: parent.Start,
			Exe: event.Text(exe), Comm: "c", CWD: "/", File: &event.File{Path: event.Text(exe), Inode: uint64(len(exe))}}}
}

func exit(boot uint64, p event.Key) *event.Event {
	return &event.Event{Kind: event.KindExit, Boot: boot, Exit: &event.Exit{}, Process: &event.Process{PID: p.PID, Start: p.Start}}
}

func task(boot uint64, parent, p event.Key, exe string) *event.Event {
	ev := exec(boot, parent, p, exe)
	ev.Kind, ev.Exec = event.KindTask, nil
	return ev
}

func feed(t *Tree, evs ...*event.Event) {
	for _, ev := range evs {
		t.Enrich(ev)
	}
}

// line draws the ancestry of p: "exe<exe<exe".
func line(p *event.Process) string {
	if p == nil {
		return "nil"
	}
	var b strings.Builder
	name := func(p *event.Process) {
		if p.Exe == "" {
			fmt.Fprintf(&b, "?%d", p.PID)
		} else {
			b.WriteString(string(p.Exe))
		}
	}
	name(p)
	for a := range p.Ancestors {
		b.WriteByte('<')
		name(a)
	}
	return b.String()
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

var (
	none = event.Key{}
	a    = event.Key{PID: 10, Start: 1000}
	b    = event.Key{PID: 11, Start: 2000}
	c    = event.Key{PID: 12, Start: 3000}
)

func TestForkExecExit(t *testing.T) {
	tr := New(Options{})
	e := exec(3000, a, b, "/bin/ls", "ls", "-l")
	f := fork(2000, a, b)
	f.Process.Creds.EUID = 7
	feed(tr, exec(1500, none, a, "/bin/sh", "sh"), f, e)
	is(t, "fork shows the parent's image", line(f.Process), "/bin/sh</bin/sh")
	is(t, "forked args", string(f.Process.Args[0]), "sh")
	is(t, "exec", line(e.Process), "/bin/ls</bin/sh")
	is(t, "previous", string(e.Exec.Previous), "/bin/sh")
	is(t, "origins", string(f.Process.Origin+","+e.Process.Origin), "fork,exec")
	if e.Was != f.Process || f.Was == nil || f.Was.Creds.EUID != 0 {
		t.Errorf("Was: exec %v, fork %v", e.Was, f.Was)
	}
	if got := tr.Process(a).Creds.EUID; got != 7 {
		t.Errorf("parent's credentials seen at the fork: euid %d, want 7", got)
	}
	if tr.Process(b) != e.Process {
		t.Error("Process does not return what exec published")
	}
	x, twice := exit(4000, b), exit(4001, b)
	feed(tr, x, twice)
	if x.Process != e.Process || x.Was != e.Process {
		t.Error("exit does not carry the tree's process")
	}
	if x.Kind != event.KindExit || twice.Kind != "" || tr.Stats().DuplicateExits != 1 {
		t.Errorf("second exit: kinds %q, %q", x.Kind, twice.Kind)
	}
	if n := len(tr.Processes()); n != 1 {
		t.Errorf("%d live, want 1", n)
	}
	if tr.Process(b) == nil {
		t.Error("an exited process is not kept for late events")
	}
	feed(tr, exit(4000+uint64(2*time.Minute), a))
	if tr.Process(b) != nil {
		t.Error("an exited process is kept for ever")
	}
}

func TestForkArrivesLate(t *testing.T) {
	t.Run("after exec", func(t *testing.T) {
		tr := New(Options{})
		e, f := exec(3000, a, b, "/bin/ls"), fork(2000, a, b)
		feed(tr, exec(1500, none, a, "/bin/sh"), e)
		is(t, "origin before the fork", string(e.Process.Origin), "inferred")
		feed(tr, f)
		is(t, "fork event", line(f.Process), "/bin/sh</bin/sh")
		is(t, "tree", line(tr.Process(b)), "/bin/ls</bin/sh")
		is(t, "origin", string(tr.Process(b).Origin), "exec")
	})
	t.Run("after exit", func(t *testing.T) {
		tr := New(Options{})
		feed(tr, exec(1500, none, a, "/bin/sh"), exit(2500, b), fork(2000, a, b))
		is(t, "tree", line(tr.Process(b)), "/bin/sh</bin/sh")
		if n := len(tr.Processes()); n != 1 {
			t.Errorf("%d live: a late fork revived the dead", n)
		}
	})
	t.Run("after the parent's exec", func(t *testing.T) {
		tr := New(Options{})
		f := fork(2000, a, b)
		feed(tr, exec(1500, none, a, "/bin/sh"), exec(2100, none, a, "/bin/top"), f)
		is(t, "fork event", line(f.Process), "/bin/sh</bin/sh")
		is(t, "parent", line(tr.Process(a)), "/bin/top")
	})
	t.Run("the parent was not known", func(t *testing.T) {
		tr := New(Options{})
		feed(tr, exec(1000, none, a, "/bin/sh"), exec(3500, b, c, "/bin/ls"))
		is(t, "placeholder", line(tr.Process(c)), "/bin/ls<?11")
		if tr.Process(b) != nil {
			t.Error("a process known by key only is shown")
		}
		feed(tr, fork(2000, a, b), fork(3000, b, c))
		is(t, "tree", line(tr.Process(c)), "/bin/ls</bin/sh</bin/sh")
	})
	t.Run("reparented meanwhile", func(t *testing.T) {
		tr := New(Options{})
		one := event.Key{PID: 1, Start: 5}
		feed(tr, task(10, none, one, "/init"), exec(1500, one, a, "/bin/sh"), exit(2500, a), exec(3000, one, b, "/bin/ls"), fork(2000, a, b))
		is(t, "tree", line(tr.Process(b)), "/bin/ls</bin/sh</init")
	})
}

func TestCloneParent(t *testing.T) {
	tr := New(Options{})
	f := fork(3000, a, c)
	f.Fork.Creator = b
	feed(tr, exec(1500, none, a, "/bin/sh"), exec(2500, a, b, "/bin/runc"), f)
	is(t, "image of the creator, under the parent", line(f.Process), "/bin/runc</bin/sh")
}

func TestPidReuse(t *testing.T) {
	tr := New(Options{})
	again := event.Key{PID: b.PID, Start: 9000}
	feed(tr, exec(1500, none, a, "/bin/sh"), fork(2000, a, b), exec(2100, a, b, "/bin/old"), fork(9000, a, again))
	is(t, "new", line(tr.Process(again)), "/bin/sh</bin/sh")
	is(t, "old", line(tr.Process(b)), "/bin/old</bin/sh")
	if s := tr.Stats(); s.Reused != 1 || s.LostExits != 1 || s.Live != 2 {
		t.Errorf("stats %+v", s)
	}
	late := exit(2200, b)
	feed(tr, late)
	is(t, "late exit of the old", line(late.Process), "/bin/old</bin/sh")
	if late.Kind != event.KindExit || len(tr.Processes()) != 2 {
		t.Error("the late exit of the old process was dropped, or hit the new one")
	}
}

func TestRoundedSeed(t *testing.T) {
	tr := New(Options{})
	exact := event.Key{PID: 10, Start: 123_456_789}
	rounded := event.Key{PID: 10, Start: 120_000_000}
	tr.BeginResync()
	feed(tr, task(5e9, none, rounded, "/bin/sh"))
	tr.EndResync()
	f := fork(6e9, exact, event.Key{PID: 11, Start: 5_999_999_999})
	feed(tr, f)
	is(t, "child of a seed", line(f.Process), "/bin/sh</bin/sh")
	if p := tr.Process(rounded); p == nil || p.Key() != exact || f.Process.Parent.Key() != exact {
		t.Errorf("the seed did not take the exact start: %v", p)
	}
	tr.BeginResync()
	feed(tr, task(7e9, none, rounded, "/bin/sh"), task(7e9, rounded, event.Key{PID: 11, Start: 5_990_000_000}, "/bin/sh"))
	tr.EndResync()
	if s := tr.Stats(); s.Live != 2 || s.Reused != 0 || s.Swept != 0 {
		t.Errorf("after the second seed: %+v", s)
	}
	if tr.Process(event.Key{PID: 10, Start: 130_000_000}) != nil {
		t.Error("another tick matches")
	}
}

func TestResync(t *testing.T) {
	tr := New(Options{})
	gone, young := event.Key{PID: 50, Start: 100}, event.Key{PID: 51, Start: 7000}
	feed(tr, exec(150, none, gone, "/bin/gone"), exec(1500, none, a, "/bin/sh"), exec(7100, a, young, "/bin/young"))
	tr.BeginResync()
	tr.EndResync()
	if s := tr.Stats(); s.Swept != 0 {
		t.Fatalf("a seed that told of nothing swept %d", s.Swept)
	}
	tr.BeginResync()
	seed := task(6000, b, c, "/bin/ls")
	feed(tr, seed, task(6001, a, b, "/bin/bash"), task(6002, none, a, "/bin/zsh"))
	tr.EndResync()
	is(t, "seeded before its parents", line(tr.Process(c)), "/bin/ls</bin/bash</bin/sh")
	is(t, "a lost exec is made good", line(tr.Process(a)), "/bin/zsh")
	s := tr.Stats()
	if s.Swept != 1 || s.Live != 4 {
		t.Errorf("swept %d of 1, live %d of 4", s.Swept, s.Live)
	}
	x := exit(8000, gone)
	feed(tr, x)
	if x.Kind != event.KindExit || x.Process.Exe != "/bin/gone" {
		t.Error("the exit of a process that a resync had retired is lost")
	}
	old := task(1600, none, a, "/bin/sh")
	tr.BeginResync()
	feed(tr, old)
	is(t, "an older seed", line(tr.Process(a)), "/bin/zsh")
}

// TestResyncTellsWhatWas: a seed that changes what was known says what that
// was, one that doesn't has nothing to compare.
func TestResyncTellsWhatWas(t *testing.T) {
	tr := New(Options{})
	asUser := func(ev *event.Event) *event.Event {
		ev.Process.Creds = event.Creds{UID: 1000, EUID: 1000, SUID: 1000}
		return ev
	}
	feed(tr, asUser(exec(1500, none, a, "/bin/sh")), asUser(exec(2500, a, b, "/bin/b")))
	tr.BeginResync()
	same, root, fresh := asUser(task(6000, a, b, "/bin/b")), task(6001, none, a, "/bin/sh"), task(6002, b, c, "/bin/c")
	feed(tr, same, root, fresh)
	tr.EndResync()
	if root.Was == nil || root.Was.Creds.EUID != 1000 || root.Process.Creds.EUID != 0 {
		t.Errorf("root without an event: was %+v", root.Was)
	}
	if same.Was != nil || fresh.Was != nil {
		t.Errorf("nothing to compare: was %+v and %+v", same.Was, fresh.Was)
	}
}

func TestSeedInAnyOrder(t *testing.T) {
	tr := New(Options{})
	d := event.Key{PID: 9, Start: 4000}
	tr.BeginResync()
	feed(tr, task(6000, c, d, "/bin/d"), task(6000, b, c, "/bin/c"), task(6000, a, b, "/bin/b"), task(6000, none, a, "/bin/a"))
	tr.EndResync()
	is(t, "tree", line(tr.Process(d)), "/bin/d</bin/c</bin/b</bin/a")
	check(t, tr)
}

func TestArgsAreBounded(t *testing.T) {
	tr := New(Options{ArgsBytes: 8 << 10})
	big := event.Text(strings.Repeat("x", 100<<10))
	e := exec(1, none, a, "/bin/sh", "sh", big, "end")
	feed(tr, e)
	if len(e.Exec.Args) != 3 || len(e.Exec.Args[1]) != len(big) {
		t.Error("the event lost arguments")
	}
	if got := len(e.Process.Args); got != 2 || len(e.Process.Args[1]) > argsKept {
		t.Errorf("the node keeps %d arguments", got)
	}
	feed(tr, exec(2, none, b, "/bin/sh", "sh", big), exec(3, none, c, "/bin/sh", "sh", big))
	if n := len(tr.Process(c).Args[1]); n > argsScarce {
		t.Errorf("over the limit %d bytes are kept", n)
	}
	feed(tr, exec(4, none, a, "/bin/sh"), exec(5, none, b, "/bin/sh"), exec(6, none, c, "/bin/sh"))
	if tr.argBytes != 0 {
		t.Errorf("%d argument bytes are still booked", tr.argBytes)
	}
}

func TestLimit(t *testing.T) {
	tr := New(Options{Limit: 100, Exited: 10})
	for i := range uint32(1000) {
		feed(tr, fork(uint64(i)+1, a, event.Key{PID: 100 + i, Start: uint64(i) + 1}))
		if i%3 == 0 {
			feed(tr, exit(uint64(i)+1, event.Key{PID: 100 + i, Start: uint64(i) + 1}))
		}
		check(t, tr)
	}
	s := tr.Stats()
	if s.EvictedLive == 0 || s.Evicted == 0 || s.Live+s.Exited > 100 || s.Exited > 10 {
		t.Errorf("stats %+v", s)
	}
	if n, limit := tr.Size(); n > limit || limit != 100 {
		t.Errorf("size %d of %d", n, limit)
	}
}

// TestDaemonChain lets every process fork a successor and exit, for ever.
func TestDaemonChain(t *testing.T) {
	tr := New(Options{Exited: 16})
	at := a
	feed(tr, exec(1500, none, a, "/bin/sh"))
	for i := range uint32(20_000) {
		child := event.Key{PID: 2 + i%1000, Start: 5000 + uint64(i)}
		feed(tr, fork(child.Start, at, child), exec(child.Start, at, child, "/bin/d"), exit(child.Start, at))
		at = child
	}
	depth, seen := 0, map[*event.Process]bool{}
	for i := range tr.index {
		for _, n := range tr.index[i].pid {
			for ; n != nil; n = n.older {
				depth = 0
				for p := n.p; p != nil; p = p.Parent {
					depth++
					seen[p] = true
				}
				if depth > 65 {
					t.Fatalf("an ancestry of %d", depth)
				}
			}
		}
	}
	if n, _ := tr.Size(); n > 17 || len(seen) > 200 {
		t.Errorf("%d processes held, %d pinned", n, len(seen))
	}
	check(t, tr)
}

func TestReaders(t *testing.T) {
	tr := New(Options{Limit: 500, Exited: 50})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, p := range tr.Processes() {
					if tr.Process(p.Key()) == nil && p.PID == 0 {
						t.Error("a process without pid")
					}
					line(p)
				}
				tr.Size()
				tr.Stats()
			}
		})
	}
	for i := range uint32(20_000) {
		k := event.Key{PID: 100 + i%700, Start: uint64(i)*7 + 1}
		feed(tr, fork(k.Start, a, k), exec(k.Start+1, a, k, "/bin/x"))
		if i%2 == 0 {
			feed(tr, exit(k.Start+2, k))
		}
		if i%5000 == 0 {
			tr.BeginResync()
			feed(tr, task(k.Start+3, a, k, "/bin/y"))
			tr.EndResync()
		}
	}
	close(stop)
	wg.Wait()
	check(t, tr)
}

// check verifies the tree's own books.
func check(t *testing.T, tr *Tree) {
	t.Helper()
	live, exited, args := 0, 0, 0
	for i := range tr.index {
		for pid, n := range tr.index[i].pid {
			head := n
			for ; n != nil; n = n.older {
				args += n.args
				switch {
				case n.pid != pid || n.p == nil || n.p.PID != pid || n.p.Start != n.start:
					t.Fatalf("pid %d: node is %d/%d, shows %v", pid, n.pid, n.start, n.p)
				case n.live && n != head:
					t.Fatalf("pid %d: an older process lives", pid)
				case n.older != nil && n.older.start >= n.start:
					t.Fatalf("pid %d: out of order", pid)
				case n.live:
					live++
				default:
					exited++
				}
			}
		}
	}
	if live != tr.live.n || exited != tr.exited.n || args != tr.argBytes {
		t.Fatalf("index has %d live, %d exited, %d bytes; lists say %d, %d, %d", live, exited, args, tr.live.n, tr.exited.n, tr.argBytes)
	}
	if s := tr.Stats(); s.Live != live || s.Exited != exited {
		t.Fatalf("gauges say %d, %d; there are %d, %d", s.Live, s.Exited, live, exited)
	}
}
