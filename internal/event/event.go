// Package event holds Merlon's nouns: what the sensors report (Event and its
// parts), what the detectors think of it (Finding) and what a person reads
// (Alert).
//
// Every field carries its JSON name, which is its CEL name too, in the json
// tag; doc says what it is; source says where a value comes from: "kernel"
// (a kernel copy), "user" (memory that the process itself could write) or
// "merlon" (worked out by us). The field reference in docs/ is generated from
// these tags.
package event

import (
	"slices"
	"time"
)

// Kind names what an event reports.
type Kind string

// The kinds of events.
const (
	// The processes of this host.
	KindFork   Kind = "fork"
	KindExec   Kind = "exec"
	KindExit   Kind = "exit"
	KindTask   Kind = "task"   // a process that was already there
	KindCgroup Kind = "cgroup" // a control group made, renamed or removed

	// Files.
	KindFileCreate   Kind = "file_create"   // a file, directory or node was made
	KindFileOpen     Kind = "file_open"     // a file was opened for writing, or a watched one for reading
	KindFileClose    Kind = "file_close"    // a file was closed after writing
	KindFileDelete   Kind = "file_delete"   // a name was removed
	KindFileRename   Kind = "file_rename"   // a name was changed
	KindFileLink     Kind = "file_link"     // a hard link was made
	KindFileSymlink  Kind = "file_symlink"  // a symbolic link was made
	KindFileChmod    Kind = "file_chmod"    // the mode was changed
	KindFileChown    Kind = "file_chown"    // the owner was changed
	KindFileXattr    Kind = "file_xattr"    // an extended attribute was set or removed
	KindFileTruncate Kind = "file_truncate" // a file was cut or extended
	KindMount        Kind = "mount"         // a file system was mounted
	KindUmount       Kind = "umount"        // a file system was unmounted

	// Network.
	KindNetConnect  Kind = "net_connect"  // a connection was attempted; with its outcome
	KindNetAccept   Kind = "net_accept"   // a connection was accepted
	KindNetBind     Kind = "net_bind"     // a socket got a local address
	KindNetListen   Kind = "net_listen"   // a socket began to listen
	KindNetClose    Kind = "net_close"    // a connection ended
	KindNetFlow     Kind = "net_flow"     // first packet or end of a UDP flow
	KindNetRaw      Kind = "net_raw"      // a raw or packet socket was made
	KindUnixConnect Kind = "unix_connect" // a connection to a named unix socket
	KindDNS         Kind = "dns"          // a DNS query or answer

	// Privileges.
	KindSetuid       Kind = "setuid"        // user ids changed
	KindSetgid       Kind = "setgid"        // group ids changed
	KindCapset       Kind = "capset"        // capabilities changed
	KindCredChange   Kind = "cred_change"   // credentials changed by no system call of their own
	KindUsernsCreate Kind = "userns_create" // a user namespace was made
	KindSetns        Kind = "setns"         // a namespace was entered
	KindUnshare      Kind = "unshare"       // a namespace was left for a new one
	KindChroot       Kind = "chroot"        // the root directory changed
	KindPivotRoot    Kind = "pivot_root"    // the root mount changed
	KindPtrace       Kind = "ptrace"        // another process was attached to or changed
	KindVMWrite      Kind = "vm_write"      // another process's memory was written by process_vm_writev
	KindMemWrite     Kind = "mem_write"     // another process's memory was opened for writing through /proc
	KindMemfdCreate  Kind = "memfd_create"  // a file in memory was made
	KindWXMap        Kind = "wx_map"        // memory became writable and executable
	KindModuleLoad   Kind = "module_load"   // a kernel module was loaded
	KindModuleUnload Kind = "module_unload" // a kernel module was removed
	KindBPFLoad      Kind = "bpf_load"      // a BPF program was loaded
	KindKexec        Kind = "kexec"         // another kernel was loaded
	KindPerfOpen     Kind = "perf_open"     // a perf event was opened
	KindUringSetup   Kind = "uring_setup"   // an io_uring was made
	KindKeyringJoin  Kind = "keyring_join"  // a session keyring was joined
	KindSignal       Kind = "signal"        // a signal was sent to another user's process

	// Ourselves.
	KindLoss Kind = "loss" // events are missing
)

// kinds lists them, in the order of the reference.
var kinds = []Kind{
	KindFork, KindExec, KindExit, KindTask, KindCgroup,
	KindFileCreate, KindFileOpen, KindFileClose, KindFileDelete, KindFileRename, KindFileLink, KindFileSymlink, KindFileChmod,
	KindFileChown, KindFileXattr, KindFileTruncate, KindMount, KindUmount,
	KindNetConnect, KindNetAccept, KindNetBind, KindNetListen, KindNetClose, KindNetFlow, KindNetRaw, KindUnixConnect,
	KindDNS,
	KindSetuid, KindSetgid, KindCapset, KindCredChange, KindUsernsCreate, KindSetns, KindUnshare, KindChroot, KindPivotRoot,
	KindPtrace, KindVMWrite, KindMemWrite, KindMemfdCreate, KindWXMap, KindModuleLoad, KindModuleUnload, KindBPFLoad,
	KindKexec, KindPerfOpen, KindUringSetup, KindKeyringJoin, KindSignal,
	KindLoss,
}

// Kinds lists every kind, in the order of the reference.
func Kinds() []Kind { return slices.Clone(kinds) }

// Event is one fact that was reported, never an opinion. Sensors decode into
// it, enrichers complete it; from then on it is read-only. Exactly one of the
// parts named like its Kind is set.
//
// The pipeline reuses the Event itself (not what its pointers lead to): who
// keeps one beyond the call that received it takes a Clone.
type Event struct {
	Time      time.Time  `json:"time" doc:"wall-clock time of the act" source:"kernel"`
	Boot      uint64     `json:"boot_ns" doc:"the same instant in nanoseconds since boot, suspend included" source:"kernel"`
	Kind      Kind       `json:"kind" doc:"what the event reports" source:"merlon"`
	CPU       uint32     `json:"cpu" doc:"the CPU the act ran on" source:"kernel"`
	Process   *Process   `json:"process,omitempty" doc:"the process that acted; for fork the new process" source:"kernel"`
	Thread    Thread     `json:"thread,omitzero" doc:"the thread that acted, as the kernel saw it at that moment; not with process events" source:"kernel"`
	Fork      *Fork      `json:"fork,omitempty" doc:"what a fork event adds" source:"kernel"`
	Exec      *Exec      `json:"exec,omitempty" doc:"what an exec event adds" source:"kernel"`
	Exit      *Exit      `json:"exit,omitempty" doc:"what an exit event adds" source:"kernel"`
	Cgroup    *Cgroup    `json:"cgroup,omitempty" doc:"what a cgroup event tells" source:"kernel"`
	File      *FileAct   `json:"file,omitempty" doc:"what an event about a file adds" source:"kernel"`
	Mount     *MountAct  `json:"mount,omitempty" doc:"what a mount or umount event adds" source:"kernel"`
	Net       *Net       `json:"net,omitempty" doc:"what an event about a socket adds" source:"kernel"`
	DNS       *DNS       `json:"dns,omitempty" doc:"what a DNS event adds" source:"user"`
	Privilege *Privilege `json:"privilege,omitempty" doc:"what an event about privileges adds" source:"kernel"`
	Loss      *Loss      `json:"loss,omitempty" doc:"what a loss event counts" source:"merlon"`

	// Was is the acting process as Merlon knew it before this event (for fork
	// the creator, before what the event tells of it); nil when it was
	// unknown. The process tree sets it; detectors compare.
	Was *Process `json:"-"`
}

// Thread is who acted, as the kernel saw it at the act. Sensors fill it in
// instead of Process, which the process tree then finds by pid and start.
type Thread struct {
	PID      uint32 `json:"pid" doc:"process id in the initial pid namespace" source:"kernel"`
	TID      uint32 `json:"tid" doc:"thread id" source:"kernel"`
	Start    uint64 `json:"start_ns" doc:"start time of the process in nanoseconds since boot; 0 when the source does not tell it" source:"kernel"`
	UID      uint32 `json:"uid" doc:"real user id" source:"kernel"`
	EUID     uint32 `json:"euid" doc:"effective user id" source:"kernel"`
	CgroupID uint64 `json:"cgroup_id,omitempty" doc:"id of the cgroup in the unified hierarchy" source:"kernel"`
	Comm     Text   `json:"comm,omitempty" doc:"the kernel's short name of the thread" source:"kernel"`
}

// Clone returns a copy that outlives the pipeline's reuse of e.
func (e *Event) Clone() *Event {
	c := *e
	return &c
}

// Reset empties e for its next use.
func (e *Event) Reset() { *e = Event{} }
