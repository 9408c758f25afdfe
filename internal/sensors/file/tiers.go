package file

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/merlon/merlon/internal/event"
	"github.com/merlon/merlon/internal/kernel"
)

// Tiers, best first, as check prints them.
const (
	tierTrampoline = "fentry and fexit"
	tierEarly      = "fentry and fexit, without all outcomes"
	tierProbe      = "kprobes"
	tierCalls      = "system call exits"
	tierFanotify   = "fanotify"
)

const (
	attrLimits  = "mode, owner and xattrs are told apart by looking afterwards"
	mountLimits = "from /proc/self/mountinfo: our own mount namespace, not by whom"
)

// shape is what differs between kernels, read from their types.
type shape struct {
	shifted  bool // the inode operations' helpers take a namespace or mapping first
	rdata    bool // vfs_rename takes one struct
	fileTrun bool // security_file_truncate exists
}

func readShape(k *kernel.Kernel) (shape, error) {
	types, err := k.BTF()
	if err != nil {
		return shape{}, fmt.Errorf("read kernel types: %w", err)
	}
	return shape{
		shifted:  params(types, "vfs_unlink") > 3,
		rdata:    params(types, "vfs_rename") == 1,
		fileTrun: params(types, "security_file_truncate") > 0,
	}, nil
}

// params returns how many arguments a kernel function takes; 0 when there is
// none of that name.
func params(types *btf.Spec, name string) int {
	var fn *btf.Func
	if types.TypeByName(name, &fn) != nil {
		return 0
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params)
}

// act is how one kind of event is seen. Programs that tell the outcome of acts
// come before those that see their beginnings: in that order they are attached.
type act struct {
	kind       event.Kind
	wire       fileEventKind
	name       string // of the feature
	trampoline []string
	probe      []string
	merged     string   // why fanotify does not tell it; empty when it does
	limits     string   // what fanotify leaves out of it
	early      []string // like trampoline, where the compiler left no function to take an outcome from
}

// acts lists every kind, in the order of the reference.
func acts(s shape) []act {
	rename := fileProgFileX_rename
	if s.rdata {
		rename = fileProgFileX_renamed
	}
	list := []act{
		{event.KindFileCreate, fileEventKindKIND_FILE_CREATE, "see files made",
			[]string{fileProgFileX_mkdir, fileProgFileX_mknod, fileProgFileX_create, fileProgFileE_mkdir, fileProgFileE_mknod, fileProgFileE_open},
			[]string{fileProgFileK_mkdir, fileProgFileK_mknod, fileProgFileK_open}, "", "", nil},
		{event.KindFileOpen, fileEventKindKIND_FILE_OPEN, "see files opened",
			[]string{fileProgFileE_open}, []string{fileProgFileK_open}, "", "watched paths only, not whether for writing", nil},
		{event.KindFileClose, fileEventKindKIND_FILE_CLOSE, "see files written",
			[]string{fileProgFileE_close}, []string{fileProgFileK_close}, "", "", nil},
		{event.KindFileDelete, fileEventKindKIND_FILE_DELETE, "see files removed",
			[]string{fileProgFileX_unlink, fileProgFileX_rmdir, fileProgFileE_unlink, fileProgFileE_rmdir},
			[]string{fileProgFileK_unlink, fileProgFileK_rmdir}, "", "",
			[]string{fileProgFileX_unlink, fileProgFileE_unlink, fileProgFileN_rmdir}},
		{event.KindFileRename, fileEventKindKIND_FILE_RENAME, "see files renamed",
			[]string{rename, fileProgFileE_rename}, []string{fileProgFileK_rename}, "", "", nil},
		{event.KindFileLink, fileEventKindKIND_FILE_LINK, "see hard links made",
			[]string{fileProgFileX_link, fileProgFileE_link}, []string{fileProgFileK_link}, "", "without the old name", nil},
		{event.KindFileSymlink, fileEventKindKIND_FILE_SYMLINK, "see symbolic links made",
			[]string{fileProgFileX_symlink, fileProgFileE_symlink}, []string{fileProgFileK_symlink}, "", "", nil},
		{event.KindFileChmod, fileEventKindKIND_FILE_CHMOD, "see modes changed",
			[]string{fileProgFileX_attr, fileProgFileE_chmod}, []string{fileProgFileK_chmod}, "", attrLimits, nil},
		{event.KindFileChown, fileEventKindKIND_FILE_CHOWN, "see owners changed",
			[]string{fileProgFileX_attr, fileProgFileE_chown}, []string{fileProgFileK_chown}, "", attrLimits, nil},
		{event.KindFileXattr, fileEventKindKIND_FILE_XATTR, "see extended attributes changed",
			[]string{fileProgFileX_setxattr, fileProgFileX_rmxattr, fileProgFileE_setxattr, fileProgFileE_rmxattr},
			[]string{fileProgFileK_setxattr, fileProgFileK_rmxattr}, "", attrLimits, nil},
		{event.KindFileTruncate, fileEventKindKIND_FILE_TRUNCATE, "see files cut",
			[]string{fileProgFileX_attr, fileProgFileE_truncate}, []string{fileProgFileK_truncate},
			"fanotify does not tell it from a write; the file_close that follows has the size", "", nil},
		{event.KindMount, fileEventKindKIND_MOUNT, "see mounts",
			[]string{fileProgFileX_mount, fileProgFileE_mount, fileProgFileE_moved}, []string{fileProgFileK_mount, fileProgFileK_moved}, "", mountLimits, nil},
		{event.KindUmount, fileEventKindKIND_UMOUNT, "see unmounts",
			[]string{fileProgFileE_umount}, []string{fileProgFileK_umount}, "", mountLimits, nil},
	}
	if s.fileTrun {
		for i := range list {
			if a := &list[i]; a.kind == event.KindFileTruncate {
				a.trampoline = append(a.trampoline, fileProgFileE_ftrunc)
				a.probe = append(a.probe, fileProgFileK_ftrunc)
			}
		}
	}
	return list
}

// programs returns what the act needs on a tier.
func (a *act) programs(tier string) []string {
	switch tier {
	case tierTrampoline:
		return a.trampoline
	case tierEarly:
		return a.early
	case tierProbe:
		return a.probe
	case tierCalls:
		if a.kind == event.KindFileOpen {
			return []string{fileProgFileS_open}
		}
	}
	return nil
}
