package privilege

import "golang.org/x/sys/unix"

// calls leads from system call numbers of this architecture to what the
// programs know them by.
func calls() (table [512]uint8) {
	for nr, c := range map[int]privilegePrivCall{
		unix.SYS_SETUID: privilegePrivCallCALL_SETUID, unix.SYS_SETREUID: privilegePrivCallCALL_SETREUID,
		unix.SYS_SETRESUID: privilegePrivCallCALL_SETRESUID, unix.SYS_SETFSUID: privilegePrivCallCALL_SETFSUID,
		unix.SYS_SETGID: privilegePrivCallCALL_SETGID, unix.SYS_SETREGID: privilegePrivCallCALL_SETREGID,
		unix.SYS_SETRESGID: privilegePrivCallCALL_SETRESGID, unix.SYS_SETFSGID: privilegePrivCallCALL_SETFSGID,
		unix.SYS_SETGROUPS: privilegePrivCallCALL_SETGROUPS, unix.SYS_CAPSET: privilegePrivCallCALL_CAPSET,
		unix.SYS_PRCTL: privilegePrivCallCALL_PRCTL, unix.SYS_EXECVE: privilegePrivCallCALL_EXEC,
		unix.SYS_EXECVEAT: privilegePrivCallCALL_EXEC, unix.SYS_CLONE: privilegePrivCallCALL_CLONE,
		unix.SYS_CLONE3: privilegePrivCallCALL_CLONE3, unix.SYS_UNSHARE: privilegePrivCallCALL_UNSHARE,
		unix.SYS_SETNS: privilegePrivCallCALL_SETNS, unix.SYS_CHROOT: privilegePrivCallCALL_CHROOT,
		unix.SYS_PIVOT_ROOT: privilegePrivCallCALL_PIVOT_ROOT, unix.SYS_PTRACE: privilegePrivCallCALL_PTRACE,
		unix.SYS_PROCESS_VM_WRITEV: privilegePrivCallCALL_VM_WRITEV,
		unix.SYS_OPENAT:            privilegePrivCallCALL_OPEN, unix.SYS_OPENAT2: privilegePrivCallCALL_OPEN,
		unix.SYS_MEMFD_CREATE: privilegePrivCallCALL_MEMFD_CREATE, unix.SYS_MMAP: privilegePrivCallCALL_MMAP,
		unix.SYS_MPROTECT: privilegePrivCallCALL_MPROTECT, unix.SYS_PKEY_MPROTECT: privilegePrivCallCALL_PKEY_MPROTECT,
		unix.SYS_INIT_MODULE: privilegePrivCallCALL_MODULE, unix.SYS_FINIT_MODULE: privilegePrivCallCALL_FMODULE,
		unix.SYS_DELETE_MODULE: privilegePrivCallCALL_DMODULE, unix.SYS_BPF: privilegePrivCallCALL_BPF,
		unix.SYS_KEXEC_LOAD: privilegePrivCallCALL_KEXEC, unix.SYS_KEXEC_FILE_LOAD: privilegePrivCallCALL_FKEXEC,
		unix.SYS_PERF_EVENT_OPEN: privilegePrivCallCALL_PERF, unix.SYS_KEYCTL: privilegePrivCallCALL_KEYCTL,
		unix.SYS_KILL: privilegePrivCallCALL_KILL, unix.SYS_TKILL: privilegePrivCallCALL_TKILL,
		unix.SYS_TGKILL: privilegePrivCallCALL_TGKILL, unix.SYS_RT_SIGQUEUEINFO: privilegePrivCallCALL_SIGQUEUE,
		unix.SYS_RT_TGSIGQUEUEINFO: privilegePrivCallCALL_TGSIGQUEUE,
		unix.SYS_PIDFD_SEND_SIGNAL: privilegePrivCallCALL_PIDFD_SIGNAL,
		unix.SYS_IO_URING_SETUP:    privilegePrivCallCALL_URING,
	} {
		table[nr] = uint8(c)
	}
	for nr, c := range oldCalls {
		table[nr] = uint8(c)
	}
	return table
}

// callName returns the name of a call as its manual page has it.
func callName(c privilegePrivCall) string {
	if int(c) < len(callNames) {
		return callNames[c]
	}
	return ""
}

var callNames = [...]string{
	privilegePrivCallCALL_SETUID: "setuid", privilegePrivCallCALL_SETREUID: "setreuid",
	privilegePrivCallCALL_SETRESUID: "setresuid", privilegePrivCallCALL_SETFSUID: "setfsuid",
	privilegePrivCallCALL_SETGID: "setgid", privilegePrivCallCALL_SETREGID: "setregid",
	privilegePrivCallCALL_SETRESGID: "setresgid", privilegePrivCallCALL_SETFSGID: "setfsgid",
	privilegePrivCallCALL_SETGROUPS: "setgroups", privilegePrivCallCALL_CAPSET: "capset",
	privilegePrivCallCALL_PRCTL: "prctl", privilegePrivCallCALL_EXEC: "execve", privilegePrivCallCALL_CLONE: "clone",
	privilegePrivCallCALL_CLONE3: "clone3", privilegePrivCallCALL_UNSHARE: "unshare", privilegePrivCallCALL_SETNS: "setns",
	privilegePrivCallCALL_CHROOT: "chroot", privilegePrivCallCALL_PIVOT_ROOT: "pivot_root",
	privilegePrivCallCALL_PTRACE: "ptrace", privilegePrivCallCALL_VM_WRITEV: "process_vm_writev",
	privilegePrivCallCALL_OPEN: "open", privilegePrivCallCALL_MEMFD_CREATE: "memfd_create",
	privilegePrivCallCALL_MMAP: "mmap", privilegePrivCallCALL_MPROTECT: "mprotect",
	privilegePrivCallCALL_PKEY_MPROTECT: "pkey_mprotect", privilegePrivCallCALL_MODULE: "init_module",
	privilegePrivCallCALL_FMODULE: "finit_module", privilegePrivCallCALL_DMODULE: "delete_module",
	privilegePrivCallCALL_BPF: "bpf", privilegePrivCallCALL_KEXEC: "kexec_load", privilegePrivCallCALL_FKEXEC: "kexec_file_load",
	privilegePrivCallCALL_PERF: "perf_event_open", privilegePrivCallCALL_KEYCTL: "keyctl", privilegePrivCallCALL_KILL: "kill",
	privilegePrivCallCALL_TKILL: "tkill", privilegePrivCallCALL_TGKILL: "tgkill",
	privilegePrivCallCALL_SIGQUEUE: "rt_sigqueueinfo", privilegePrivCallCALL_TGSIGQUEUE: "rt_tgsigqueueinfo",
	privilegePrivCallCALL_PIDFD_SIGNAL: "pidfd_send_signal", privilegePrivCallCALL_URING: "io_uring_setup",
	privilegePrivCallCALL_FORK: "clone",
}
