package event

// FileAct is what an event about a file adds: the file as it was after the act
// (before it, for file_delete).
type FileAct struct {
	Path       Text   `json:"path,omitempty" doc:"absolute path in the actor's root; for rename and link the old name" source:"kernel"`
	Unresolved string `json:"unresolved,omitempty" doc:"why path is not a whole absolute path: outside_root, too_deep or fault" source:"kernel"`
	NewPath    Text   `json:"new_path,omitempty" doc:"the new name of a rename or link" source:"kernel"`
	Link       Text   `json:"link,omitempty" doc:"what a new symbolic link says" source:"kernel"`
	Dev        uint64 `json:"dev,omitempty" doc:"device, major<<20|minor" source:"kernel"`
	Inode      uint64 `json:"inode,omitempty" doc:"inode number: it ties the names of one file together" source:"kernel"`
	Type       string `json:"type,omitempty" doc:"file, dir, symlink, char, block, pipe or socket" source:"kernel"`
	Mode       uint32 `json:"mode,omitempty" doc:"permission bits; for file_chmod the new ones" source:"kernel"`
	OldMode    uint32 `json:"old_mode,omitempty" doc:"permission bits before a file_chmod" source:"kernel"`
	UID        uint32 `json:"uid" doc:"owner; for file_chown the new one" source:"kernel"`
	GID        uint32 `json:"gid" doc:"group; for file_chown the new one" source:"kernel"`
	OldUID     uint32 `json:"old_uid,omitempty" doc:"owner before a file_chown" source:"kernel"`
	OldGID     uint32 `json:"old_gid,omitempty" doc:"group before a file_chown" source:"kernel"`
	Links      uint32 `json:"links,omitempty" doc:"hard links" source:"kernel"`
	Size       uint64 `json:"size,omitempty" doc:"size in bytes: after a file_truncate, at a file_close" source:"kernel"`
	FS         string `json:"fs,omitempty" doc:"file system type" source:"kernel"`
	Upper      bool   `json:"overlay_upper,omitempty" doc:"the file is in the upper layer of an overlay" source:"kernel"`
	Memfd      bool   `json:"memfd,omitempty" doc:"the file lives in memory only (memfd_create(2))" source:"kernel"`
	Flags      uint32 `json:"flags,omitempty" doc:"flags of open(2), as in fcntl.h; for file_rename those of renameat2(2)" source:"kernel"`
	Write      bool   `json:"write,omitempty" doc:"opened for writing" source:"kernel"`
	Xattr      Text   `json:"xattr,omitempty" doc:"name of the extended attribute" source:"kernel"`
	Removed    bool   `json:"removed,omitempty" doc:"the extended attribute was removed" source:"kernel"`
	Result     int    `json:"result" doc:"0, or the negative error number" source:"kernel"`
	NoResult   bool   `json:"no_result,omitempty" doc:"the hook does not tell the outcome: result is of an act that was permitted, or of one that happened (merged)" source:"merlon"`
	Merged     bool   `json:"merged,omitempty" doc:"told by fanotify, which merges acts: owner, mode and sizes were read afterwards and some acts may be told as one" source:"merlon"`
	Partial    bool   `json:"partial,omitempty" doc:"what the hook does not tell was left out: uid, gid and mode mean nothing when inode is 0" source:"merlon"`
	Via        string `json:"via,omitempty" doc:"io_uring, when one of its worker threads did it; what it does in the calling thread looks like a system call" source:"kernel"`
}

// MountAct is what a mount or umount event adds.
type MountAct struct {
	Target     Text   `json:"target" doc:"the mount point, absolute in the actor's root" source:"kernel"`
	Unresolved string `json:"unresolved,omitempty" doc:"why target is not a whole absolute path: outside_root, too_deep or fault" source:"kernel"`
	Source     Text   `json:"from,omitempty" doc:"device or directory that was mounted" source:"kernel"`
	FS         string `json:"fs,omitempty" doc:"file system type" source:"kernel"`
	Options    Text   `json:"options,omitempty" doc:"options, at most 256 bytes" source:"user"`
	Flags      uint64 `json:"flags,omitempty" doc:"flags of mount(2) or umount2(2)" source:"kernel"`
	Dev        uint64 `json:"dev,omitempty" doc:"device of the mounted file system, major<<20|minor" source:"kernel"`
	Result     int    `json:"result" doc:"0, or the negative error number" source:"kernel"`
	NoResult   bool   `json:"no_result,omitempty" doc:"the hook does not tell the outcome" source:"merlon"`
}
