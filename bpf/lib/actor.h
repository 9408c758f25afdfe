/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who acts: what every record but those about processes carries after its header. */
#ifndef MERLON_ACTOR_H
#define MERLON_ACTOR_H

#include "kernel.h"

struct event_actor {
	__u64 start; /* of the process, ns since boot; with pid its identity. 0 is unknown */
	__u64 cgroup_id; /* in the v2 hierarchy */
	__u32 pid; /* thread group; 0 when the actor is unknown */
	__u32 tid;
	__u32 uid;
	__u32 euid;
	char comm[16];
};

/* actor_read: fill *a from a task. */
static __always_inline void actor_read(struct event_actor *a, struct task_struct *t)
{
	const struct cred *cred = BPF_CORE_READ(t, cred);

	a->pid = BPF_CORE_READ(t, tgid);
	a->tid = BPF_CORE_READ(t, pid);
	a->start = BPF_CORE_READ(t, group_leader, start_boottime);
	a->cgroup_id = BPF_CORE_READ(t, cgroups, dfl_cgrp, kn, id);
	a->uid = BPF_CORE_READ(cred, uid.val);
	a->euid = BPF_CORE_READ(cred, euid.val);
	BPF_CORE_READ_INTO(&a->comm, t, comm);
}

/* actor_current: fill *a from the current task. */
static __always_inline void actor_current(struct event_actor *a)
{
	actor_read(a, (void *)bpf_get_current_task());
}

#endif
