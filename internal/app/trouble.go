package app

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/merlon/merlon/internal/api"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// trouble remembers which parts don't work, since when and why.
type trouble struct {
	log *slog.Logger

	mu    sync.Mutex
	parts map[string]api.Degraded
}

func newTrouble(log *slog.Logger) *trouble {
	return &trouble{log: log, parts: map[string]api.Degraded{}}
}

// tell notes a part that doesn't work, and logs it when that is news.
func (t *trouble) tell(part, reason, cure string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.parts[part]
	d := api.Degraded{Part: part, Reason: event.Safe(reason), Cure: event.Safe(cure), Since: time.Now()}
	if known {
		d.Since = old.Since
	}
	t.parts[part] = d
	if !known || old.Reason != d.Reason {
		t.log.Warn("degraded", "part", part, "reason", d.Reason, "cure", d.Cure)
	}
}

// well notes that a part works again.
func (t *trouble) well(part string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.parts, part)
}

// only notes that of the parts named with prefix all but those work again.
func (t *trouble) only(prefix string, but map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.parts, func(part string, _ api.Degraded) bool { return strings.HasPrefix(part, prefix) && !but[part] })
}

func (t *trouble) list() []api.Degraded {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]api.Degraded, 0, len(t.parts))
	for _, name := range slices.Sorted(maps.Keys(t.parts)) {
		list = append(list, t.parts[name])
	}
	return list
}

// degrader is a sensor that goes on without some of its programs.
type degrader interface{ Degraded() map[string]error }

// degraded asks the parts how they are.
func (a *Agent) degraded() []api.Degraded {
	env := a.kernel.Environment()
	off := map[string]bool{}
	for _, s := range a.sensors {
		d, ok := s.(degrader)
		if !ok {
			continue
		}
		for program, err := range d.Degraded() {
			e := kernel.Explain("attach", err, env)
			a.trouble.tell("program "+program, e.Cause, e.Cure)
			off["program "+program] = true
		}
	}
	a.trouble.only("program ", off)
	if st := a.store.Stats(); !st.OK {
		a.trouble.tell("store", st.LastError, "free space, or make "+a.cfg.StateDir+" writable; alerts wait in memory and are written then")
	} else {
		a.trouble.well("store")
	}
	for _, d := range a.engine.Stats().Detectors {
		if d.Off {
			a.trouble.tell("detector "+d.Name, "switched off after it crashed repeatedly", "report it with the agent's log")
			off["detector "+d.Name] = true
		}
	}
	a.trouble.only("detector ", off)
	for _, f := range a.Features() {
		if f.Essential && f.Guarantee == event.Absent {
			a.trouble.tell("feature "+f.Name, f.Why, f.Cure)
		}
	}
	return a.trouble.list()
}

// secondAgent explains a lock or a socket that another agent, pid, holds; 0
// when unknown.
func secondAgent(pid int, err error) *kernel.Error {
	cure := "stop it, or give this one a --state-dir and --socket of its own"
	if pid > 0 {
		cure = fmt.Sprintf("stop it with `kill %d`, or give this one a --state-dir and --socket of its own", pid)
	}
	cause := "another agent runs already"
	if pid > 0 {
		cause = fmt.Sprintf("another agent runs already: pid %d", pid)
	}
	return &kernel.Error{Op: fmt.Sprintf("start agent %d", os.Getpid()), Cause: cause, Cure: cure, Err: err}
}

// socketTaken explains err when it says that somebody answers on the socket;
// any other is none.
func socketTaken(err error) error {
	var taken *api.TakenError
	if !errors.As(err, &taken) {
		return nil
	}
	e := secondAgent(taken.PID, taken)
	e.Cause += " (it answers on " + taken.Path + ")"
	return e
}
