/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Credentials of a task. */
#ifndef MERLON_CRED_H
#define MERLON_CRED_H

#include "kernel.h"

struct creds {
	__u32 uid, gid, euid, egid, suid, sgid;
	__u64 effective, permitted, inheritable, bounding, ambient;
};

static __always_inline void creds_read(struct creds *c, const struct cred *cred)
{
	c->uid = BPF_CORE_READ(cred, uid.val);
	c->gid = BPF_CORE_READ(cred, gid.val);
	c->euid = BPF_CORE_READ(cred, euid.val);
	c->egid = BPF_CORE_READ(cred, egid.val);
	c->suid = BPF_CORE_READ(cred, suid.val);
	c->sgid = BPF_CORE_READ(cred, sgid.val);
	/* by address: the type's members differ between kernels, its size doesn't */
	bpf_core_read(&c->effective, sizeof(__u64), &cred->cap_effective);
	bpf_core_read(&c->permitted, sizeof(__u64), &cred->cap_permitted);
	bpf_core_read(&c->inheritable, sizeof(__u64), &cred->cap_inheritable);
	bpf_core_read(&c->bounding, sizeof(__u64), &cred->cap_bset);
	bpf_core_read(&c->ambient, sizeof(__u64), &cred->cap_ambient);
}

#endif
