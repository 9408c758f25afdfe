package process

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// world is the naive model: what really happened, in order, with nothing
// lost. Its clock ticks once per act.
type world struct {
	rng    *rand.Rand
	clock  uint64
	procs  map[event.Key]*proc
	living []event.Key
	acts   []*event.Event
}

type proc struct {
	exe    string
	parent event.Key
	atFork string // what the creator ran then
	alive  bool
	execAt uint64 // last exec
	exitAt uint64
}

func newWorld(rng *rand.Rand) *world {
	w := &world{rng: rng, clock: 100, procs: map[event.Key]*proc{}}
	root := event.Key{PID: 1, Start: 1}
	w.procs[root] = &proc{exe: "/init", alive: true}
	w.living = []event.Key{root}
	w.acts = append(w.acts, task(100, none, root, "/init"))
	return w
}

// step lets one thing happen. Pids come from a pool of forty, so they come
// again soon.
func (w *world) step() {
	w.clock += 1 + w.rng.Uint64N(5)
	i := w.rng.IntN(len(w.living))
	k := w.living[i]
	p := w.procs[k]
	switch r := w.rng.IntN(10); {
	case r < 4:
		child := event.Key{PID: 2 + w.rng.Uint32N(40), Start: w.clock}
		for _, l := range w.living {
			if l.PID == child.PID {
				return // the pid is taken
			}
		}
		w.procs[child] = &proc{exe: p.exe, parent: k, atFork: p.exe, alive: true}
		w.living = append(w.living, child)
		w.acts = append(w.acts, fork(w.clock, k, child))
	case r < 7:
		p.exe, p.execAt = fmt.Sprintf("/bin/%d", w.clock), w.clock
		e := exec(w.clock, p.parent, k, p.exe)
		e.Process.File.Inode = w.clock
		w.acts = append(w.acts, e)
	case k.PID != 1:
		p.alive, p.exitAt = false, w.clock
		w.living = slices.Delete(w.living, i, i+1)
		w.acts = append(w.acts, exit(w.clock, k))
		if w.rng.IntN(4) == 0 { // two last threads race
			w.acts = append(w.acts, exit(w.clock, k))
		}
	}
}

// delay lets forks arrive late, up to late places behind.
func (w *world) delay(late int) {
	at := make(map[*event.Event]int, len(w.acts))
	for i, ev := range w.acts {
		at[ev] = i
		if ev.Kind == event.KindFork && w.rng.IntN(3) == 0 {
			at[ev] += w.rng.IntN(late + 1)
		}
	}
	slices.SortStableFunc(w.acts, func(a, b *event.Event) int { return cmp.Compare(at[a], at[b]) })
}

func run(t *testing.T, tr *Tree, acts []*event.Event) {
	exits := map[event.Key]bool{}
	for _, ev := range acts {
		key, kind := ev.Process.Key(), ev.Kind
		tr.Enrich(ev)
		if ev.Process.Key() != key {
			t.Fatalf("%s of %v came out as that of %v", kind, key, ev.Process.Key())
		}
		if ev.Kind == event.KindExit {
			if exits[key] {
				t.Fatalf("two exits of %v", key)
			}
			exits[key] = true
		}
		depth := 0
		for range ev.Process.Ancestors {
			if depth++; depth > 64 {
				t.Fatal("endless ancestry")
			}
		}
	}
	check(t, tr)
}

// checkWhole compares everything with the model: nothing was lost.
func (w *world) checkWhole(t *testing.T, tr *Tree, ancestry bool) {
	for k, p := range w.procs {
		got := tr.Process(k)
		if got == nil || string(got.Exe) != p.exe {
			t.Fatalf("%v: tree has %s, truth is %s", k, line(got), p.exe)
		}
		if p.parent.PID == 0 || !ancestry {
			continue
		}
		if got.Parent == nil || got.Parent.Key() != p.parent || string(got.Parent.Exe) != p.atFork {
			t.Fatalf("%v: ancestry %s, truth is %v running %s", k, line(got), p.parent, p.atFork)
		}
	}
	if live := len(tr.Processes()); live != len(w.living) {
		t.Fatalf("%d live, truth is %d", live, len(w.living))
	}
}

func simulate(t *testing.T, seed uint64, steps, late int, loss bool) {
	w := newWorld(rand.New(rand.NewPCG(seed, 1)))
	for range steps {
		w.step()
	}
	w.delay(late)
	if !loss {
		tr := New(Options{Limit: 1 << 20, Exited: 1 << 20})
		run(t, tr, w.acts)
		w.checkWhole(t, tr, true)
		return
	}
	got := map[event.Kind]map[event.Key]uint64{event.KindExec: {}, event.KindExit: {}}
	acts := slices.DeleteFunc(w.acts, func(ev *event.Event) bool {
		if ev.Kind != event.KindTask && w.rng.IntN(5) == 0 {
			return true
		}
		if m := got[ev.Kind]; m != nil {
			m[ev.Process.Key()] = ev.Boot
		}
		return false
	})
	tr := New(Options{Limit: 1 << 20, Exited: 1 << 20})
	run(t, tr, acts)
	for k, at := range got[event.KindExec] {
		if p := w.procs[k]; p.execAt == at && string(tr.Process(k).Exe) != p.exe {
			t.Fatalf("%v: its last exec came, yet the tree has %s, not %s", k, line(tr.Process(k)), p.exe)
		}
	}
	for _, p := range tr.Processes() {
		if got[event.KindExit][p.Key()] != 0 {
			t.Fatalf("%v lives after its exit came", p.Key())
		}
	}
	tr.BeginResync()
	for _, k := range w.living {
		s := task(w.clock+1, w.procs[k].parent, k, w.procs[k].exe)
		s.Process.File.Inode = w.procs[k].execAt
		tr.Enrich(s)
	}
	tr.EndResync()
	check(t, tr)
	if live := len(tr.Processes()); live != len(w.living) {
		t.Fatalf("after the resync %d live, truth is %d", live, len(w.living))
	}
	for _, k := range w.living {
		if p := tr.Process(k); p == nil || string(p.Exe) != w.procs[k].exe {
			t.Fatalf("after the resync %v is %s, truth is %s", k, line(p), w.procs[k].exe)
		}
	}
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		simulate(t, seed, 400, 0, false)
		simulate(t, seed, 400, 6, false)
		simulate(t, seed, 400, 6, true)
	}
}

func FuzzAgainstModel(f *testing.F) {
	f.Add(uint64(1), uint16(200), uint8(3), true)
	f.Add(uint64(2), uint16(900), uint8(0), false)
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16, late uint8, loss bool) {
		simulate(t, seed, int(steps%2000), int(late), loss)
	})
}

// FuzzAnything feeds acts that make no sense together: the books must stay
// right and the bounds kept.
func FuzzAnything(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07"))
	f.Fuzz(func(t *testing.T, in []byte) {
		tr := New(Options{Limit: 8, Exited: 3, ArgsBytes: 64})
		for i := 0; i+3 < len(in); i += 4 {
			k := event.Key{PID: uint32(in[i+1] % 8), Start: uint64(in[i+2]) * 2_500_000}
			up := event.Key{PID: uint32(in[i+3] % 8), Start: uint64(in[i+3]) * 2_500_000}
			boot := uint64(in[i+2]^in[i+3]) * 5_000_000
			switch in[i] % 8 {
			case 0, 1:
				tr.Enrich(fork(boot, up, k))
			case 2, 3:
				tr.Enrich(exec(boot, up, k, "/bin/"+string(in[i:i+1]), "arg"))
			case 4:
				tr.Enrich(exit(boot, k))
			case 5:
				tr.Enrich(task(boot, up, k, "/bin/"+string(in[i:i+1])))
			case 6:
				tr.BeginResync()
			case 7:
				tr.EndResync()
			}
			check(t, tr)
			if n, limit := tr.Size(); n > limit {
				t.Fatalf("holds %d of %d", n, limit)
			}
		}
	})
}
