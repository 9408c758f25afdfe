package event

// Exec is what an exec event adds to its process.
type Exec struct {
	Filename    Text   `json:"filename" doc:"the path given to execve(2), as given" source:"kernel"`
	Script      Text   `json:"script,omitempty" doc:"the script's path as given, when a #! line started an interpreter" source:"kernel"`
	Interpreter Text   `json:"interpreter,omitempty" doc:"the interpreter's path as the #! line gives it" source:"kernel"`
	Args        []Text `json:"args" doc:"the full argument vector, up to 128 KiB" source:"user"`
	ArgsBytes   uint32 `json:"args_bytes" doc:"size of the argument vector in bytes" source:"kernel"`
	ArgsCut     bool   `json:"args_truncated,omitempty" doc:"the argument vector is incomplete: over 128 KiB, unreadable, or a part was lost" source:"merlon"`
	Env         []Var  `json:"env,omitempty" doc:"the environment variables that change what a program loads or runs" source:"user"`
	EnvCut      bool   `json:"env_truncated,omitempty" doc:"the environment was too large to be searched whole" source:"merlon"`
	FDs         []FD   `json:"fds,omitempty" doc:"what file descriptors 0, 1 and 2 are" source:"kernel"`
	Before      *Creds `json:"creds_before,omitempty" doc:"the credentials before the exec; absent where the kernel offers no hook for them" source:"kernel"`
	Previous    Text   `json:"previous_exe,omitempty" doc:"the binary that the process ran before" source:"merlon"`
	Secure      bool   `json:"secure,omitempty" doc:"the kernel runs the program with AT_SECURE (setuid, setgid or capabilities gained)" source:"kernel"`
}

// Var is one environment variable.
type Var struct {
	Name  Text `json:"name" doc:"name" source:"user"`
	Value Text `json:"value" doc:"value, at most 1 KiB" source:"user"`
}

// File is a file as an act met it.
type File struct {
	Path       Text   `json:"path,omitempty" doc:"absolute path in the process's root" source:"kernel"`
	Unresolved string `json:"unresolved,omitempty" doc:"why path is not a whole absolute path: outside_root (not reachable from the process's root), too_deep, or fault" source:"kernel"`
	Dev        uint64 `json:"dev,omitempty" doc:"device, major<<20|minor" source:"kernel"`
	Inode      uint64 `json:"inode,omitempty" doc:"inode number" source:"kernel"`
	Mode       uint32 `json:"mode,omitempty" doc:"file type and permission bits, as in stat(2)" source:"kernel"`
	UID        uint32 `json:"uid" doc:"owner" source:"kernel"`
	GID        uint32 `json:"gid" doc:"group" source:"kernel"`
	Links      uint32 `json:"links" doc:"hard links" source:"kernel"`
	Deleted    bool   `json:"deleted,omitempty" doc:"the file has no name any more" source:"kernel"`
	Memfd      bool   `json:"memfd,omitempty" doc:"the file lives in memory only (memfd_create(2))" source:"kernel"`
	Upper      bool   `json:"overlay_upper,omitempty" doc:"the file was written in the upper layer of an overlay, it is not in the image" source:"kernel"`
	FS         string `json:"fs,omitempty" doc:"file system type" source:"kernel"`
}

// Setuid reports whether executing the file changes the user id.
func (f *File) Setuid() bool { return f != nil && f.Mode&0o4000 != 0 }

// Setgid reports whether executing the file changes the group id.
func (f *File) Setgid() bool { return f != nil && f.Mode&0o2010 == 0o2010 }

// FD says what one file descriptor refers to.
type FD struct {
	Num    int     `json:"fd" doc:"the descriptor's number" source:"kernel"`
	Type   string  `json:"type" doc:"closed, file, dir, char, block, pipe, socket or anon" source:"kernel"`
	Path   Text    `json:"path,omitempty" doc:"path of a file or device" source:"kernel"`
	Inode  uint64  `json:"inode,omitempty" doc:"inode number: equal for both ends of a pipe" source:"kernel"`
	Socket *Socket `json:"socket,omitempty" doc:"the socket" source:"kernel"`
}

// Socket is one end of a connection.
type Socket struct {
	Family     string `json:"family" doc:"inet, inet6, unix, netlink, packet, vsock or a number" source:"kernel"`
	Type       string `json:"type" doc:"stream, dgram, raw, seqpacket or a number" source:"kernel"`
	Protocol   uint16 `json:"protocol,omitempty" doc:"IP protocol number" source:"kernel"`
	State      string `json:"state,omitempty" doc:"TCP state" source:"kernel"`
	LocalAddr  string `json:"local_addr,omitempty" doc:"local address" source:"kernel"`
	LocalPort  uint16 `json:"local_port,omitempty" doc:"local port" source:"kernel"`
	RemoteAddr string `json:"remote_addr,omitempty" doc:"address of the peer" source:"kernel"`
	RemotePort uint16 `json:"remote_port,omitempty" doc:"port of the peer" source:"kernel"`
	PeerPID    uint32 `json:"peer_pid,omitempty" doc:"process at the other end of a unix socket" source:"kernel"`
}
