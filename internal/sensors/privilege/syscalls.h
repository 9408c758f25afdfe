/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The full profile: acts seen at the entry and exit of system calls. Nothing
 * is read from user memory: arguments come from the registers that the kernel
 * saved, names and files from what the call made.
 */
#ifndef MERLON_PRIVILEGE_SYSCALLS_H
#define MERLON_PRIVILEGE_SYSCALLS_H

#include "capable.h"
#include "bpfprog.h"

#define PROC_SUPER_MAGIC 0x9fa0 /* include/uapi/linux/magic.h */
#define KEYCTL_JOIN_SESSION_KEYRING 1 /* include/uapi/linux/keyctl.h */
#define TRACED 32 /* tracees of one process looked through */

/* The entry keeps what the call may change under its own number, not a kind's. */
#define ENTERED 0

/* ns_save: the numbers of the namespaces, to be compared after the call. */
static __always_inline void ns_save(__u64 *n, struct nsproxy *ns)
{
	struct nsproxy___pv *p = (void *)ns;

	n[0] = BPF_CORE_READ(ns, mnt_ns, ns.inum);
	n[1] = BPF_CORE_READ(ns, net_ns, ns.inum);
	n[2] = BPF_CORE_READ(ns, uts_ns, ns.inum);
	n[3] = BPF_CORE_READ(ns, ipc_ns, ns.inum);
	n[4] = BPF_CORE_READ(ns, cgroup_ns, ns.inum);
	n[5] = BPF_CORE_READ(p, pid_ns_for_children, ns.inum);
	n[6] = BPF_CORE_READ(p, time_ns_for_children, ns.inum);
}

static __always_inline int entered(struct pt_regs *regs)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct pending_key key = {.thread = bpf_get_current_pid_tgid(), .kind = ENTERED};
	__u8 call = call_of(me, regs);
	struct pending *p;

	if (!call || call > CALL_CHROOT || call == CALL_EXEC)
		return 0;
	if (bpf_map_update_elem(&priv_pending, &key, &nothing, BPF_ANY)) {
		event_fault(KIND_CREDS, FAULT_MAP_UPDATE);
		return 0;
	}
	p = bpf_map_lookup_elem(&priv_pending, &key);
	if (!p)
		return 0;
	creds_read(&p->before, BPF_CORE_READ(me, cred));
	p->userns = BPF_CORE_READ(me, cred, user_ns, ns.inum);
	if (call == CALL_SETNS)
		ns_save(p->saved, BPF_CORE_READ(me, nsproxy));
	if (call == CALL_CHROOT) {
		p->saved[0] = (__u64)BPF_CORE_READ(me, fs, root.mnt);
		p->saved[1] = (__u64)BPF_CORE_READ(me, fs, root.dentry);
	}
	return 0;
}

/* creds_left: a call that changes credentials has ended. */
static __noinline int creds_left(struct pending *p, __u8 call, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct priv_cred_rec *r;
	struct creds after;
	__u32 kind;
	bool same;

	if (!p)
		return 0;
	creds_read(&after, BPF_CORE_READ(me, cred));
	same = creds_same(&p->before, &after);
	kind = cred_kind(call, &p->before, &after);
	if (call == CALL_SETFSUID || call == CALL_SETFSGID)
		ret = 0; /* they return the former id, and say no in no way */
	if (same && !failed(ret) && call != CALL_SETGROUPS && call != CALL_SETFSUID &&
	    call != CALL_SETFSGID)
		return 0;
	if (same && call == CALL_PRCTL)
		return 0; /* some other of its many uses */
	if (!asked_by(WAY_SYSCALL, kind))
		return 0;
	r = event_reserve(RING_CRIT, kind, sizeof(*r));
	if (!r)
		return 0;
	priv_fill(&r->p, me, call);
	r->p.before = p->before;
	r->p.userns = p->userns;
	r->p.actor.uid = p->before.uid;
	r->p.actor.euid = p->before.euid;
	r->after = after;
	r->p.result = failed(ret) ? ret : 0;
	event_submit(RING_CRIT, r);
	return 0;
}

#define NS_CHANGED(i, proxy, member, bit)                         \
	do {                                                      \
		__u32 _n = BPF_CORE_READ(proxy, member, ns.inum); \
		if (_n != p->saved[i]) {                          \
			r->types |= bit;                          \
			if (!r->ns)                               \
				r->ns = _n;                       \
		}                                                 \
	} while (0)

static __noinline int setns_left(struct pending *p, struct pt_regs *regs, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct nsproxy *ns = BPF_CORE_READ(me, nsproxy);
	struct nsproxy___pv *pv = (void *)ns;
	struct priv_rec *r;

	if (!p || !asked_by(WAY_SYSCALL, KIND_SETNS))
		return 0;
	r = priv_begin(RING_CRIT, KIND_SETNS, sizeof(*r), CALL_SETNS);
	if (!r)
		return 0;
	r->before = p->before;
	r->flags = (__u32)call_arg(regs, 1);
	r->result = failed(ret) ? ret : 0;
	NS_CHANGED(0, ns, mnt_ns, CLONE_NEWNS);
	NS_CHANGED(1, ns, net_ns, CLONE_NEWNET);
	NS_CHANGED(2, ns, uts_ns, CLONE_NEWUTS);
	NS_CHANGED(3, ns, ipc_ns, CLONE_NEWIPC);
	NS_CHANGED(4, ns, cgroup_ns, CLONE_NEWCGROUP);
	NS_CHANGED(5, pv, pid_ns_for_children, CLONE_NEWPID);
	NS_CHANGED(6, pv, time_ns_for_children, CLONE_NEWTIME);
	event_submit(RING_CRIT, r);
	return 0;
}

static __noinline int unshare_left(struct pending *p, struct pt_regs *regs, __s64 ret)
{
	__u64 flags = call_arg(regs, 0);
	struct priv_rec *r;

	if (!p)
		return 0;
	if (asked_by(WAY_SYSCALL, KIND_UNSHARE)) {
		r = priv_begin(RING_CRIT, KIND_UNSHARE, sizeof(*r), CALL_UNSHARE);
		if (r) {
			r->before = p->before;
			r->userns = p->userns;
			unshare_fill(r, flags, ret);
			event_submit(RING_CRIT, r);
		}
	}
	if (flags & CLONE_NEWUSER && asked_by(WAY_SYSCALL, KIND_USERNS_CREATE)) {
		r = priv_begin(RING_CRIT, KIND_USERNS_CREATE, sizeof(*r), CALL_UNSHARE);
		if (r) {
			r->before = p->before;
			r->flags = flags;
			r->types = CLONE_NEWUSER;
			r->result = failed(ret) ? ret : 0;
			if (!failed(ret))
				r->ns = r->userns;
			r->userns = p->userns;
			event_submit(RING_CRIT, r);
		}
	}
	return 0;
}

static __noinline int root_left(struct pending *p, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(me, fs);
	struct priv_path_rec *r;

	if (!p || !asked_by(WAY_SYSCALL, KIND_CHROOT))
		return 0;
	r = priv_begin(RING_CRIT, KIND_CHROOT, sizeof(*r), CALL_CHROOT);
	if (!r)
		return 0;
	r->len = 0;
	r->status = PATH_OUTSIDE;
	r->p.result = failed(ret) ? ret : 0;
	if (!failed(ret))
		pv_walk(r, __builtin_preserve_access_index(&fs->root), (void *)p->saved[1],
			(void *)p->saved[0]);
	event_submit(RING_CRIT, r);
	return 0;
}

/* tracee: the thread of that number in the current pid namespace that we trace. */
static __always_inline struct task_struct *tracee(__u32 nr)
{
	struct task_struct___pv *me = (void *)bpf_get_current_task(), *t;
	const __u64 off = bpf_core_field_offset(struct task_struct___pv, ptrace_entry);
	struct list_head___pv *head = __builtin_preserve_access_index(&me->ptraced), *at = head;

	for (int i = 0; i < TRACED; i++) {
		struct pid *pid;
		struct upid *first;

		at = BPF_CORE_READ(at, next);
		if (!at || at == head)
			return NULL;
		t = (void *)at - off;
		pid = BPF_CORE_READ((struct task_struct *)t, thread_pid);
		first = __builtin_preserve_access_index(&pid->numbers[0]);
		first = (void *)first +
			(BPF_CORE_READ(pid, level) & 0x1f) * bpf_core_type_size(struct upid);
		if (BPF_CORE_READ(first, nr) == nr)
			return (void *)t;
	}
	return NULL;
}

/*
 * A call that names another process by its number. The kernel offers no way
 * from there to the process here, so but for tracees only the number is told.
 */
static __noinline int process_left(__u32 kind, __u8 call, struct pt_regs *regs, __s64 ret)
{
	__u32 request = 0, nr = call_arg(regs, 0);
	struct task_struct *t = NULL;
	struct priv_task_rec *r;

	if (call == CALL_PTRACE) {
		request = nr;
		nr = call_arg(regs, 1);
		if (!acting(request))
			return 0;
		t = tracee(nr);
	}
	if (!asked_by(WAY_SYSCALL, kind) || nr == bpf_get_current_pid_tgid() >> 32)
		return 0;
	r = priv_begin(RING_CRIT, kind, sizeof(*r), call);
	if (!r)
		return 0;
	if (t) {
		target_read(&r->target, t);
		r->p.bits = PRIV_TARGET;
	} else {
		__builtin_memset(&r->target, 0, sizeof(r->target));
		r->target.pid = nr;
	}
	r->p.num = request;
	r->p.address = changing(request) && call == CALL_PTRACE ? call_arg(regs, 2) : 0;
	r->p.result = failed(ret) ? ret : 0;
	event_submit(RING_CRIT, r);
	return 0;
}

/* opened: a file of /proc/PID/mem, for writing. */
static __noinline int opened(__s64 ret)
{
	struct file *file = fd_file(ret);
	struct file___pv *f = (void *)file;
	struct inode *inode;
	char name[4] = {};

	if (!file || !(BPF_CORE_READ(f, f_mode) & FMODE_WRITE))
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	if (BPF_CORE_READ(inode, i_sb, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	bpf_probe_read_kernel(name, 4, BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (name[0] != 'm' || name[1] != 'e' || name[2] != 'm' || name[3])
		return 0;
	return on_task(KIND_MEM_WRITE, inode_task(inode), CALL_OPEN, 0, 0, 0);
}

static __noinline int memfd_left(struct pt_regs *regs, __s64 ret)
{
	struct file *file = failed(ret) ? NULL : fd_file(ret);
	const unsigned char *name = NULL;

	if (file)
		name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	return named(KIND_MEMFD_CREATE, CALL_MEMFD_CREATE, (const char *)name,
		     (__u32)call_arg(regs, 1), ret);
}

/* loaded: a BPF program; which helpers it calls the verifier has replaced by then. */
static __noinline int loaded(__s64 ret)
{
	struct bpf_prog___pv *prog = NULL;
	struct file *file = failed(ret) ? NULL : fd_file(ret);
	struct priv_bpf_rec *r;

	if (!asked_by(WAY_SYSCALL, KIND_BPF_LOAD))
		return 0;
	r = priv_begin(RING_CRIT, KIND_BPF_LOAD, sizeof(*r), CALL_BPF);
	if (!r)
		return 0;
	r->p.result = failed(ret) ? ret : 0;
	r->p.num = 0xffff; /* a refused program's type is in user memory only */
	__builtin_memset(r->helpers, 0, sizeof(r->helpers) + sizeof(r->tag) + sizeof(r->name));
	if (file) {
		prog = BPF_CORE_READ(file, private_data);
		r->p.num = BPF_CORE_READ(prog, type);
		BPF_CORE_READ_INTO(&r->tag, prog, tag);
		BPF_CORE_READ_INTO(&r->name, prog, aux, name);
	}
	event_submit(RING_CRIT, r);
	return 0;
}

static __noinline int memory_left(__u8 call, struct pt_regs *regs, __s64 ret)
{
	__u64 prot = call_arg(regs, 2), flags = 0, start = call_arg(regs, 0);

	if ((prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC) ||
	    !asked_by(WAY_SYSCALL, KIND_WX_MAP))
		return 0;
	if (call == CALL_MMAP) {
		flags = call_arg(regs, 3);
		start = failed(ret) ? 0 : ret;
	}
	return wx(call, start, call_arg(regs, 1), prot, flags, ret, 0);
}

static __always_inline int left(struct pt_regs *regs, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	__u8 call = call_of(me, regs);

	if (call == CALL_OTHER || call == CALL_EXEC || call >= CALL_COMPAT)
		return 0;
	if (call <= CALL_CHROOT) {
		struct pending *p = take(ENTERED);

		if (call <= CALL_PRCTL)
			creds_left(p, call, ret);
		else if (call == CALL_SETNS)
			setns_left(p, regs, ret);
		else if (call == CALL_UNSHARE)
			unshare_left(p, regs, ret);
		else if (call == CALL_CHROOT)
			root_left(p, ret);
		return done(ENTERED);
	}
	switch (call) {
	case CALL_PIVOT_ROOT:
		return asked_by(WAY_SYSCALL, KIND_PIVOT_ROOT) ? plain(KIND_PIVOT_ROOT, call, 0, ret)
							      : 0;
	case CALL_PTRACE:
		return process_left(KIND_PTRACE, call, regs, ret);
	case CALL_VM_WRITEV:
		return process_left(KIND_VM_WRITE, call, regs, ret);
	case CALL_OPEN:
		return asked_by(WAY_SYSCALL, KIND_MEM_WRITE) ? opened(ret) : 0;
	case CALL_MEMFD_CREATE:
		return asked_by(WAY_SYSCALL, KIND_MEMFD_CREATE) ? memfd_left(regs, ret) : 0;
	case CALL_MMAP:
	case CALL_MPROTECT:
	case CALL_PKEY_MPROTECT:
		return memory_left(call, regs, ret);
	case CALL_BPF:
		return call_arg(regs, 0) == BPF_PROG_LOAD ? loaded(ret) : 0;
	case CALL_KEXEC:
		return asked_by(WAY_SYSCALL, KIND_KEXEC)
			       ? plain(KIND_KEXEC, call, call_arg(regs, 3), ret)
			       : 0;
	case CALL_FKEXEC:
		return asked_by(WAY_SYSCALL, KIND_KEXEC)
			       ? plain(KIND_KEXEC, call, call_arg(regs, 4), ret)
			       : 0;
	case CALL_PERF:
		return asked_by(WAY_SYSCALL, KIND_PERF_OPEN) ? perf_opened(regs, ret) : 0;
	case CALL_KEYCTL:
		if ((__u32)call_arg(regs, 0) != KEYCTL_JOIN_SESSION_KEYRING ||
		    !asked_by(WAY_SYSCALL, KIND_KEYRING_JOIN))
			return 0;
		return named(KIND_KEYRING_JOIN, call, NULL, 0, ret);
	}
	return 0;
}

#endif
