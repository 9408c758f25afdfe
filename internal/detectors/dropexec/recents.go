package dropexec

import "github.com/merlon/merlon/internal/event"

const (
	ran  = 32                    // programs that are remembered for late news
	slow = uint64(1_000_000_000) // nanoseconds that news may come late
)

// recents are the last programs that were run and not found among what was
// written. An event is kept by value: what it points to is not reused.
type recents struct {
	on     bool
	at     int
	keys   [ran][3]uint64
	events [ran]event.Event
}

func (r *recents) put(keys [3]uint64, ev *event.Event) {
	r.at = (r.at + 1) % ran
	r.keys[r.at], r.events[r.at] = keys, *ev
}

// take removes and returns the exec of what has just been told to be written,
// nil when there is none.
func (r *recents) take(inode, path, boot uint64) *event.Event {
	for i := range r.keys {
		k := &r.keys[i]
		if (inode == 0 || k[0] != inode) && (path == 0 || k[1] != path && k[2] != path) {
			continue
		}
		*k = [3]uint64{}
		if ev := &r.events[i]; boot < ev.Boot+slow {
			return ev
		}
	}
	return nil
}
