package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// note is one notification of fanotify(7): acts that the kernel merged, of one
// process, on one name. Its byte slices lie in the buffer that was read.
type note struct {
	mask   uint64
	pid    uint32
	dir    handle // where name is; of a rename where it was
	name   []byte
	newDir handle
	newTo  []byte
	target handle // the file itself
}

// handle identifies a file or directory: its file system, and there what
// open_by_handle_at(2) takes.
type handle struct {
	fsid unix.Fsid
	kind int32
	b    []byte
}

func (h *handle) empty() bool { return len(h.b) == 0 }

// key is h as a map key.
func (h *handle) key() string {
	b := make([]byte, 0, 12+len(h.b))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.fsid.Val[0]))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.fsid.Val[1]))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.kind))
	return string(append(b, h.b...))
}

// The sizes in include/uapi/linux/fanotify.h: struct fanotify_event_metadata,
// fanotify_event_info_header, and what a fid has before its handle's bytes
// (header, fsid, and of struct file_handle the length and the type).
const (
	noteHead = 24
	infoHead = 4
	fidHead  = infoHead + 8 + 8
)

var errNote = errors.New("read fanotify: impossible length")

// nextNote takes the first notification off b and returns what follows it.
func nextNote(b []byte) (n note, rest []byte, err error) {
	if len(b) < noteHead {
		return n, nil, errNote
	}
	size, head := int(binary.NativeEndian.Uint32(b)), int(binary.NativeEndian.Uint16(b[6:]))
	if v := b[4]; v != unix.FANOTIFY_METADATA_VERSION {
		return n, nil, fmt.Errorf("read fanotify: version %d, want %d", v, unix.FANOTIFY_METADATA_VERSION)
	}
	if head < noteHead || size < head || size > len(b) {
		return n, nil, errNote
	}
	n.mask = binary.NativeEndian.Uint64(b[8:])
	n.pid = uint32(binary.NativeEndian.Uint32(b[20:]))
	for info := b[head:size]; len(info) > 0; {
		if len(info) < infoHead {
			return n, nil, errNote
		}
		l := int(binary.NativeEndian.Uint16(info[2:]))
		if l < infoHead || l > len(info) {
			return n, nil, errNote
		}
		if err := n.info(info[0], info[:l]); err != nil {
			return n, nil, err
		}
		info = info[l:]
	}
	return n, b[size:], nil
}

// info takes one information record. Unknown types are passed over.
func (n *note) info(kind byte, b []byte) error {
	switch kind {
	case unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME,
		unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
	default:
		return nil
	}
	if len(b) < fidHead {
		return errNote
	}
	size := int(binary.NativeEndian.Uint32(b[12:]))
	if size < 0 || size > len(b)-fidHead {
		return errNote
	}
	h := handle{kind: int32(binary.NativeEndian.Uint32(b[16:])), b: b[fidHead : fidHead+size]}
	h.fsid.Val[0] = int32(binary.NativeEndian.Uint32(b[4:]))
	h.fsid.Val[1] = int32(binary.NativeEndian.Uint32(b[8:]))
	name, _, _ := bytes.Cut(b[fidHead+size:], []byte{0})
	switch kind {
	case unix.FAN_EVENT_INFO_TYPE_FID:
		n.target = h
	case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		n.newDir, n.newTo = h, name
	default:
		n.dir, n.name = h, name
	}
	return nil
}
