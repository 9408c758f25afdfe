package file

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/merlon/merlon/internal/contract"
	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
	"github.com/merlon/merlon/internal/record"
)

// wire says what the records become.
func wire(k fileEventKind) event.Kind {
	switch k {
	case fileEventKindKIND_FILE_CREATE:
		return event.KindFileCreate
	case fileEventKindKIND_FILE_OPEN:
		return event.KindFileOpen
	case fileEventKindKIND_FILE_CLOSE:
		return event.KindFileClose
	case fileEventKindKIND_FILE_DELETE:
		return event.KindFileDelete
	case fileEventKindKIND_FILE_RENAME:
		return event.KindFileRename
	case fileEventKindKIND_FILE_LINK:
		return event.KindFileLink
	case fileEventKindKIND_FILE_SYMLINK:
		return event.KindFileSymlink
	case fileEventKindKIND_FILE_CHMOD:
		return event.KindFileChmod
	case fileEventKindKIND_FILE_CHOWN:
		return event.KindFileChown
	case fileEventKindKIND_FILE_XATTR:
		return event.KindFileXattr
	case fileEventKindKIND_FILE_TRUNCATE:
		return event.KindFileTruncate
	case fileEventKindKIND_MOUNT:
		return event.KindMount
	case fileEventKindKIND_UMOUNT:
		return event.KindUmount
	}
	return ""
}

// block is how many parts of events are allocated at once.
const block = 16

// Decoder turns the records of file.bpf.c and of the fanotify reader into
// events. It allocates what the events keep and nothing else. One goroutine
// uses it.
type Decoder struct {
	clock kernel.Clock
	texts record.Texts
	names map[string]string
	acts  []event.FileAct // allocated, not used yet
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{names: make(map[string]string)} }

// Decode implements contract.Decoder.
func (d *Decoder) Decode(rec []byte, ev *event.Event) error {
	hdr, _, err := record.View[fileEventHdr](rec)
	if err != nil {
		return err
	}
	kind := wire(fileEventKind(hdr.Kind))
	switch kind {
	case "":
		return fmt.Errorf("decode record: unknown kind %d", hdr.Kind)
	case event.KindMount, event.KindUmount:
		err = d.mount(rec, ev)
	default:
		err = d.act(rec, kind, ev)
	}
	if err != nil {
		return err
	}
	ev.Kind, ev.Boot, ev.Time, ev.CPU = kind, hdr.Time, d.clock.Wall(hdr.Time), hdr.Cpu
	return nil
}

func (d *Decoder) act(rec []byte, kind event.Kind, ev *event.Event) error {
	r, rest, err := record.View[fileActRec](rec)
	if err != nil {
		return err
	}
	c := record.NewCursor(rest)
	path, renamed, text := c.Take(int(r.PathLen)), c.Take(int(r.NewLen)), c.Take(int(r.TextLen))
	if c.Bad() {
		return record.ErrShort
	}
	a := d.next()
	actor, _, err := record.View[kernel.Actor](rec[unsafe.Offsetof(r.Actor):])
	if err != nil {
		return err
	}
	d.texts.Reset()
	comm := d.texts.Add(actor.Name())
	from, to := d.texts.AddPath(path, record.Status(r.Status)), record.Span{}
	if r.NewLen > 0 || r.NewStatus != 0 {
		to = d.texts.AddPath(renamed, record.Status(r.NewStatus))
	}
	more := d.texts.Add(text)
	d.texts.Seal()
	ev.Thread = actor.Thread(d.texts.Get(comm))
	a.Path, a.NewPath = event.Text(d.texts.Get(from)), event.Text(d.texts.Get(to))
	switch kind {
	case event.KindFileSymlink:
		a.Link = event.Text(d.texts.Get(more))
	case event.KindFileXattr:
		a.Xattr = event.Text(d.texts.Get(more))
	}
	if a.Unresolved = record.Status(r.Status).Unresolved(); a.Unresolved == "" {
		a.Unresolved = record.Status(r.NewStatus).Unresolved()
	}
	d.fill(a, r, kind)
	if a.Merged && r.PathLen == 0 && r.NewLen > 0 { // fanotify does not tell what a new link links to
		a.Unresolved = record.Status(r.NewStatus).Unresolved()
	}
	ev.File = a
	return nil
}

// fill copies what a record says, the strings excepted.
func (d *Decoder) fill(a *event.FileAct, r *fileActRec, kind event.Kind) {
	a.Dev, a.Inode, a.Links, a.Size = uint64(r.Dev), r.Ino, r.Nlink, r.Size
	a.Type, a.Mode, a.UID, a.GID = fileType(r.Mode), uint32(r.Mode&0o7777), r.Uid, r.Gid
	a.Flags, a.Result = r.Flags, int(r.Result)
	switch kind {
	case event.KindFileChmod:
		a.OldMode = uint32(r.OldMode & 0o7777)
	case event.KindFileChown:
		a.OldUID, a.OldGID = r.OldUid, r.OldGid
	}
	bits := fileFileBit(r.Bits)
	a.NoResult = bits&fileFileBitBIT_NO_RESULT != 0
	a.Write = bits&fileFileBitBIT_WRITE != 0
	a.Upper = bits&fileFileBitBIT_UPPER != 0
	a.Memfd = bits&fileFileBitBIT_MEMFD != 0
	a.Removed = bits&fileFileBitBIT_REMOVED != 0
	a.Merged = bits&fileFileBitBIT_MERGED != 0
	a.Partial = bits&fileFileBitBIT_PARTIAL != 0
	if bits&fileFileBitBIT_URING != 0 {
		a.Via = "io_uring"
	}
	a.FS = d.intern(record.CString(r.Fs[:]))
}

func (d *Decoder) mount(rec []byte, ev *event.Event) error {
	r, rest, err := record.View[fileMountRec](rec)
	if err != nil {
		return err
	}
	c := record.NewCursor(rest)
	target, source, options := c.Take(int(r.TargetLen)), c.Take(int(r.SourceLen)), c.Take(int(r.OptionsLen))
	if c.Bad() {
		return record.ErrShort
	}
	m := new(event.MountAct)
	actor, _, err := record.View[kernel.Actor](rec[unsafe.Offsetof(r.Actor):])
	if err != nil {
		return err
	}
	d.texts.Reset()
	comm := d.texts.Add(actor.Name())
	at := d.texts.AddPath(target, record.Status(r.Status))
	from, opts := d.texts.Add(source), d.texts.Add(options)
	d.texts.Seal()
	ev.Thread = actor.Thread(d.texts.Get(comm))
	m.Target, m.Source, m.Options = event.Text(d.texts.Get(at)), event.Text(d.texts.Get(from)), event.Text(d.texts.Get(opts))
	m.Unresolved = record.Status(r.Status).Unresolved()
	m.FS, m.Flags, m.Dev, m.Result = d.intern(record.CString(r.Fs[:])), r.Flags, uint64(r.Dev), int(r.Result)
	m.NoResult = fileFileBit(r.Bits)&fileFileBitBIT_NO_RESULT != 0
	ev.Mount = m
	return nil
}

func (d *Decoder) next() *event.FileAct {
	if len(d.acts) == 0 {
		d.acts = make([]event.FileAct, block)
	}
	a := &d.acts[0]
	d.acts = d.acts[1:]
	return a
}

// intern returns one string for equal bytes; what it remembers is bounded.
func (d *Decoder) intern(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if len(d.names) >= 256 {
		clear(d.names)
	}
	s := string(b)
	d.names[s] = s
	return s
}

// fileType names the type in a mode.
func fileType(mode uint16) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFCHR:
		return "char"
	case unix.S_IFBLK:
		return "block"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFSOCK:
		return "socket"
	}
	return ""
}

var _ contract.Decoder = (*Decoder)(nil)
