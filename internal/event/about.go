package event

// About says what a kind is, for the reference and for people.
type About struct {
	Kind    Kind
	Meaning string
	Part    string // the part of Event that it fills in
	Sensor  string // the sensor that reports it; empty for what the agent itself tells
}

// Abouts lists every kind, in the order of Kinds.
func Abouts() []About {
	const process, file, network, privilege = "process", "file", "network", "privilege"
	return []About{
		{KindFork, "a process was made", "fork", process},
		{KindExec, "a process started a program", "exec", process},
		{KindExit, "a process ended", "exit", process},
		{KindTask, "a process that was there before; never in a stream, detectors see it after losses", "process", process},
		{KindCgroup, "a control group was made, renamed or removed", "cgroup", process},

		{KindFileCreate, "a file, directory or node was made", "file", file},
		{KindFileOpen, "a file was opened for writing, or one whose reads somebody asked for, for reading", "file", file},
		{KindFileClose, "a file was closed after writing", "file", file},
		{KindFileDelete, "a name was removed", "file", file},
		{KindFileRename, "a name was changed", "file", file},
		{KindFileLink, "a hard link was made", "file", file},
		{KindFileSymlink, "a symbolic link was made", "file", file},
		{KindFileChmod, "the mode of a file was changed", "file", file},
		{KindFileChown, "the owner of a file was changed", "file", file},
		{KindFileXattr, "an extended attribute was set or removed", "file", file},
		{KindFileTruncate, "a file was cut or extended", "file", file},
		{KindMount, "a file system was mounted", "mount", file},
		{KindUmount, "a file system was unmounted", "mount", file},

		{KindNetConnect, "a connection was attempted; with its outcome", "net", network},
		{KindNetAccept, "a connection was accepted", "net", network},
		{KindNetBind, "a socket got a local address", "net", network},
		{KindNetListen, "a socket began to listen", "net", network},
		{KindNetClose, "a connection ended; with its bytes, duration and retransmits", "net", network},
		{KindNetFlow, "first packet or end of a UDP flow", "net", network},
		{KindNetRaw, "a raw or packet socket was made", "net", network},
		{KindUnixConnect, "a connection to a named unix socket", "net", network},
		{KindDNS, "a DNS query or answer", "dns", "dns"},

		{KindSetuid, "user ids changed", "privilege", privilege},
		{KindSetgid, "group ids changed", "privilege", privilege},
		{KindCapset, "capabilities changed", "privilege", privilege},
		{KindCredChange, "credentials changed by no system call of their own", "privilege", privilege},
		{KindUsernsCreate, "a user namespace was made", "privilege", privilege},
		{KindSetns, "a namespace was entered", "privilege", privilege},
		{KindUnshare, "a namespace was left for a new one", "privilege", privilege},
		{KindChroot, "the root directory changed", "privilege", privilege},
		{KindPivotRoot, "the root mount changed", "privilege", privilege},
		{KindPtrace, "another process was attached to or changed", "privilege", privilege},
		{KindVMWrite, "another process's memory was written by process_vm_writev(2)", "privilege", privilege},
		{KindMemWrite, "another process's memory was opened for writing through /proc", "privilege", privilege},
		{KindMemfdCreate, "a file in memory was made", "privilege", privilege},
		{KindWXMap, "memory became writable and executable", "privilege", privilege},
		{KindModuleLoad, "a kernel module was loaded", "privilege", privilege},
		{KindModuleUnload, "a kernel module was removed", "privilege", privilege},
		{KindBPFLoad, "a BPF program was loaded", "privilege", privilege},
		{KindKexec, "another kernel was loaded", "privilege", privilege},
		{KindPerfOpen, "a perf event was opened", "privilege", privilege},
		{KindUringSetup, "an io_uring was made", "privilege", privilege},
		{KindKeyringJoin, "a session keyring was joined", "privilege", privilege},
		{KindSignal, "a signal was sent to another user's process", "privilege", privilege},

		{KindLoss, "events are missing", "loss", ""},
	}
}
