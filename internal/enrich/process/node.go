package process

import (
	"github.com/merlon/merlon/internal/event"
)

// tick is the resolution of start times in /proc/PID/stat: USER_HZ is 100 on
// every architecture (include/asm-generic/param.h), and the kernel rounds
// down (fs/proc/array.c, nsec_to_clock_t).
const tick = 10_000_000

// node is the tree's place for one process. The fields down to image are read
// by other goroutines under the shard's lock; the rest is the writer's.
type node struct {
	p     *event.Process // the published state
	older *node          // the process that had this pid before
	start uint64
	pid   uint32
	live  bool
	image bool // p tells what runs; false when only the key (or the exit) is known

	exitTold   bool    // its exit event was published
	gen        uint32  // resync that saw it
	at         uint64  // time of the fork, exec or seed that p shows
	seen       uint64  // time of the last fact about it
	exitAt     uint64  // time it was retired
	past       *past   // the state before p, while it is kept
	args       int     // argument bytes it accounts for
	open       bool    // a part of its ancestry is missing or guessed
	adopted    bool    // forked by another than its parent (CLONE_PARENT)
	settling   bool    // settle is at work on it: garbled records can name parents in a circle
	waiting    []*node // children whose ancestry is open because of it
	next, back *node   // in Tree.live or Tree.exited
}

// list is a queue of nodes, oldest first.
type list struct {
	first, last *node
	n           int
}

func (l *list) push(n *node) {
	n.back, n.next = l.last, nil
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
	l.n++
}

func (l *list) remove(n *node) {
	if n.back != nil {
		n.back.next = n.next
	} else {
		l.first = n.next
	}
	if n.next != nil {
		n.next.back = n.back
	} else {
		l.last = n.back
	}
	n.next, n.back = nil, nil
	l.n--
}

// touch makes n the youngest of l.
func (l *list) touch(n *node) {
	if l.last != n {
		l.remove(n)
		l.push(n)
	}
}

func (t *Tree) shard(pid uint32) *shard { return &t.index[pid%shards] }

// match finds the process of that start time among those of one pid. Start
// times of /proc are rounded down to a tick; they match the exact time.
func match(n *node, start uint64) *node {
	var rounded *node
	for ; n != nil; n = n.older {
		if n.start == start {
			return n
		}
		if rounded == nil && n.start/tick == start/tick && (n.start%tick == 0 || start%tick == 0) {
			rounded = n
		}
	}
	return rounded
}

// find returns the node of that identity. A node known by a rounded start
// time takes the exact one.
func (t *Tree) find(pid uint32, start uint64) *node {
	s := t.shard(pid)
	n := match(s.pid[pid], start)
	if n == nil || n.start == start || start%tick == 0 {
		return n
	}
	p := *n.p
	p.Start = start
	s.mu.Lock()
	n.start, n.p = start, &p
	s.mu.Unlock()
	return n
}

// insert adds a process and retires the one that had its pid.
func (t *Tree) insert(p *event.Process, image bool, boot uint64) *node {
	t.room()
	n := t.free
	if n != nil {
		t.free = n.next
	} else {
		n = new(node)
	}
	*n = node{p: p, start: p.Start, pid: p.PID, live: true, image: image, gen: t.gen, seen: boot}
	if image {
		n.at = boot
	}
	s := t.shard(p.PID)
	head := s.pid[p.PID]
	s.mu.Lock()
	if head == nil || head.start < n.start {
		n.older = head
		s.pid[p.PID] = n
	} else { // its pid has gone to another already
		at := head
		for at.older != nil && at.older.start > n.start {
			at = at.older
		}
		n.older, at.older = at.older, n
	}
	s.mu.Unlock()
	t.live.push(n)
	if head != nil {
		t.counters.reused.Add(1)
		dead := n
		if n.older == head {
			dead = head
		}
		if dead.live {
			t.counters.lostExits.Add(1)
			t.retire(dead)
		}
	}
	t.gauge()
	return n
}

// set publishes p as the state of n.
func (t *Tree) set(n *node, p *event.Process, image bool) {
	s := t.shard(n.pid)
	s.mu.Lock()
	n.p, n.image = p, image
	s.mu.Unlock()
}

// retire marks n exited and keeps it for late events.
func (t *Tree) retire(n *node) {
	if !n.live {
		return
	}
	s := t.shard(n.pid)
	s.mu.Lock()
	n.live = false
	s.mu.Unlock()
	n.exitAt = t.now
	t.live.remove(n)
	t.exited.push(n)
	t.gauge()
}

// room makes place for one more process: the oldest exited one goes, else the
// live one that nothing was heard of for longest.
func (t *Tree) room() {
	for t.live.n+t.exited.n >= t.opt.Limit {
		if n := t.exited.first; n != nil {
			t.counters.evicted.Add(1)
			t.remove(n)
			continue
		}
		t.counters.evictedLive.Add(1)
		t.remove(t.live.first)
	}
}

// expire drops exited processes that are too many or too old.
func (t *Tree) expire() {
	for n := t.exited.first; n != nil && (t.exited.n > t.opt.Exited || n.exitAt+uint64(t.opt.Keep) < t.now); n = t.exited.first {
		t.remove(n)
		t.gauge()
	}
}

func (t *Tree) remove(n *node) {
	s := t.shard(n.pid)
	s.mu.Lock()
	if head := s.pid[n.pid]; head == n {
		if n.older != nil {
			s.pid[n.pid] = n.older
		} else {
			delete(s.pid, n.pid)
		}
	} else {
		for at := head; at != nil; at = at.older {
			if at.older == n {
				at.older = n.older
				break
			}
		}
	}
	s.mu.Unlock()
	if n.live {
		t.live.remove(n)
	} else {
		t.exited.remove(n)
	}
	t.argBytes -= n.args
	*n = node{next: t.free}
	t.free = n
}

func (t *Tree) gauge() {
	t.counters.live.Store(int64(t.live.n))
	t.counters.exited.Store(int64(t.exited.n))
}
