package alert

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/merlon/merlon/internal/event"
)

// key says which findings belong together.
type key struct {
	rule   string
	tree   event.Key // leader of the process's session
	object string    // what was run, and what it acted upon
	rest   bool      // takes what a rule finds beyond its burst
}

func keyOf(f *event.Finding) key {
	k := key{rule: f.Rule.ID}
	if f.Event == nil || f.Event.Process == nil {
		return k
	}
	p := f.Event.Process
	k.tree, k.object = lineage(p), string(p.Exe)
	if x := f.Event.Exec; x != nil && x.Script != "" {
		k.object = string(x.Script)
	}
	if what := acted(f.Event); what != "" {
		k.object += "\x00" + what
	}
	return k
}

// acted names what an event other than an exec was done to, so that two files
// or two peers of one program are two alerts.
func acted(ev *event.Event) string {
	switch {
	case ev.File != nil && ev.File.NewPath != "":
		return string(ev.File.NewPath)
	case ev.File != nil:
		return string(ev.File.Path)
	case ev.Mount != nil:
		return string(ev.Mount.Target)
	case ev.Net != nil && ev.Net.Path != "":
		return string(ev.Net.Path)
	case ev.Net != nil:
		return ev.Net.RemoteAddr
	case ev.DNS != nil:
		return string(ev.DNS.Name)
	case ev.Privilege != nil && ev.Privilege.Target != nil:
		return strconv.FormatUint(uint64(ev.Privilege.Target.PID), 10)
	case ev.Privilege != nil:
		return string(ev.Privilege.Name)
	}
	return ""
}

// lineage identifies the process tree that p belongs to: its session. A login,
// a service and a container each have a session of their own (setsid(2)).
// Without one, as for kernel threads, it is the tree below init.
func lineage(p *event.Process) event.Key {
	top := p
	for a := p; a != nil; a = a.Parent {
		if p.SID != 0 && a.PID == p.SID {
			return a.Key()
		}
		if a.PID > 1 {
			top = a
		}
	}
	if p.SID != 0 { // its leader is gone
		return event.Key{PID: p.SID}
	}
	return top.Key()
}

// group is one alert and what the Manager knows about it.
type group struct {
	key          key
	alert        event.Alert
	seen, sent   time.Time // last finding; last publication
	waiting      bool      // has findings that were not published
	newer, older *group
}

func newGroup(k key, f *event.Finding, now time.Time) *group {
	a := event.Alert{
		ID: newID(now), Rule: f.Rule, Reason: f.Reason, First: f.Time, Last: f.Time, Count: 1,
		Evidence: trimEvidence(f.Evidence), UserMemory: f.UserMemory(), Event: trimEvent(f.Event),
	}
	if a.Event != nil {
		a.Process = a.Event.Process
	}
	if k.rest {
		a.Reason = "the rule matches more than can be told one by one; the first of the rest: " + f.Reason
	}
	return &group{key: k, alert: a, seen: now}
}

func (g *group) add(f *event.Finding) {
	a := &g.alert
	a.Count++
	if f.Time.Before(a.First) {
		a.First = f.Time
	}
	if f.Time.After(a.Last) {
		a.Last = f.Time
	}
}

// maxText bounds what one alert keeps of an argument vector and of each piece
// of evidence, in bytes: alerts stay in memory for long, and an argument
// vector may have 128 KiB.
const maxText = 4096

func trimEvidence(list []event.Evidence) []event.Evidence {
	out := make([]event.Evidence, len(list))
	for i, ev := range list {
		if len(ev.Value) > maxText {
			ev.Value = clone(ev.Value[:maxText])
		}
		out[i] = ev
	}
	return out
}

func trimEvent(ev *event.Event) *event.Event {
	if ev == nil || ev.Exec == nil {
		return ev
	}
	size, keep := 0, 0
	for _, arg := range ev.Exec.Args {
		if size += len(arg) + 1; size > maxText {
			break
		}
		keep++
	}
	if keep == len(ev.Exec.Args) {
		return ev
	}
	exec := *ev.Exec
	exec.ArgsCut = true
	exec.Args = make([]event.Text, keep)
	for i := range exec.Args {
		exec.Args[i] = clone(ev.Exec.Args[i]) // the arguments may share one long string
	}
	c := ev.Clone()
	c.Exec = &exec
	return c
}

func clone(t event.Text) event.Text { return event.Text(strings.Clone(string(t))) }

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns a unique identifier of 26 characters that sorts by time, in
// the manner of a ULID: 48 bits of milliseconds and 80 random ones.
func newID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails (crypto/rand)
	return idEncoding.EncodeToString(b[:])
}

// groups is a list of groups by the time of their last finding.
type groups struct {
	newest, oldest *group
	n              int
}

func (l *groups) push(g *group) {
	g.newer, g.older = nil, l.newest
	if l.newest != nil {
		l.newest.newer = g
	} else {
		l.oldest = g
	}
	l.newest = g
	l.n++
}

func (l *groups) remove(g *group) {
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		l.newest = g.older
	}
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		l.oldest = g.newer
	}
	g.newer, g.older = nil, nil
	l.n--
}

func (l *groups) touch(g *group) {
	l.remove(g)
	l.push(g)
}
