/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who a task is: ids, credentials, namespaces, cgroups. */
#ifndef MERLON_TASK_H
#define MERLON_TASK_H

#include "cred.h"

#define TTY_LEN 16

struct task_rec {
	__u32 pid;
	__u32 ppid;
	__u64 start; /* ns since boot, suspend included */
	__u64 pstart;
	__u32 nspid;
	__u32 pgid;
	__u32 sid;
	__u32 login_uid;
	__u32 audit_session;
	__u32 ns_mnt, ns_pid, ns_net, ns_user, ns_uts, ns_ipc, ns_cgroup;
	__u64 cgroup_id; /* in the v2 hierarchy */
	__u64 cgroup_v1; /* in the v1 hierarchy of knob cgroup_ssid, or 0 */
	struct creds creds;
	char comm[16];
	char tty[TTY_LEN];
};

/*
 * Index of the v1 controller whose hierarchy is followed besides v2, or -1:
 * enum cgroup_subsys_id differs between kernels, user space looks it up.
 */
const volatile __s32 cgroup_ssid = -1;

static __always_inline __u32 pid_nr(struct pid *pid, __u32 level)
{
	struct upid *first = __builtin_preserve_access_index(&pid->numbers[0]);
	struct upid *u = (void *)first + level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(u, nr);
}

static __always_inline void task_ns_read(struct task_rec *r, struct task_struct *t)
{
	struct nsproxy *ns = BPF_CORE_READ(t, nsproxy);
	struct pid *pid = BPF_CORE_READ(t, thread_pid);

	if (ns) {
		r->ns_mnt = BPF_CORE_READ(ns, mnt_ns, ns.inum);
		r->ns_net = BPF_CORE_READ(ns, net_ns, ns.inum);
		r->ns_uts = BPF_CORE_READ(ns, uts_ns, ns.inum);
		r->ns_ipc = BPF_CORE_READ(ns, ipc_ns, ns.inum);
		r->ns_cgroup = BPF_CORE_READ(ns, cgroup_ns, ns.inum);
	}
	if (pid) {
		__u32 level = BPF_CORE_READ(pid, level) & 0x1f; /* MAX_PID_NS_LEVEL is 32 */
		struct upid *first = __builtin_preserve_access_index(&pid->numbers[0]);
		struct upid *u = (void *)first + level * bpf_core_type_size(struct upid);

		r->nspid = BPF_CORE_READ(u, nr);
		r->ns_pid = BPF_CORE_READ(u, ns, ns.inum);
	}
	r->ns_user = BPF_CORE_READ(t, cred, user_ns, ns.inum);
}

static __always_inline void task_cgroup_read(struct task_rec *r, struct task_struct *t)
{
	struct css_set *cset = BPF_CORE_READ(t, cgroups);
	struct cgroup_subsys_state **slot, *css = NULL;

	r->cgroup_id = BPF_CORE_READ(cset, dfl_cgrp, kn, id);
	if (cgroup_ssid < 0 || cgroup_ssid >= 32)
		return;
	slot = (void *)cset + bpf_core_field_offset(struct css_set, subsys) +
	       cgroup_ssid * sizeof(void *);
	bpf_probe_read_kernel(&css, sizeof(css), slot);
	if (css)
		r->cgroup_v1 = BPF_CORE_READ(css, cgroup, kn, id);
}

/* task_read: fill all of *r; the task is a thread-group leader or stands for it. */
static __always_inline void task_read(struct task_rec *r, struct task_struct *t)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);
	struct task_struct *parent = BPF_CORE_READ(t, real_parent, group_leader);
	struct signal_struct *sig = BPF_CORE_READ(t, signal);
	struct tty_struct *tty = BPF_CORE_READ(sig, tty);

	r->pid = BPF_CORE_READ(t, tgid);
	r->start = BPF_CORE_READ(leader, start_boottime);
	r->ppid = BPF_CORE_READ(parent, tgid);
	r->pstart = BPF_CORE_READ(parent, start_boottime);
	r->pgid = pid_nr(BPF_CORE_READ(sig, pids[PIDTYPE_PGID]), 0);
	r->sid = pid_nr(BPF_CORE_READ(sig, pids[PIDTYPE_SID]), 0);
	r->login_uid = -1;
	r->audit_session = -1;
	if (bpf_core_field_exists(t->loginuid))
		r->login_uid = BPF_CORE_READ(t, loginuid.val);
	if (bpf_core_field_exists(t->sessionid))
		r->audit_session = BPF_CORE_READ(t, sessionid);
	task_ns_read(r, t);
	task_cgroup_read(r, t);
	creds_read(&r->creds, BPF_CORE_READ(t, cred));
	BPF_CORE_READ_INTO(&r->comm, t, comm);
	r->tty[0] = 0;
	if (tty)
		bpf_probe_read_kernel_str(r->tty, sizeof(r->tty),
					  __builtin_preserve_access_index(&tty->name));
}

#endif
