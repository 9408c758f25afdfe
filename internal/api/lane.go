package api

import "github.com/merlon/merlon/internal/event"

// lane is one of the hub's buffers: the latest events, bounded in number and
// in bytes. The hub's lock guards it.
type lane struct {
	limit    int // most events
	maxBytes int
	slots    []slot // place n is in slot n % limit; made at the first event
	tail     uint64 // place of the oldest event kept
	head     uint64 // of the next event
	bytes    int
	gone     []uint64 // by kind: events before tail
	seen     []uint64 // by kind: events before head
}

type slot struct {
	ev   event.Event
	seq  uint64 // over all lanes
	kind int
	size int
}

func newLane(limit, maxBytes, kinds int) lane {
	return lane{limit: limit, maxBytes: maxBytes, gone: make([]uint64, kinds), seen: make([]uint64, kinds)}
}

func (l *lane) at(place uint64) *slot { return &l.slots[place%uint64(l.limit)] }

// put adds an event in place of the oldest ones.
func (l *lane) put(ev *event.Event, kind int, seq uint64) {
	if l.slots == nil {
		l.slots = make([]slot, l.limit)
	}
	size := weight(ev)
	for l.head > l.tail && (l.head-l.tail == uint64(l.limit) || l.bytes+size > l.maxBytes) {
		l.evict()
	}
	s := l.at(l.head)
	s.ev, s.seq, s.kind, s.size = *ev, seq, kind, size
	l.bytes += size
	l.seen[kind]++
	l.head++
}

func (l *lane) evict() {
	s := l.at(l.tail)
	l.bytes -= s.size
	l.gone[s.kind]++
	*s = slot{}
	l.tail++
}

// empty forgets all events and frees the memory.
func (l *lane) empty() {
	for l.tail < l.head {
		l.evict()
	}
	l.slots = nil
}

// weight estimates the memory that an event keeps alive, in bytes. What the
// process tree keeps alive anyway is counted too: the process may be gone.
func weight(ev *event.Event) int {
	n := 512
	if p := ev.Process; p != nil {
		n += 1024 + len(p.Exe) + len(p.CWD) + len(p.Cgroup)
		for _, a := range p.Args {
			n += 16 + len(a)
		}
	}
	if x := ev.Exec; x != nil {
		n += 512 + len(x.Filename) + len(x.FDs)*128
		for _, a := range x.Args {
			n += 16 + len(a)
		}
		for _, v := range x.Env {
			n += 32 + len(v.Name) + len(v.Value)
		}
	}
	if f := ev.File; f != nil {
		n += 256 + len(f.Path) + len(f.NewPath) + len(f.Link) + len(f.Xattr)
	}
	if m := ev.Mount; m != nil {
		n += 160 + len(m.Target) + len(m.Source) + len(m.Options)
	}
	if ev.Net != nil {
		n += 512 + len(ev.Net.Path) + len(ev.Net.Domain)
	}
	if d := ev.DNS; d != nil {
		n += 384 + len(d.Name) + len(d.Malformed)
		for i := range d.Answers {
			n += 64 + len(d.Answers[i].Name) + len(d.Answers[i].Data)
		}
	}
	if v := ev.Privilege; v != nil {
		n += 640 + len(v.Name) + len(v.Path) + 32*len(v.Helpers)
	}
	return n
}
