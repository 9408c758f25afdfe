package event

import "time"

// maxDepth bounds a chain of ancestors: one that grows past it is cut to the
// keepNear nearest and the keepRoot at its root end (init, the service or
// session, what that started), so that daemons which fork and exit for ever
// keep no memory.
const (
	maxDepth = 64
	keepNear = 28
	keepRoot = 4
)

// Key identifies a process for as long as the host runs: process ids are
// reused, a pair of id and start time is not.
type Key struct {
	PID   uint32 `json:"pid" doc:"process id in the initial pid namespace" source:"kernel"`
	Start uint64 `json:"start_ns" doc:"start time in nanoseconds since boot" source:"kernel"`
}

// Process is one process as it was after its last fork or exec. A Process is
// immutable once the process tree has published it: an exec makes a new one.
type Process struct {
	PID       uint32 `json:"pid" doc:"process id (thread-group id) in the initial pid namespace" source:"kernel"`
	Start     uint64 `json:"start_ns" doc:"start time in nanoseconds since boot; with pid the identity of the process" source:"kernel"`
	PPID      uint32 `json:"ppid" doc:"process id of the parent" source:"kernel"`
	PStart    uint64 `json:"parent_start_ns" doc:"start time of the parent in nanoseconds since boot" source:"kernel"`
	NSPID     uint32 `json:"ns_pid,omitempty" doc:"process id in the process's own pid namespace, where that is another" source:"kernel"`
	PGID      uint32 `json:"pgid,omitempty" doc:"process group id" source:"kernel"`
	SID       uint32 `json:"sid,omitempty" doc:"session id, as of setsid(2)" source:"kernel"`
	Comm      Text   `json:"comm,omitempty" doc:"the kernel's short name of the process, at most 15 bytes; the process may change it" source:"kernel"`
	Exe       Text   `json:"exe,omitempty" doc:"path of the running binary, absolute in the process's root" source:"kernel"`
	Args      []Text `json:"args,omitempty" doc:"the argument vector of the last exec; at most 4 KiB of it outside exec events" source:"user"`
	CWD       Text   `json:"cwd,omitempty" doc:"working directory at the last exec" source:"kernel"`
	TTY       Text   `json:"tty,omitempty" doc:"controlling terminal" source:"kernel"`
	File      *File  `json:"file,omitempty" doc:"the running binary" source:"kernel"`
	Creds     Creds  `json:"creds" doc:"who the process acts as" source:"kernel"`
	LoginUID  uint32 `json:"login_uid" doc:"audit login uid; 4294967295 when no login set it" source:"kernel"`
	AuditSess uint32 `json:"audit_session" doc:"audit session id; 4294967295 when no login set it" source:"kernel"`

	NS        Namespaces `json:"ns" doc:"namespace inode numbers" source:"kernel"`
	CgroupID  uint64     `json:"cgroup_id,omitempty" doc:"id of the cgroup in the unified (v2) hierarchy" source:"kernel"`
	CgroupV1  uint64     `json:"cgroup_v1_id,omitempty" doc:"id of the cgroup in the v1 hierarchy that Merlon follows, where there is one" source:"kernel"`
	Cgroup    Text       `json:"cgroup,omitempty" doc:"path of the cgroup" source:"kernel"`
	User      string     `json:"user,omitempty" doc:"name of the effective uid on this host" source:"merlon"`
	LoginUser string     `json:"login_user,omitempty" doc:"name of the login uid on this host" source:"merlon"`
	Group     string     `json:"group,omitempty" doc:"name of the effective gid on this host" source:"merlon"`
	Container *Container `json:"container,omitempty" doc:"the container, worked out from the cgroup path" source:"merlon"`
	Service   string     `json:"service,omitempty" doc:"the systemd unit, worked out from the cgroup path" source:"merlon"`
	Slice     string     `json:"slice,omitempty" doc:"the systemd slice, worked out from the cgroup path" source:"merlon"`

	// Origin tells how much is known of the process.
	Origin Origin `json:"origin" doc:"how Merlon knows the process: exec, fork, seed (was there before) or inferred (its own fork was lost)" source:"merlon"`

	// Parent is the parent as it was when it created this process; nil when
	// unknown. In JSON it becomes "parent" and "ancestors".
	Parent *Process `json:"-" cel:"parent" doc:"the parent as it was when it created the process" source:"merlon"`
	// Cut says that Parent is no parent but an earlier ancestor.
	Cut   bool `json:"ancestors_cut,omitempty" doc:"ancestors right above this process were left out, because the chain was longer than 64: its parent here is one of the 4 at the root end" source:"merlon"`
	depth int
}

// Origin tells how Merlon learned of a process.
type Origin string

// The origins of a Process.
const (
	OriginExec     Origin = "exec"
	OriginFork     Origin = "fork"
	OriginSeed     Origin = "seed"
	OriginInferred Origin = "inferred"
)

// Key returns the identity of p.
func (p *Process) Key() Key { return Key{p.PID, p.Start} }

// ParentKey returns the identity of p's parent as the kernel told it.
func (p *Process) ParentKey() Key { return Key{p.PPID, p.PStart} }

// SetParent links p to its parent, before p is published. A chain deeper than
// 64 loses its middle by copying, so that ancestry never pins unbounded memory;
// the process below the gap is marked as Cut.
func (p *Process) SetParent(parent *Process) {
	p.Parent, p.Cut, p.depth = parent, false, 0
	if parent == nil {
		return
	}
	if parent.depth+1 >= maxDepth {
		p.Parent = parent.trimmed(keepNear)
	}
	p.depth = p.Parent.depth + 1
}

// trimmed returns a copy of p whose chain is the nearest n, p the first of
// them, and the root end, which is shared. The chain is longer than both.
func (p *Process) trimmed(n int) *Process {
	c := *p
	if n > 1 {
		c.Parent = p.Parent.trimmed(n - 1)
	} else {
		root := p.Parent
		for root.depth >= keepRoot {
			root = root.Parent
		}
		c.Parent, c.Cut = root, true
	}
	c.depth = c.Parent.depth + 1
	return &c
}

// Ancestors calls yield for the parent, its parent and so on, until yield
// returns false.
func (p *Process) Ancestors(yield func(*Process) bool) {
	for a := p.Parent; a != nil; a = a.Parent {
		if !yield(a) {
			return
		}
	}
}

// Creds are the credentials of a process (credentials(7), capabilities(7)).
type Creds struct {
	UID         uint32 `json:"uid" doc:"real user id" source:"kernel"`
	GID         uint32 `json:"gid" doc:"real group id" source:"kernel"`
	EUID        uint32 `json:"euid" doc:"effective user id" source:"kernel"`
	EGID        uint32 `json:"egid" doc:"effective group id" source:"kernel"`
	SUID        uint32 `json:"suid" doc:"saved user id" source:"kernel"`
	SGID        uint32 `json:"sgid" doc:"saved group id" source:"kernel"`
	Effective   CapSet `json:"cap_effective" doc:"effective capabilities" source:"kernel"`
	Permitted   CapSet `json:"cap_permitted" doc:"permitted capabilities" source:"kernel"`
	Inheritable CapSet `json:"cap_inheritable" doc:"inheritable capabilities" source:"kernel"`
	Bounding    CapSet `json:"cap_bounding" doc:"capability bounding set" source:"kernel"`
	Ambient     CapSet `json:"cap_ambient" doc:"ambient capabilities" source:"kernel"`
}

// Namespaces are the inode numbers of a process's namespaces (namespaces(7)).
type Namespaces struct {
	Mnt    uint32 `json:"mnt" doc:"mount namespace" source:"kernel"`
	PID    uint32 `json:"pid" doc:"pid namespace" source:"kernel"`
	Net    uint32 `json:"net" doc:"network namespace" source:"kernel"`
	User   uint32 `json:"user" doc:"user namespace" source:"kernel"`
	UTS    uint32 `json:"uts" doc:"UTS namespace" source:"kernel"`
	IPC    uint32 `json:"ipc" doc:"IPC namespace" source:"kernel"`
	Cgroup uint32 `json:"cgroup" doc:"cgroup namespace" source:"kernel"`
}

// Container is what a cgroup path tells of the container around a process.
type Container struct {
	ID      string `json:"id" doc:"container id, in full" source:"merlon"`
	Runtime string `json:"runtime" doc:"docker, containerd, cri-o, podman, lxc, systemd-nspawn or unknown" source:"merlon"`
	Pod     string `json:"pod,omitempty" doc:"Kubernetes pod UID" source:"merlon"`
}

// CgroupV1Controllers names the cgroup v1 controllers by whose hierarchy tasks
// are followed, best first: container runtimes and systemd place every task in
// them. The sensor and the readers of paths must follow the same one.
func CgroupV1Controllers() []string {
	return []string{"pids", "memory", "cpu", "cpuset", "devices"}
}

// Cgroup reports a control group that was made, renamed or removed.
type Cgroup struct {
	ID        uint64 `json:"id" doc:"id of the cgroup within its hierarchy" source:"kernel"`
	Hierarchy uint32 `json:"hierarchy" doc:"hierarchy number, 0 for cgroup v2" source:"kernel"`
	Path      Text   `json:"path" doc:"path within the hierarchy" source:"kernel"`
	Op        string `json:"op" doc:"mkdir, rename or rmdir" source:"kernel"`
}

// Fork is what a fork event adds to its process.
type Fork struct {
	Creator Key `json:"creator" doc:"the process that called fork; differs from the parent under CLONE_PARENT" source:"kernel"`
}

// Exit is what an exit event adds to its process.
type Exit struct {
	Code     int           `json:"code" doc:"exit status, 0 when killed by a signal" source:"kernel"`
	Signal   int           `json:"signal,omitempty" doc:"the signal that killed the process" source:"kernel"`
	Core     bool          `json:"core,omitempty" doc:"a core was dumped" source:"kernel"`
	CPU      time.Duration `json:"cpu_ns" doc:"CPU time of all threads as of the scheduler's last look at each, nanoseconds: 0 for a process that ended before the first" source:"kernel"`
	User     time.Duration `json:"user_ns" doc:"the part of it in user mode, by the kernel's tick" source:"kernel"`
	System   time.Duration `json:"system_ns" doc:"the part of it in the kernel, by the kernel's tick" source:"kernel"`
	PeakRSS  uint64        `json:"peak_rss_bytes" doc:"largest resident set, bytes" source:"kernel"`
	Lifetime time.Duration `json:"lifetime_ns" doc:"time from start to exit, nanoseconds" source:"kernel"`
}

// Loss reports events that were produced and not delivered.
type Loss struct {
	Of     Kind   `json:"of" doc:"the kind of the lost events" source:"merlon"`
	Stage  string `json:"stage" doc:"where they were lost: kernel, queue, decode or client" source:"merlon"`
	Reason string `json:"reason" doc:"why they were lost" source:"merlon"`
	Count  uint64 `json:"count" doc:"how many, since the last loss event of this kind, stage and reason" source:"merlon"`
}
