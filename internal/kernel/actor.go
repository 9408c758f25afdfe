package kernel

import (
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/record"
)

// Actor is struct event_actor of bpf/lib/actor.h: who acts. In a record it
// follows struct event_hdr.
type Actor sharedEventActor

// Thread returns a as events tell it. comm names it, which the caller has made
// a string of, perhaps together with others.
func (a *Actor) Thread(comm string) event.Thread {
	return event.Thread{PID: a.Pid, TID: a.Tid, Start: a.Start, UID: a.Uid, EUID: a.Euid, CgroupID: a.CgroupId, Comm: event.Text(comm)}
}

// Name returns the bytes of the thread's short name, valid as long as a is.
func (a *Actor) Name() []byte { return record.CString(a.Comm[:]) }
