package event

// Privilege is what an event about privileges adds. Which fields are set
// depends on the kind of the event.
type Privilege struct {
	Before   *Creds   `json:"before,omitempty" doc:"the credentials before the act" source:"kernel"`
	After    *Creds   `json:"after,omitempty" doc:"the credentials after the act" source:"kernel"`
	Target   *Target  `json:"target,omitempty" doc:"the process acted upon" source:"kernel"`
	Cause    string   `json:"cause,omitempty" doc:"what allows the act: setuid_file, capability, owner, user_namespace or none; none is worth a look" source:"merlon"`
	Cap      string   `json:"capability,omitempty" doc:"the capability that the kernel checked for it" source:"kernel"`
	Call     string   `json:"call,omitempty" doc:"the exact call, where a kind has several: setresuid, PTRACE_ATTACH, kexec_file_load and so on" source:"kernel"`
	Name     Text     `json:"name,omitempty" doc:"name of a module, BPF program, memfd or keyring" source:"kernel"`
	Path     Text     `json:"path,omitempty" doc:"the new root, or the file that was mapped or loaded" source:"kernel"`
	Flags    uint64   `json:"flags,omitempty" doc:"the call's flags" source:"kernel"`
	NS       uint32   `json:"ns,omitempty" doc:"inode number of the namespace made or entered; with credentials the user namespace, when it changed" source:"kernel"`
	NSTypes  string   `json:"ns_types,omitempty" doc:"kinds of namespaces, comma-separated: mnt,pid,net,user,uts,ipc,cgroup,time" source:"kernel"`
	Address  uint64   `json:"address,omitempty" doc:"start of the memory acted upon" source:"kernel"`
	Length   uint64   `json:"length,omitempty" doc:"its length in bytes" source:"kernel"`
	Prot     string   `json:"prot,omitempty" doc:"the memory's new protection, like rwx" source:"kernel"`
	Signal   int      `json:"signal,omitempty" doc:"signal number" source:"kernel"`
	BPFType  string   `json:"bpf_type,omitempty" doc:"type of the BPF program, like kprobe or xdp" source:"kernel"`
	BPFTag   string   `json:"bpf_tag,omitempty" doc:"the kernel's tag of the BPF program" source:"kernel"`
	Helpers  []string `json:"helpers,omitempty" doc:"helpers of the BPF program that can change or read what is not its own: probe_write_user, override_return, send_signal and so on" source:"kernel"`
	Result   int      `json:"result" doc:"0, or the negative error number" source:"kernel"`
	NoResult bool     `json:"no_result,omitempty" doc:"the hook does not tell the outcome" source:"merlon"`
	Via      string   `json:"via,omitempty" doc:"capable when only the check of a capability was seen, not the act itself" source:"merlon"`
}

// Target is a process that another one acts upon.
type Target struct {
	PID   uint32 `json:"pid" doc:"process id in the initial pid namespace; where start_ns is 0, as the actor counts it" source:"kernel"`
	TID   uint32 `json:"tid,omitempty" doc:"thread id, when a single thread is meant" source:"kernel"`
	Start uint64 `json:"start_ns" doc:"start time of the process in nanoseconds since boot; 0 when only the pid is known" source:"kernel"`
	UID   uint32 `json:"uid" doc:"real user id" source:"kernel"`
	EUID  uint32 `json:"euid" doc:"effective user id" source:"kernel"`
	Comm  Text   `json:"comm,omitempty" doc:"the kernel's short name of the thread" source:"kernel"`
}
