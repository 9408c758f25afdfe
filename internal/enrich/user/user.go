// Package user names the users and groups of processes as this host's
// /etc/passwd and /etc/group do. It asks no name service: users of LDAP and
// the like keep their number.
//
// Records carry ids of the kernel's initial user namespace (kuid_t,
// include/linux/uidgid.h), so that root in a container with its own user
// namespace is named, rightly, as the unprivileged user it is on the host.
package user

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/merlon/merlon/internal/event"
)

// recheck is how often the files are looked at, in nanoseconds of event time.
const recheck = 1_000_000_000

// Options sets up an Enricher. A zero field takes its default.
type Options struct {
	Etc string       // the directory of passwd and group; default /etc
	Log *slog.Logger // told of a file that can't be read
}

// Enricher fills User, Group and LoginUser of ev.Process. It runs before the
// process tree, which publishes the process.
//
// One goroutine calls Enrich; Size may be called from any.
type Enricher struct {
	passwd, group file
	log           *slog.Logger
	checked       uint64
	size          atomic.Int64
}

// New returns an Enricher and reads the files.
func New(o Options) *Enricher {
	if o.Etc == "" {
		o.Etc = "/etc"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Enricher{log: o.Log}
	e.passwd.path, e.group.path = filepath.Join(o.Etc, "passwd"), filepath.Join(o.Etc, "group")
	e.refresh()
	return e
}

// Name returns "user".
func (e *Enricher) Name() string { return "user" }

// Size returns how many names are held and the most that will be.
func (e *Enricher) Size() (n, limit int) { return int(e.size.Load()), 2 * maxEntries }

// Enrich names the user, the group and the login user of ev.Process. An exit
// is left alone: its record carries no credentials.
func (e *Enricher) Enrich(ev *event.Event) {
	if ev.Boot >= e.checked+recheck {
		e.checked = ev.Boot
		e.refresh()
	}
	p := ev.Process
	if p == nil || ev.Kind == event.KindExit {
		return
	}
	p.User, p.Group = e.passwd.names[p.Creds.EUID], e.group.names[p.Creds.EGID]
	p.LoginUser = e.passwd.names[p.LoginUID]
}

func (e *Enricher) refresh() {
	for _, f := range []*file{&e.passwd, &e.group} {
		if err := f.refresh(); err != nil {
			e.log.Warn("read names of users and groups; those known stay", "err", err)
		}
	}
	e.size.Store(int64(len(e.passwd.names) + len(e.group.names)))
}

// file is one file of names and the state in which it was read.
type file struct {
	path   string
	state  state
	names  map[uint32]string
	failed bool
}

// state tells versions of a file apart: a rename brings another inode, a write
// in place another time or size.
type state struct {
	inode, size  int64
	mtime, ctime syscall.Timespec
}

func stateOf(info fs.FileInfo) state {
	s := state{size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.mtime, s.ctime = int64(st.Ino), st.Mtim, st.Ctim
	}
	return s
}

// refresh reads the file when it has changed. An error is returned once, until
// the file can be read again.
func (f *file) refresh() error {
	err := f.read()
	again := f.failed
	f.failed = err != nil
	if again {
		return nil
	}
	return err
}

func (f *file) read() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	now := stateOf(info)
	if f.names != nil && now == f.state {
		return nil
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	names, err := parse(in)
	if err != nil && len(names) == 0 {
		return err
	}
	f.names, f.state = names, now
	return err
}
