package file

import (
	"path"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// teller turns notifications into records. One goroutine uses it.
type teller struct {
	paths  *resolver
	actors *actors
	files  map[string]attributes // as last seen, by handle key
	rec    []byte
}

// attributes is what a change of attributes may have changed.
type attributes struct {
	mode          uint16
	uid, gid      uint32
	links         uint32
	ino           uint64
	size          uint64
	dev           uint32
	rdev          uint64
	fs            string
	contents      unix.StatxTimestamp // when they changed
	known, exists bool
	fresh         bool // read now, not remembered
}

func newTeller(r *resolver) *teller {
	return &teller{paths: r, actors: newActors(), files: make(map[string]attributes)}
}

// tell puts the records of one notification into feed: those whose kinds are
// wanted. hurry leaves out what needs a look at the file.
func (t *teller) tell(n *note, kinds map[event.Kind]bool, feed contract.Feed, hurry bool) {
	now := time.Now()
	dir := n.mask&unix.FAN_ONDIR != 0
	r := fileActRec{Bits: uint16(fileFileBitBIT_MERGED | fileFileBitBIT_NO_RESULT)}
	r.Hdr.Time = kernel.BootTime()
	r.Actor = t.actors.of(n.pid, now)
	at, status := t.path(n.dir, n.name)
	where := at
	var to string
	var toStatus record.Status
	if n.mask&unix.FAN_RENAME != 0 {
		if dir {
			t.paths.forget() // what was below it is elsewhere
			at, status = t.path(n.dir, n.name)
		}
		to, toStatus = t.path(n.newDir, n.newTo)
		where = to
	}
	before, after := t.look(n, where, hurry || n.mask&unix.FAN_DELETE != 0)
	fill(&r, after, dir)
	put := func(kind event.Kind, wire fileEventKind, text string) {
		if !kinds[kind] {
			return
		}
		r.Hdr.Kind = uint16(wire)
		r.Status, r.NewStatus = uint8(status), uint8(toStatus)
		t.put(feed, &r, at, to, text)
	}
	if n.mask&unix.FAN_CREATE != 0 {
		t.created(&r, n, where, after, dir, kinds, feed, status)
	}
	if n.mask&unix.FAN_RENAME != 0 {
		put(event.KindFileRename, fileEventKindKIND_FILE_RENAME, "")
	}
	to, toStatus = "", record.PathOK
	if n.mask&unix.FAN_OPEN != 0 && !quiet(after) {
		put(event.KindFileOpen, fileEventKindKIND_FILE_OPEN, "")
	}
	if n.mask&unix.FAN_ATTRIB != 0 && len(n.name) > 0 && n.mask&unix.FAN_DELETE == 0 {
		kind, wire := changedKind(before, after, kinds)
		r.OldMode, r.OldUid, r.OldGid = before.mode, before.uid, before.gid
		if !before.known {
			r.Bits |= uint16(fileFileBitBIT_PARTIAL)
			r.OldMode, r.OldUid, r.OldGid = r.Mode, r.Uid, r.Gid
		}
		put(kind, wire, "")
		r.Bits &^= uint16(fileFileBitBIT_PARTIAL)
	}
	if n.mask&unix.FAN_CLOSE_WRITE != 0 && !quiet(after) {
		r.Bits |= uint16(fileFileBitBIT_WRITE)
		put(event.KindFileClose, fileEventKindKIND_FILE_CLOSE, "")
		r.Bits &^= uint16(fileFileBitBIT_WRITE)
	}
	if n.mask&unix.FAN_DELETE != 0 {
		if dir {
			t.paths.forget()
		}
		put(event.KindFileDelete, fileEventKindKIND_FILE_DELETE, "")
	}
}

// quiet reports whether opening and closing the file is known to mean nothing,
// as quiet in watch.h does.
func quiet(a attributes) bool {
	switch a.mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return a.exists
	case unix.S_IFCHR:
		return a.exists && (a.rdev == unix.Mkdev(1, 3) || a.rdev == unix.Mkdev(5, 0)) // null, tty
	}
	return false
}

// created tells a new name apart: a hard link, a symbolic link, or a file.
func (t *teller) created(r *fileActRec, n *note, where string, a attributes, dir bool, kinds map[event.Kind]bool, feed contract.Feed, status record.Status) {
	kind, wire, text := event.KindFileCreate, fileEventKindKIND_FILE_CREATE, ""
	switch {
	case a.exists && a.mode&unix.S_IFMT == unix.S_IFLNK:
		kind, wire = event.KindFileSymlink, fileEventKindKIND_FILE_SYMLINK
		var buf [unix.PathMax]byte
		if l, err := unix.Readlink(where, buf[:]); err == nil {
			text = string(buf[:l])
		}
	case a.exists && !dir && a.links > 1:
		kind, wire = event.KindFileLink, fileEventKindKIND_FILE_LINK
	}
	if !kinds[kind] {
		return
	}
	r.Hdr.Kind = uint16(wire)
	if kind == event.KindFileLink { // the old name is not told
		r.Status, r.NewStatus = uint8(record.PathOutside), uint8(status)
		r.Bits |= uint16(fileFileBitBIT_PARTIAL)
		t.put(feed, r, "", where, "")
		r.Bits &^= uint16(fileFileBitBIT_PARTIAL)
		return
	}
	r.Status, r.NewStatus = uint8(status), 0
	t.put(feed, r, where, "", text)
}

// changedKind tells what a change of attributes was: by what is other than it
// was when last seen. When that is unknown it is told as the first of the
// three that is wanted. A change of the time of contents is nothing: writing
// makes it, and touch(1). That of access alone proves nothing, reading makes it.
func changedKind(before, now attributes, kinds map[event.Kind]bool) (event.Kind, fileEventKind) {
	known := before.known && now.fresh
	switch {
	case known && before.mode != now.mode || !known && kinds[event.KindFileChmod]:
		return event.KindFileChmod, fileEventKindKIND_FILE_CHMOD
	case known && (before.uid != now.uid || before.gid != now.gid) || !known && kinds[event.KindFileChown]:
		return event.KindFileChown, fileEventKindKIND_FILE_CHOWN
	}
	if known && before.contents != now.contents {
		return "", 0
	}
	return event.KindFileXattr, fileEventKindKIND_FILE_XATTR
}

// path returns where a name in a directory is.
func (t *teller) path(dir handle, name []byte) (string, record.Status) {
	if dir.empty() {
		return "", record.Status(filePathStatusPATH_FAULT)
	}
	p, err := t.paths.dir(&dir)
	if err != nil {
		return string(name), record.PathOutside
	}
	if len(name) == 0 || string(name) == "." {
		return p, record.PathOK
	}
	return path.Join(p, string(name)), record.PathOK
}

// look reads the attributes of the notification's file as it is now, and
// returns what they were when last seen. gone leaves the file alone.
func (t *teller) look(n *note, where string, gone bool) (before, now attributes) {
	key := ""
	if !n.target.empty() {
		key = n.target.key()
		before = t.files[key]
	}
	now = before // as remembered: the file may be gone, or its name another's
	now.exists, now.fresh = before.known, false
	if gone {
		return before, now
	}
	var st unix.Statx_t
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	if where == "" || unix.Statx(unix.AT_FDCWD, where, flags, unix.STATX_BASIC_STATS, &st) != nil || before.known && before.ino != st.Ino {
		return before, now
	}
	now = attributes{mode: st.Mode, uid: st.Uid, gid: st.Gid, links: st.Nlink, ino: st.Ino, size: st.Size, dev: st.Dev_major<<20 | st.Dev_minor, rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		contents: st.Mtime, known: true, exists: true, fresh: true}
	if m, ok := t.paths.mount(n.fsid()); ok {
		now.dev, now.fs = m.dev, m.fs
	}
	if key != "" {
		if len(t.files) >= maxFiles {
			clear(t.files)
		}
		t.files[key] = now
	}
	return before, now
}

// fsid returns the file system of the notification.
func (n *note) fsid() unix.Fsid {
	if !n.dir.empty() {
		return n.dir.fsid
	}
	return n.target.fsid
}

func fill(r *fileActRec, a attributes, dir bool) {
	if !a.exists {
		r.Bits |= uint16(fileFileBitBIT_PARTIAL)
		if dir {
			r.Mode = unix.S_IFDIR
		}
		return
	}
	r.Ino, r.Size, r.Dev, r.Mode, r.Uid, r.Gid, r.Nlink = a.ino, a.size, a.dev, a.mode, a.uid, a.gid, a.links
	for i := range min(len(a.fs), len(r.Fs)-1) {
		r.Fs[i] = int8(a.fs[i])
	}
}

// put makes the record. Paths go leaf first, as the programs send them.
func (t *teller) put(feed contract.Feed, r *fileActRec, at, to, text string) {
	t.rec = append(t.rec[:0], make([]byte, unsafe.Sizeof(*r))...)
	start := len(t.rec)
	t.rec = leafFirst(t.rec, at)
	r.PathLen = uint16(len(t.rec) - start)
	mid := len(t.rec)
	t.rec = leafFirst(t.rec, to)
	r.NewLen = uint16(len(t.rec) - mid)
	r.TextLen = uint16(len(text))
	t.rec = append(t.rec, text...)
	copy(t.rec, unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)))
	feed.Put(t.rec)
}

// leafFirst appends the components of a path, the last one first, each with a
// slash behind it.
func leafFirst(b []byte, p string) []byte {
	for end := len(p); end > 0; {
		start := end
		for start > 0 && p[start-1] != '/' {
			start--
		}
		if start < end {
			b = append(append(b, p[start:end]...), '/')
		}
		end = start - 1
	}
	return b
}
