package names

import (
	"strings"

	"github.com/merlon/merlon/internal/event"
)

// add notes a name of an address, or that it was answered again.
func (e *Enricher) add(ev *event.Event, addr, name string, until uint64) {
	key, container := asker(ev)
	n, last := 0, (*entry)(nil)
	for x := e.byAddr[addr]; x != nil; x = x.older {
		if x.name == name && x.asker == key && x.container == container {
			x.until = max(x.until, until)
			e.touch(x)
			return
		}
		n, last = n+1, x
	}
	if n >= sameAddress {
		e.remove(last)
	}
	for int(e.size.Load()) >= e.limit {
		e.remove(e.used.prev)
	}
	// Copies, so that no whole message is kept for them.
	x := &entry{addr: strings.Clone(addr), name: strings.Clone(name), asker: key, container: container, first: ev.Boot, until: until}
	if newest := e.byAddr[addr]; newest != nil {
		x.addr, x.older = newest.addr, newest
	}
	e.byAddr[x.addr] = x
	e.push(x)
	e.size.Add(1)
}

// find returns the name that the connection was most likely made for.
func (e *Enricher) find(ev *event.Event, n *event.Net) string {
	newest := e.byAddr[n.RemoteAddr]
	if newest == nil {
		return ""
	}
	at := ev.Boot // when the connection was made
	if d := uint64(max(n.Duration, 0)); d < at {
		at -= d
	}
	key, container := asker(ev)
	var best *entry
	rank := 0
	for x := newest; x != nil; x = x.older {
		if x.until < at || x.first > at+skew {
			continue
		}
		r := 1
		switch {
		case x.asker == key && key.PID != 0:
			r = 3
		case x.container == container:
			r = 2
		}
		if r > rank || r == rank && x.until > best.until {
			best, rank = x, r
		}
	}
	if best == nil {
		return ""
	}
	e.touch(best)
	return best.name
}

func (e *Enricher) touch(x *entry) {
	if e.used.next == x {
		return
	}
	x.prev.next, x.next.prev = x.next, x.prev
	e.push(x)
}

func (e *Enricher) push(x *entry) {
	x.prev, x.next = &e.used, e.used.next
	x.prev.next, x.next.prev = x, x
}

func (e *Enricher) remove(x *entry) {
	x.prev.next, x.next.prev = x.next, x.prev
	e.size.Add(-1)
	newest := e.byAddr[x.addr]
	switch {
	case newest != x:
		for newest.older != x {
			newest = newest.older
		}
		newest.older = x.older
	case x.older == nil:
		delete(e.byAddr, x.addr)
	default:
		e.byAddr[x.addr] = x.older
	}
}
