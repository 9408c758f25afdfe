package process

import "github.com/merlon/merlon/internal/event"

// past is what a process was before its present state, for forks that arrive
// after their creator's next exec. It lies in Tree.recent, a ring: it holds
// for its owner until another takes its place.
type past struct {
	of    *node
	start uint64
	at    uint64 // since when
	p     *event.Process
	older *past
}

// last returns what is kept of n's past, nil when nothing is.
func (n *node) last() *past { return n.past.owned(n) }

func (s *past) owned(n *node) *past {
	if s == nil || s.of != n || s.start != n.start {
		return nil
	}
	return s
}

// before returns what is kept from before s.
func (s *past) before() *past {
	o := s.older.owned(s.of)
	if o == nil || o.at >= s.at { // the ring went round
		return nil
	}
	return o
}

// slot takes the oldest place of the ring.
func (t *Tree) slot(n *node, p *event.Process, at uint64) *past {
	s := &t.recent[t.recentAt]
	t.recentAt = (t.recentAt + 1) % recents
	*s = past{of: n, start: n.start, at: at, p: p}
	return s
}

// remember keeps the present state of n, which an exec ends.
func (t *Tree) remember(n *node) {
	older := n.last()
	s := t.slot(n, n.p, n.at)
	if older != s {
		s.older = older
	}
	n.past = s
}

// recall adds what n was at its fork, told late, as the oldest state.
func (t *Tree) recall(n *node, p *event.Process, boot uint64) {
	if boot >= n.at {
		return
	}
	oldest := n.last()
	if oldest == nil {
		n.past = t.slot(n, p, boot)
		return
	}
	for o := oldest.before(); o != nil; o = oldest.before() {
		oldest = o
	}
	if boot < oldest.at {
		oldest.older = t.slot(n, p, boot)
	}
}

// stateAt returns what n was at that time. Without certainty it is the oldest
// state known, which is a guess.
func (n *node) stateAt(boot uint64) (p *event.Process, certain bool) {
	if boot >= n.at {
		return n.p, true
	}
	p = n.p
	for s := n.last(); s != nil; s = s.before() {
		if p = s.p; boot >= s.at {
			return p, true
		}
	}
	return p, false
}

func (n *node) imageAt(boot uint64) *event.Process {
	p, _ := n.stateAt(boot)
	return p
}
