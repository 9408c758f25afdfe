// Package container tells the container, the systemd unit and the slice of a
// process from the path of its control group, without asking a daemon.
//
// The paths come from a scan at the start, from cgroup events, and, for an id
// that neither told of, once from /proc/PID/cgroup. They are kept by cgroup id
// in bounded memory.
package container

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/merlon/merlon/internal/event"
)

// Options sets up an Enricher. A zero field takes its default.
type Options struct {
	Proc  string // a mounted proc filesystem; default /proc
	Limit int    // most cgroups held; default 32768
}

const (
	lookupsPerSecond = 200           // reads of /proc/PID/cgroup
	negativeTime     = 5_000_000_000 // ns for which a cgroup that was not found is not looked up again
	removedKept      = 4096          // removed cgroups kept for late events
)

// Enricher fills Cgroup, Container, Service and Slice of ev.Process. It runs
// before the process tree, which publishes the process.
//
// One goroutine calls Scan and Enrich; Size and Stats may be called from any.
type Enricher struct {
	opt     Options
	known   map[key]*entry
	removed []key // oldest first
	v2, v1  *Mount
	number  uint32 // of the followed v1 hierarchy, 0 for none
	second  uint64 // in which spent was spent
	spent   int

	size                             atomic.Int64
	lookups, failed, denied, evicted atomic.Uint64
}

// key names a cgroup: ids are unique within a hierarchy.
type key struct {
	id uint64
	v1 bool
}

type entry struct {
	info    Info
	until   uint64 // of an entry that stands for "not found": when to look again
	removed bool
}

// Stats tells what the Enricher met since New.
type Stats struct {
	Lookups uint64 `json:"lookups"` // reads of /proc/PID/cgroup for an unknown id
	Failed  uint64 `json:"failed"`  // of these, without result: the process was gone or had moved
	Denied  uint64 `json:"denied"`  // lookups left out because there were too many in one second
	Evicted uint64 `json:"evicted"` // cgroups forgotten because too many exist
}

// New returns an Enricher that knows of no cgroup yet; see Scan.
func New(o Options) *Enricher {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Limit <= 0 {
		o.Limit = 32768
	}
	e := &Enricher{opt: o, known: make(map[key]*entry)}
	_, e.number = hierarchy(o.Proc)
	return e
}

// Name returns "container".
func (e *Enricher) Name() string { return "container" }

// Size returns how many cgroups are held and the most that will be.
func (e *Enricher) Size() (n, limit int) { return int(e.size.Load()), e.opt.Limit }

// Stats returns what the Enricher met since New.
func (e *Enricher) Stats() Stats {
	return Stats{Lookups: e.lookups.Load(), Failed: e.failed.Load(), Denied: e.denied.Load(), Evicted: e.evicted.Load()}
}

// Enrich learns from cgroup events and completes the process of all others.
func (e *Enricher) Enrich(ev *event.Event) {
	if ev.Cgroup != nil {
		e.learn(ev.Cgroup)
	}
	p := ev.Process
	if p == nil || (p.CgroupID == 0 && p.CgroupV1 == 0) {
		return
	}
	v2, v1 := e.known[key{p.CgroupID, false}], e.known[key{p.CgroupV1, true}]
	if e.missing(v2, p.CgroupID, ev.Boot) || e.missing(v1, p.CgroupV1, ev.Boot) {
		if ev.Kind != event.KindExit && e.lookup(p, ev.Boot) {
			v2, v1 = e.known[key{p.CgroupID, false}], e.known[key{p.CgroupV1, true}]
		}
	}
	if best := better(v2, v1); best != nil {
		i := &best.info
		p.Cgroup, p.Container, p.Service, p.Slice = i.Path, i.Container, i.Service, i.Slice
	}
}

func (e *Enricher) missing(n *entry, id, boot uint64) bool {
	return id != 0 && (n == nil || (n.until != 0 && n.until < boot))
}

// better chooses between what the two hierarchies tell: in hybrid setups some
// processes have their place in the one, some in the other.
func better(v2, v1 *entry) *entry {
	switch {
	case v2 == nil || v2.until != 0:
		if v1 != nil && v1.until != 0 {
			return nil
		}
		return v1
	case v1 == nil || v1.until != 0:
		return v2
	case v2.info.Container != nil || v1.info.Container != nil:
		if v2.info.Container == nil {
			return v1
		}
	case v2.info.Service == "" && v1.info.Service != "", len(v2.info.Path) <= 1:
		return v1
	}
	return v2
}

func (e *Enricher) learn(c *event.Cgroup) {
	if c.Hierarchy != 0 && c.Hierarchy != e.number {
		return
	}
	k := key{c.ID, c.Hierarchy != 0}
	switch c.Op {
	case "mkdir":
		e.put(k, string(c.Path))
	case "rename": // v1 only; what lies below is looked up again when it is met
		if old := e.known[k]; old != nil && old.info.Path != "" {
			below := string(old.info.Path) + "/"
			for other, n := range e.known {
				if other.v1 == k.v1 && strings.HasPrefix(string(n.info.Path), below) {
					delete(e.known, other)
				}
			}
		}
		e.put(k, string(c.Path))
	case "rmdir":
		e.remove(k)
	}
}

func (e *Enricher) put(k key, path string) { e.add(k, &entry{info: Parse(path)}) }

func (e *Enricher) add(k key, n *entry) {
	if _, known := e.known[k]; !known && len(e.known) >= e.opt.Limit {
		e.evict()
	}
	e.known[k] = n
	e.size.Store(int64(len(e.known)))
}

// evict forgets a removed cgroup, or else any one: it can be looked up again.
func (e *Enricher) evict() {
	for len(e.removed) > 0 {
		k := e.removed[0]
		e.removed = e.removed[1:]
		if n := e.known[k]; n != nil && n.removed {
			delete(e.known, k)
			return
		}
	}
	for k := range e.known {
		delete(e.known, k)
		e.evicted.Add(1)
		return
	}
}

// remove keeps a removed cgroup for a while: late events may still name it.
func (e *Enricher) remove(k key) {
	n := e.known[k]
	if n == nil || n.removed {
		return
	}
	n.removed = true
	e.removed = append(e.removed, k)
	if len(e.removed) > removedKept {
		if old := e.known[e.removed[0]]; old != nil && old.removed {
			delete(e.known, e.removed[0])
		}
		e.removed = e.removed[1:]
	}
	e.size.Store(int64(len(e.known)))
}

// lookup reads the cgroups of p from /proc. What it finds is believed only
// when it has the id that the record gave: p may have moved, or its pid may be
// another's by now. What it can't find is not tried again for a while.
func (e *Enricher) lookup(p *event.Process, boot uint64) bool {
	if second := boot / 1_000_000_000; second != e.second {
		e.second, e.spent = second, 0
	}
	if e.spent >= lookupsPerSecond {
		e.denied.Add(1)
		return false
	}
	e.spent++
	e.lookups.Add(1)
	v2, v1 := e.read(p.PID)
	ok := e.confirm(key{p.CgroupID, false}, e.v2, v2, boot)
	ok = e.confirm(key{p.CgroupV1, true}, e.v1, v1, boot) && ok
	if !ok {
		e.failed.Add(1)
	}
	return true
}

// read returns the paths of a process's cgroups in the followed hierarchies
// (cgroups(7), /proc/PID/cgroup).
func (e *Enricher) read(pid uint32) (v2, v1 string) {
	b, err := os.ReadFile(filepath.Join(e.opt.Proc, strconv.FormatUint(uint64(pid), 10), "cgroup"))
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(b)) {
		number, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, path, ok := strings.Cut(rest, ":")
		if !ok || strings.HasSuffix(path, " (deleted)") {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		switch {
		case err != nil:
		case n == 0:
			v2 = path
		case uint32(n) == e.number:
			v1 = path
		}
	}
	return v2, v1
}

func (e *Enricher) confirm(k key, m *Mount, path string, boot uint64) bool {
	if n := e.known[k]; k.id == 0 || (n != nil && n.until == 0) {
		return true
	}
	if path != "" && m != nil {
		info, err := os.Stat(m.dir(path))
		if err != nil || inode(info) != k.id {
			path = ""
		}
	}
	if path == "" {
		e.add(k, &entry{until: boot + negativeTime})
		return false
	}
	e.put(k, path)
	return true
}
