/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Acts that show by the capability that the kernel checks for them. */
#ifndef MERLON_PRIVILEGE_CAPABLE_H
#define MERLON_PRIVILEGE_CAPABLE_H

#include "acts.h"

#define CAP_SETGID 6 /* include/uapi/linux/capability.h */
#define CAP_SETUID 7
#define CAP_SETPCAP 8
#define CAP_SYS_CHROOT 18
#define CAP_SYS_PTRACE 19
#define CAP_SYS_ADMIN 21
#define CAP_BPF 39

#define BPF_PROG_LOAD 5 /* include/uapi/linux/bpf.h */

#define SITE_DEPTH 8

/*
 * bpf(2) checks the same capability at several places of one call. The first
 * of them is always the same: a check from there is another call's. Key is the
 * thread, value the place.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} priv_sites SEC(".maps");

static __always_inline bool again(void *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid(), site = 0, *first;
	__u64 stack[SITE_DEPTH] = {};

	if (bpf_get_stack(ctx, stack, sizeof(stack), 0) <= 0)
		return false;
#pragma unroll
	for (int i = 0; i < SITE_DEPTH; i++)
		site = site * 31 + stack[i];
	first = bpf_map_lookup_elem(&priv_sites, &thread);
	if (first)
		return *first != site;
	if (bpf_map_update_elem(&priv_sites, &thread, &site, BPF_ANY))
		event_fault(KIND_BPF_LOAD, FAULT_MAP_UPDATE);
	return false;
}

/*
 * capable_kind: the act that this check is part of, or 0. One check stands for
 * each act: calls that make several of the same capability are not here.
 */
static __always_inline __u32 capable_kind(__u8 call, __u64 cap, struct pt_regs *regs)
{
	switch (call) {
	case CALL_SETUID:
	case CALL_SETREUID:
	case CALL_SETRESUID:
	case CALL_SETFSUID:
		return cap == CAP_SETUID ? KIND_SETUID : 0;
	case CALL_SETGID:
	case CALL_SETREGID:
	case CALL_SETRESGID:
	case CALL_SETFSGID:
	case CALL_SETGROUPS:
		return cap == CAP_SETGID ? KIND_SETGID : 0;
	case CALL_CAPSET:
	case CALL_PRCTL:
		return cap == CAP_SETPCAP ? KIND_CAPSET : 0;
	case CALL_UNSHARE:
		return cap == CAP_SYS_ADMIN ? KIND_UNSHARE : 0;
	case CALL_CHROOT:
		return cap == CAP_SYS_CHROOT ? KIND_CHROOT : 0;
	case CALL_PIVOT_ROOT:
		return cap == CAP_SYS_ADMIN ? KIND_PIVOT_ROOT : 0;
	case CALL_PTRACE:
		return cap == CAP_SYS_PTRACE && acting(call_arg(regs, 0)) ? KIND_PTRACE : 0;
	case CALL_VM_WRITEV:
		return cap == CAP_SYS_PTRACE ? KIND_VM_WRITE : 0;
	case CALL_BPF:
		return cap == CAP_BPF && call_arg(regs, 0) == BPF_PROG_LOAD ? KIND_BPF_LOAD : 0;
	}
	return 0;
}

/* capable: what the check of a capability tells of the call that made it. */
static __always_inline int capable(void *ctx, __u64 cap, __s32 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct pt_regs *regs = call_regs(me);
	__u8 call = call_of(me, regs);
	struct priv_rec *r;
	__u32 kind;

	if (call == CALL_OTHER)
		return 0;
	kind = capable_kind(call, cap, regs);
	if (!kind || !asked_by(WAY_CAPABLE, kind))
		return 0;
	if (kind == KIND_BPF_LOAD && again(ctx))
		return 0;
	r = event_reserve(RING_CRIT, kind, sizeof(*r));
	if (!r)
		return 0;
	priv_fill(r, me, call);
	r->num = cap;
	r->result = ret;
	r->bits = PRIV_CAPABLE | PRIV_NO_RESULT;
	if (call == CALL_UNSHARE)
		r->flags = call_arg(regs, 0);
	else if (call == CALL_PTRACE)
		r->flags = call_arg(regs, 0);
	event_submit(RING_CRIT, r);
	return 0;
}

#endif
