package app

import (
	"os"
	"strings"
	"syscall"

	"github.com/merlon/merlon/internal/event"
)

// binary is this program's own file, by which the agent knows itself, another
// merlon (`merlon check` drives every hook) and the canaries of both.
type binary struct {
	path  event.Text
	inode uint64
	mnt   uint32 // mount namespace in which path is the file's
}

// ownBinary looks itself up; what can't be read matches nothing.
func ownBinary() binary {
	path, err := os.Executable()
	if err != nil {
		return binary{}
	}
	var file, mnt syscall.Stat_t
	if syscall.Stat("/proc/self/exe", &file) != nil || syscall.Stat("/proc/self/ns/mnt", &mnt) != nil {
		return binary{}
	}
	return binary{path: event.Text(path), inode: file.Ino, mnt: uint32(mnt.Ino)}
}

// runs reports whether p runs that very file: the same name in the same mount
// namespace, and the same inode.
func (b *binary) runs(p *event.Process) bool {
	return b.inode != 0 && p != nil && p.Exe == b.path && p.NS.Mnt == b.mnt && p.File != nil && p.File.Inode == b.inode
}

// canary reports whether p is a canary: a child of ours that executes our own
// binary, or a file of the directory that only its parent writes to.
func (b *binary) canary(p *event.Process) bool {
	return p != nil && b.runs(p.Parent) && (b.runs(p) || strings.Contains(string(p.Exe), "/merlon-canary-"))
}
