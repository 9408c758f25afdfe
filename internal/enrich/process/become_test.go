package process

import (
	"testing"

	"github.com/merlon/merlon/internal/event"
)

// TestTakesOverCredentials feeds changes of credentials outside exec: the tree
// follows those of a process's first thread that took place.
func TestTakesOverCredentials(t *testing.T) {
	key := event.Key{PID: 10, Start: 100}
	before := event.Creds{Effective: 1, Permitted: 1}
	after := event.Creds{UID: 7, EUID: 7, SUID: 7}
	for name, c := range map[string]struct {
		kind   event.Kind
		tid    uint32
		boot   uint64
		result int
		after  *event.Creds
		ns     uint32
		taken  bool
	}{
		"setuid":         {event.KindSetuid, 10, 300, 0, &after, 0, true},
		"capset":         {event.KindCapset, 10, 300, 0, &after, 0, true},
		"namespace":      {event.KindCredChange, 10, 300, 0, &after, 99, true},
		"refused":        {event.KindSetuid, 10, 300, -1, &after, 0, false},
		"outcome unseen": {event.KindSetuid, 10, 300, 0, nil, 0, false},
		"other thread":   {event.KindSetuid, 11, 300, 0, &after, 0, false},
		"other kind":     {event.KindUnshare, 10, 300, 0, &after, 0, false},
		"before exec":    {event.KindSetuid, 10, 150, 0, &after, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(Options{})
			x := exec(200, none, key, "/bin/d")
			x.Process.Creds, x.Process.NS.User, x.Process.User, x.Process.Group = before, 5, "root", "root"
			feed(tr, x)
			was := tr.Process(key)
			ev := &event.Event{Kind: c.kind, Boot: c.boot, Thread: event.Thread{PID: 10, TID: c.tid, Start: 100},
				Privilege: &event.Privilege{Before: &before, After: c.after, Result: c.result, NS: c.ns}}
			feed(tr, ev)
			p := tr.Process(key)
			if !c.taken {
				if p.Creds != before || p.User != "root" || ev.Process.Creds != before {
					t.Errorf("process has %+v of user %q, event tells %+v", p.Creds, p.User, ev.Process.Creds)
				}
				return
			}
			if p.Creds != after || p.User != "" || p.Group != "root" {
				t.Errorf("process has %+v of user %q, group %q", p.Creds, p.User, p.Group)
			}
			if want := max(c.ns, 5); p.NS.User != want {
				t.Errorf("user namespace %d, want %d", p.NS.User, want)
			}
			if ev.Process != p || ev.Was != was || was.Creds != before {
				t.Errorf("event tells %+v, before %+v", ev.Process.Creds, ev.Was.Creds)
			}
			check(t, tr)
		})
	}
}
