package process

import "github.com/merlon/merlon/internal/event"

// waiters is the most children that a process keeps to complete them later;
// the others are completed when something is heard of them, or by a resync.
const waiters = 64

// parentOf finds the parent that p's record names. With create an unknown one
// is kept by its key until something tells more of it.
func (t *Tree) parentOf(p *event.Process, create bool) *node {
	if p.PPID == 0 {
		return nil
	}
	if n := t.find(p.PPID, p.PStart); n != nil {
		return n
	}
	if p.PStart == 0 { // the record does not tell: the youngest that is old enough
		n := t.shard(p.PPID).pid[p.PPID]
		for n != nil && n.start > p.Start {
			n = n.older
		}
		return n
	}
	if !create {
		return nil
	}
	t.counters.placeholders.Add(1)
	q := &event.Process{PID: p.PPID, Start: p.PStart, Origin: event.OriginInferred}
	return t.insert(q, false, t.now)
}

// blank reports whether nothing is known of p but its key.
func blank(p *event.Process) bool {
	return p == nil || (p.Origin == event.OriginInferred && p.Exe == "" && p.Comm == "")
}

// sameImage reports whether a and b run the same binary.
func sameImage(a, b *event.Process) bool {
	if a.File != nil && b.File != nil && a.File.Inode != 0 && b.File.Inode != 0 {
		return a.File.Dev == b.File.Dev && a.File.Inode == b.File.Inode
	}
	return a.Exe == b.Exe
}

// complete links n to its parent when that has become known since.
func (t *Tree) complete(n *node) {
	if !n.image || n.p.PPID == 0 || !blank(n.p.Parent) {
		return
	}
	parent := t.parentOf(n.p, false)
	if parent == nil || parent == n || blank(parent.p) {
		return
	}
	t.adopt(n, parent)
	t.settle(n)
}

// adopt links n to its parent, and lets it inherit anew what its fork could
// only guess because the parent was not known yet.
func (t *Tree) adopt(n, parent *node) {
	from := parent.imageAt(n.start)
	t.set(n, n.child(n.p, from), n.image)
	for s := n.last(); s != nil; s = s.before() {
		s.p = n.child(s.p, from)
	}
}

// child returns a copy of a state of n, under that parent.
func (n *node) child(state, parent *event.Process) *event.Process {
	p := *state
	if p.Origin == event.OriginFork && !n.adopted {
		inherit(&p, parent)
	}
	p.SetParent(parent)
	return &p
}

// wait puts n on the list of its parent when its ancestry is open.
func (t *Tree) wait(n *node) {
	n.open = false
	if n.p.Parent == nil {
		return
	}
	parent := t.find(n.p.Parent.PID, n.p.Parent.Start)
	if parent == nil || parent == n {
		return
	}
	if _, certain := parent.stateAt(n.start); certain && parent.image && !parent.open {
		return
	}
	n.open = true
	if len(parent.waiting) < waiters {
		parent.waiting = append(parent.waiting, n)
	}
}

// settle hands what was learned of n on to the children that wait for it. A
// node on the list may stand for another process by now; its parent tells.
func (t *Tree) settle(n *node) {
	t.wait(n)
	waiting := n.waiting
	n.waiting = nil
	n.settling = true
	for _, w := range waiting {
		if w.p == nil || w.settling || w.p.Parent == nil || w.p.Parent.PID != n.pid || w.p.Parent.Start != n.start {
			continue
		}
		t.adopt(w, n)
		t.settle(w)
	}
	n.settling = false
}
