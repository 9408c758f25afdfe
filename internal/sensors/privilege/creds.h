/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Credentials and namespaces. */
#ifndef MERLON_PRIVILEGE_CREDS_H
#define MERLON_PRIVILEGE_CREDS_H

#include "call.h"

/* include/uapi/linux/sched.h */
#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct group_info___pv;

struct cred___pv {
	kuid_t fsuid;
	kgid_t fsgid;
	unsigned int securebits;
	struct group_info___pv *group_info;
};

struct time_namespace___pv {
	struct ns_common ns;
};

struct nsproxy___pv {
	struct pid_namespace *pid_ns_for_children;
	struct time_namespace___pv *time_ns_for_children;
};

#pragma clang attribute pop

/* creds_differ: what is compared beyond struct creds. */
static __always_inline bool creds_differ(const struct cred *old, const struct cred *new)
{
	struct cred___pv *a = (void *)old, *b = (void *)new;

	return BPF_CORE_READ(a, fsuid.val) != BPF_CORE_READ(b, fsuid.val) ||
	       BPF_CORE_READ(a, fsgid.val) != BPF_CORE_READ(b, fsgid.val) ||
	       BPF_CORE_READ(a, securebits) != BPF_CORE_READ(b, securebits) ||
	       BPF_CORE_READ(a, group_info) != BPF_CORE_READ(b, group_info) ||
	       BPF_CORE_READ(old, user_ns) != BPF_CORE_READ(new, user_ns);
}

static __always_inline bool creds_same(const struct creds *a, const struct creds *b)
{
	return a->uid == b->uid && a->euid == b->euid && a->suid == b->suid && a->gid == b->gid &&
	       a->egid == b->egid && a->sgid == b->sgid && a->effective == b->effective &&
	       a->permitted == b->permitted && a->inheritable == b->inheritable &&
	       a->bounding == b->bounding && a->ambient == b->ambient;
}

static __always_inline bool ids_same(const struct creds *a, const struct creds *b)
{
	return a->uid == b->uid && a->euid == b->euid && a->suid == b->suid && a->gid == b->gid &&
	       a->egid == b->egid && a->sgid == b->sgid;
}

/* cred_kind: what a change of credentials within that call is. */
static __always_inline __u32 cred_kind(__u8 call, const struct creds *a, const struct creds *b)
{
	switch (call) {
	case CALL_SETUID:
	case CALL_SETREUID:
	case CALL_SETRESUID:
	case CALL_SETFSUID:
		return KIND_SETUID;
	case CALL_SETGID:
	case CALL_SETREGID:
	case CALL_SETRESGID:
	case CALL_SETFSGID:
	case CALL_SETGROUPS:
		return KIND_SETGID;
	case CALL_CAPSET:
	case CALL_PRCTL:
		return ids_same(a, b) ? KIND_CAPSET : KIND_CRED_CHANGE;
	case CALL_COMPAT: /* which call it is can't be told: judged by what it did */
		if (a->uid != b->uid || a->euid != b->euid || a->suid != b->suid)
			return KIND_SETUID;
		if (!ids_same(a, b))
			return KIND_SETGID;
		return KIND_CAPSET;
	}
	return KIND_CRED_CHANGE;
}

/*
 * commit_creds puts new credentials in place and can't fail; every way to
 * change them leads through it, those of exploits included.
 */
static __always_inline int commit(const struct cred *new)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct___pv *t = (void *)task;
	struct pt_regs *regs = call_regs(task);
	const struct cred *old = BPF_CORE_READ(t, real_cred);
	struct priv_cred_rec *r;
	struct creds a, b;
	__u8 call;
	__u32 kind;

	call = call_of(task, regs);
	if (call == CALL_KERNEL || call == CALL_EXEC)
		return 0;
	if (bpf_core_field_exists(t->in_execve) && BPF_CORE_READ_BITFIELD_PROBED(t, in_execve))
		return 0;
	creds_read(&a, old);
	creds_read(&b, new);
	if (creds_same(&a, &b) && !creds_differ(old, new))
		return 0;
	kind = cred_kind(call, &a, &b);
	if (!asked(kind))
		return 0;
	r = event_reserve(RING_CRIT, kind, sizeof(*r));
	if (!r)
		return 0;
	priv_fill(&r->p, task, call);
	r->after = b;
	if (BPF_CORE_READ(old, user_ns) != BPF_CORE_READ(new, user_ns))
		r->p.ns = BPF_CORE_READ(new, user_ns, ns.inum);
	event_submit(RING_CRIT, r);
	return 0;
}

/* create_user_ns makes a user namespace and moves the new credentials into it. */
static __always_inline int userns(const struct cred *new, __s64 ret)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pt_regs *regs = call_regs(task);
	__u8 call = call_of(task, regs);
	struct priv_rec *r;

	if (!asked(KIND_USERNS_CREATE))
		return 0;
	r = priv_begin(RING_CRIT, KIND_USERNS_CREATE, sizeof(*r), call);
	if (!r)
		return 0;
	if (call == CALL_UNSHARE || call == CALL_CLONE)
		r->flags = call_arg(regs, 0);
	r->types = CLONE_NEWUSER;
	r->result = (__s32)ret;
	if (!failed(r->result))
		r->ns = BPF_CORE_READ(new, user_ns, ns.inum);
	event_submit(RING_CRIT, r);
	return 0;
}

static __always_inline void unshare_fill(struct priv_rec *r, __u64 flags, __s64 ret)
{
	r->flags = flags;
	r->types = flags & (CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
			    CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET);
	r->result = failed(ret) ? ret : 0;
}

static __always_inline int unshare(__u64 flags, __s64 ret)
{
	struct priv_rec *r;

	if (!asked(KIND_UNSHARE))
		return 0;
	r = priv_begin(RING_CRIT, KIND_UNSHARE, sizeof(*r), CALL_UNSHARE);
	if (!r)
		return 0;
	unshare_fill(r, flags, (__s32)ret);
	event_submit(RING_CRIT, r);
	return 0;
}

#define NS_DIFF(a, b, member, bit)                                         \
	do {                                                               \
		void *_n = BPF_CORE_READ(b, member);                       \
		if (BPF_CORE_READ(a, member) != _n) {                      \
			r->types |= bit;                                   \
			if (!r->ns)                                        \
				r->ns = BPF_CORE_READ(b, member, ns.inum); \
		}                                                          \
	} while (0)

/* ns_diff: which namespaces b has that a has not, and the first one's number. */
static __always_inline void ns_diff(struct priv_rec *r, struct nsproxy *a, struct nsproxy *b)
{
	struct nsproxy___pv *pa = (void *)a, *pb = (void *)b;

	NS_DIFF(a, b, mnt_ns, CLONE_NEWNS);
	NS_DIFF(a, b, net_ns, CLONE_NEWNET);
	NS_DIFF(a, b, uts_ns, CLONE_NEWUTS);
	NS_DIFF(a, b, ipc_ns, CLONE_NEWIPC);
	NS_DIFF(a, b, cgroup_ns, CLONE_NEWCGROUP);
	NS_DIFF(pa, pb, pid_ns_for_children, CLONE_NEWPID);
	NS_DIFF(pa, pb, time_ns_for_children, CLONE_NEWTIME);
}

/*
 * setns ends with switch_task_namespaces, whatever kind of namespace was
 * entered. One that was entered again makes no difference; a user namespace
 * shows in the credentials, which were changed before.
 */
static __always_inline int setns(struct task_struct *task, struct nsproxy *new)
{
	struct pt_regs *regs = call_regs(task);
	struct priv_rec *r;

	if (!new || call_of((void *)bpf_get_current_task(), regs) != CALL_SETNS ||
	    !asked(KIND_SETNS))
		return 0;
	r = priv_begin(RING_CRIT, KIND_SETNS, sizeof(*r), CALL_SETNS);
	if (!r)
		return 0;
	r->flags = (__u32)call_arg(regs, 1);
	ns_diff(r, BPF_CORE_READ(task, nsproxy), new);
	if (r->flags & CLONE_NEWUSER) {
		r->types |= CLONE_NEWUSER;
		if (!r->ns)
			r->ns = r->userns;
	}
	event_submit(RING_CRIT, r);
	return 0;
}

static __always_inline __u32 pv_bound(__u32 off)
{
	return off < PRIV_PATH + 256 ? off : 0;
}

/* pv_walk: the components of the path, leaf first, up to root. */
static __always_inline void pv_walk(struct priv_path_rec *r, struct path *at, struct dentry *root_d,
				    struct vfsmount *root_v)
{
	struct dentry *d = BPF_CORE_READ(at, dentry);
	struct vfsmount *v = BPF_CORE_READ(at, mnt);
	const __u64 mnt_off = bpf_core_field_offset(struct mount, mnt);
	__u32 off = 0;

	r->status = PATH_DEEP;
	r->len = 0;
	for (int i = 0; i < PRIV_PATH_DEPTH; i++) {
		struct dentry *up;
		__u32 len;

		if (d == root_d && v == root_v) {
			r->status = PATH_OK;
			return;
		}
		if (d == BPF_CORE_READ(v, mnt_root)) {
			struct mount *m = (void *)v - mnt_off;
			struct mount *parent = BPF_CORE_READ(m, mnt_parent);

			if (parent == m || !parent) {
				r->status = PATH_OUTSIDE;
				return;
			}
			d = BPF_CORE_READ(m, mnt_mountpoint);
			v = (void *)parent + mnt_off;
			continue;
		}
		off = *(volatile __u16 *)&r->len;
		if (off >= PRIV_PATH)
			return;
		len = BPF_CORE_READ(d, d_name.len) & 0xff;
		if (bpf_probe_read_kernel(&r->path[off & (PRIV_PATH - 1)], len,
					  BPF_CORE_READ(d, d_name.name))) {
			r->status = PATH_FAULT;
			return;
		}
		r->path[pv_bound(off + len)] = '/';
		r->len = off + len + 1;
		up = BPF_CORE_READ(d, d_parent);
		if (up == d || !up) {
			r->status = PATH_OUTSIDE;
			return;
		}
		d = up;
	}
}

static __always_inline int new_root(__u32 kind, __u8 call, struct path *at, __u8 bits)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct priv_path_rec *r;

	if (call_of(task, call_regs(task)) != call || !asked(kind))
		return 0;
	r = priv_begin(RING_CRIT, kind, sizeof(*r), call);
	if (!r)
		return 0;
	r->p.bits = bits;
	pv_walk(r, at, BPF_CORE_READ(fs, root.dentry), BPF_CORE_READ(fs, root.mnt));
	if (r->status == PATH_FAULT)
		event_fault(kind, FAULT_KERNEL_READ);
	event_submit(RING_CRIT, r);
	return 0;
}

#endif
