package process

import (
	"cmp"
	"math"
	"slices"

	"github.com/merlon/merlon/internal/event"
)

// BeginResync starts a comparison with what really runs: KindTask events
// follow, then EndResync. The pipeline's goroutine calls it.
func (t *Tree) BeginResync() {
	t.gen++
	t.sweepBefore = math.MaxUint64
	t.resyncing = true
}

// seed takes a process that was found running.
func (t *Tree) seed(ev *event.Event) {
	p := ev.Process
	p.Origin = event.OriginSeed
	if ev.Boot != 0 {
		t.sweepBefore = min(t.sweepBefore, ev.Boot)
	} else {
		t.sweepBefore = min(t.sweepBefore, t.now)
	}
	var parent *node
	n := t.find(p.PID, p.Start)
	if n == nil || blank(n.p.Parent) {
		if parent = t.parentOf(p, true); parent != nil {
			p.SetParent(parent.p)
		}
		n = t.find(p.PID, p.Start)
	}
	if n == nil {
		size := t.keep(p)
		n = t.insert(p, true, ev.Boot)
		t.account(n, size)
		t.wait(n)
		return
	}
	if n.exitTold { // a zombie, or it went since it was read
		if n.image {
			ev.Process = n.p
		}
		return
	}
	t.alive(n, ev.Boot)
	if n.image && (ev.Boot < n.at || unchanged(p, n.p)) {
		t.complete(n)
		ev.Process = n.p
		return
	}
	t.reseed(n, ev)
}

// reseed takes a seed that tells more than the tree knew, and sets ev.Was to
// what that was when an image was known: a key alone says nothing to compare.
func (t *Tree) reseed(n *node, ev *event.Event) {
	p := ev.Process
	p.Start = n.start
	if n.image {
		ev.Was = n.p
		if !blank(n.p.Parent) {
			p.SetParent(n.p.Parent)
		}
		if sameImage(p, n.p) && len(p.Args) == 0 {
			p.Args = n.p.Args
		}
	}
	size := t.keep(p)
	n.at = max(n.at, ev.Boot)
	t.set(n, p, true)
	t.account(n, size)
	t.settle(n)
}

// unchanged reports whether a seed tells nothing that the tree doesn't know.
func unchanged(seed, known *event.Process) bool {
	return sameImage(seed, known) && seed.Creds == known.Creds && seed.NS == known.NS &&
		seed.CgroupID == known.CgroupID && seed.CgroupV1 == known.CgroupV1 && seed.LoginUID == known.LoginUID
}

// EndResync retires what the seed did not tell of although it was there
// before, and links processes that were seeded before their parents. The
// pipeline's goroutine calls it.
func (t *Tree) EndResync() {
	if !t.resyncing {
		return
	}
	t.resyncing = false
	if t.sweepBefore == math.MaxUint64 { // the seed told of nothing: it failed
		return
	}
	for n := t.live.first; n != nil; {
		next := n.next
		if n.gen != t.gen && n.seen < t.sweepBefore {
			t.counters.swept.Add(1)
			t.retire(n)
		}
		n = next
	}
	t.relinkAll()
	t.expire()
}

// relinkAll completes ancestries from the oldest process on. A process starts
// after its parent.
func (t *Tree) relinkAll() {
	all := make([]*node, 0, t.live.n)
	for n := t.live.first; n != nil; n = n.next {
		if n.image {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b *node) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid)) })
	now := make(map[*event.Process]*event.Process) // states replaced here
	for _, n := range all {
		old := n.p
		if q := now[old.Parent]; q != nil {
			p := *old
			p.SetParent(q)
			t.set(n, &p, true)
		} else {
			t.complete(n)
		}
		if n.p != old {
			now[old] = n.p
		}
	}
}
