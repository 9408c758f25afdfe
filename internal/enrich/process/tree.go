// Package process keeps the process tree: who every process is, what it runs
// and where it came from. Identity is (pid, start time), so that a reused pid
// is another process.
//
// One goroutine, the pipeline's, calls Enrich, BeginResync and EndResync; it
// alone writes. Process, Processes, Size and Stats may be called from any
// goroutine. Published event.Process values are immutable: a change makes a
// new one.
//
// The tree runs as the last of the enrichers that complete ev.Process
// (container, user), because it publishes that very object.
package process

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// Options bounds a Tree. A zero field takes its default.
type Options struct {
	Limit     int           // processes held in all, live and exited; default 131072
	Exited    int           // exited processes kept for late events; default 8192
	Keep      time.Duration // how long an exited process is kept; default 1 minute
	ArgsBytes int           // argument bytes held in all; default 32 MiB
}

func (o *Options) defaults() {
	if o.Limit <= 0 {
		o.Limit = 131072
	}
	if o.Exited <= 0 {
		o.Exited = 8192
	}
	if o.Keep <= 0 {
		o.Keep = time.Minute
	}
	if o.ArgsBytes <= 0 {
		o.ArgsBytes = 32 << 20
	}
}

const (
	shards  = 64   // locks of the index, so that a reader delays the writer little
	recents = 1024 // earlier states kept for forks that arrive late
)

// Tree is the process tree. It implements contract.Enricher,
// contract.Observables and contract.Resyncer.
type Tree struct {
	opt   Options
	index [shards]shard

	// Of the writer alone.
	live, exited list
	free         *node
	recent       [recents]past
	recentAt     int
	now          uint64 // latest time seen, nanoseconds since boot
	argBytes     int
	gen          uint32 // number of the last resync
	sweepBefore  uint64 // what was seen since then can't be missing from the seed
	resyncing    bool

	counters counters
}

type shard struct {
	mu  sync.RWMutex
	pid map[uint32]*node // newest process of that pid; the writer reads without mu
}

type counters struct {
	live, exited                                                           atomic.Int64
	evicted, evictedLive, inferred, placeholders, reused, swept            atomic.Uint64
	duplicateExits, lateForks, staleImages, lostExits, argsDenied, unknown atomic.Uint64
}

// Stats tells what the tree holds and what it met. Counts are since New.
type Stats struct {
	Live   int `json:"live"`   // live processes, placeholders included
	Exited int `json:"exited"` // exited processes kept for late events
	Limit  int `json:"limit"`  // most processes held

	Evicted        uint64 `json:"evicted"`         // exited processes given up early because the tree was full
	EvictedLive    uint64 `json:"evicted_live"`    // live processes given up because the tree was full
	Inferred       uint64 `json:"inferred"`        // processes first met at exec or exit: their fork was lost or late
	Placeholders   uint64 `json:"placeholders"`    // parents known by key only when first named
	Reused         uint64 `json:"pid_reused"`      // pids that came again with another start time
	LostExits      uint64 `json:"lost_exits"`      // processes found dead because their pid was reused
	Swept          uint64 `json:"swept"`           // processes found dead by a resync
	DuplicateExits uint64 `json:"duplicate_exits"` // second exits of one process, dropped
	LateForks      uint64 `json:"late_forks"`      // forks that arrived after the child's exec or exit
	StaleImages    uint64 `json:"stale_images"`    // execs older than what was known already
	Unknown        uint64 `json:"unknown"`         // events other than fork, exec and exit of processes that are not known
	ArgsDenied     uint64 `json:"args_denied"`     // argument vectors cut to 256 bytes because of ArgsBytes
}

// New returns an empty tree.
func New(o Options) *Tree {
	o.defaults()
	t := &Tree{opt: o}
	for i := range t.index {
		t.index[i].pid = make(map[uint32]*node)
	}
	return t
}

// Name returns "process".
func (t *Tree) Name() string { return "process" }

// Enrich replaces or completes ev.Process from the tree and updates the tree
// from ev. It empties ev.Kind when ev is an exit that was told before.
func (t *Tree) Enrich(ev *event.Event) {
	if ev.Process == nil {
		if ev.Thread.PID != 0 {
			t.now = max(t.now, ev.Boot)
			t.attribute(ev)
		}
		return
	}
	if ev.Process.PID == 0 {
		return
	}
	t.now = max(t.now, ev.Boot)
	switch ev.Kind {
	case event.KindFork:
		t.fork(ev)
	case event.KindExec:
		t.exec(ev)
	case event.KindExit:
		t.exit(ev)
	case event.KindTask:
		t.seed(ev)
	}
	t.expire()
}

// Process returns the process of that identity as it is now, nil when
// unknown. A start time from /proc, a multiple of 10 ms, finds its process too.
func (t *Tree) Process(key event.Key) *event.Process {
	s := t.shard(key.PID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := match(s.pid[key.PID], key.Start); n != nil && n.image {
		return n.p
	}
	return nil
}

// Processes returns every live process, unordered. Processes known by key
// only are left out.
func (t *Tree) Processes() []*event.Process {
	all := make([]*event.Process, 0, t.counters.live.Load())
	for i := range t.index {
		s := &t.index[i]
		s.mu.RLock()
		for _, n := range s.pid { // only the newest of a pid can be live
			if n.live && n.image {
				all = append(all, n.p)
			}
		}
		s.mu.RUnlock()
	}
	return all
}

// Size returns how many processes the tree holds and the most it will hold.
func (t *Tree) Size() (n, limit int) {
	return int(t.counters.live.Load() + t.counters.exited.Load()), t.opt.Limit
}

// Stats returns what the tree holds and what it met.
func (t *Tree) Stats() Stats {
	c := &t.counters
	return Stats{
		Live: int(c.live.Load()), Exited: int(c.exited.Load()), Limit: t.opt.Limit,
		Evicted: c.evicted.Load(), EvictedLive: c.evictedLive.Load(), Inferred: c.inferred.Load(),
		Placeholders: c.placeholders.Load(), Reused: c.reused.Load(), LostExits: c.lostExits.Load(),
		Swept: c.swept.Load(), DuplicateExits: c.duplicateExits.Load(), LateForks: c.lateForks.Load(),
		StaleImages: c.staleImages.Load(), ArgsDenied: c.argsDenied.Load(), Unknown: c.unknown.Load(),
	}
}
