/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which system call a task is in, and the registers it came with. */
#ifndef MERLON_PRIVILEGE_CALL_H
#define MERLON_PRIVILEGE_CALL_H

#include "record.h"

/*
 * Registers as the entry code saves them: arch/x86/include/asm/ptrace.h,
 * arch/arm64/include/asm/ptrace.h; the places never changed. They are kernel
 * copies: other threads can't change them during the call.
 */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
#define SYS_ "__x64_sys_"
#define PARM1(r) ((r)->di)
#define PARM2(r) ((r)->si)
#define PARM3(r) ((r)->dx)
#define PARM4(r) ((r)->cx)
#define PARM5(r) ((r)->r8)
#define RET(r) ((r)->ax)
#define TS_COMPAT 2
#define X32_BIT 0x40000000
#else
struct pt_regs {
	unsigned long regs[31], sp, pc, pstate;
	__u64 orig_x0;
	__s32 syscallno;
	__u32 pad;
};
#define SYS_ "__arm64_sys_"
#define PARM1(r) ((r)->regs[0])
#define PARM2(r) ((r)->regs[1])
#define PARM3(r) ((r)->regs[2])
#define PARM4(r) ((r)->regs[3])
#define PARM5(r) ((r)->regs[4])
#define RET(r) ((r)->regs[0])
#define TIF_32BIT (1 << 22)
#endif
#define THREAD_SIZE 16384 /* where it matters: amd64 before Linux 5.15 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info___pv {
	unsigned long flags;
	__u32 status;
};

struct list_head___pv {
	struct list_head___pv *next, *prev;
};

struct task_struct___pv {
	struct thread_info___pv thread_info;
	void *stack;
	const struct cred *real_cred;
	unsigned int in_execve : 1;
	struct list_head___pv ptraced;
	struct list_head___pv ptrace_entry;
};

#pragma clang attribute pop

enum bpf_func_id___pv {
	BPF_FUNC_task_pt_regs___pv = 175, /* Linux 5.15 (dd6e10fbd9fb) */
};

/* call_regs: the registers of the task at its entry into the kernel. */
static __always_inline struct pt_regs *call_regs(struct task_struct *task)
{
	struct task_struct___pv *t = (void *)task;

	if (bpf_core_enum_value_exists(enum bpf_func_id___pv, BPF_FUNC_task_pt_regs___pv))
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return BPF_CORE_READ(t, stack) + THREAD_SIZE - sizeof(struct pt_regs);
}

#define READ_REG(r, field)                                           \
	({                                                           \
		__typeof__((r)->field) _v = 0;                       \
		bpf_probe_read_kernel(&_v, sizeof(_v), &(r)->field); \
		_v;                                                  \
	})

/* call_of: the call that the current task is in. */
static __always_inline __u8 call_of(struct task_struct *task, struct pt_regs *regs)
{
	struct task_struct___pv *t = (void *)task;
	__u32 nr;

	if (!BPF_CORE_READ(task, mm))
		return CALL_KERNEL;
#if defined(__TARGET_ARCH_x86)
	if (BPF_CORE_READ(t, thread_info.status) & TS_COMPAT)
		return CALL_COMPAT;
	nr = READ_REG(regs, orig_ax) & ~X32_BIT;
#else
	if (BPF_CORE_READ(t, thread_info.flags) & TIF_32BIT)
		return CALL_COMPAT;
	nr = READ_REG(regs, syscallno);
#endif
	if (nr >= sizeof(priv_calls))
		return CALL_OTHER;
	return priv_calls[nr & (sizeof(priv_calls) - 1)];
}

/* call_arg: argument n, from 0, of the call. */
static __always_inline __u64 call_arg(struct pt_regs *regs, int n)
{
#if defined(__TARGET_ARCH_x86)
	switch (n) {
	case 0:
		return READ_REG(regs, di);
	case 1:
		return READ_REG(regs, si);
	case 2:
		return READ_REG(regs, dx);
	case 3:
		return READ_REG(regs, r10);
	}
	return READ_REG(regs, r8);
#else
	if (n == 0)
		return READ_REG(regs, orig_x0);
	return READ_REG(regs, regs[n]);
#endif
}

static __always_inline bool failed(__s64 ret)
{
	return (__u64)ret > (__u64)-4096LL;
}

/* priv_fill: who acts, with which credentials, by which call; the rest is zero. */
static __always_inline void priv_fill(struct priv_rec *r, struct task_struct *task, __u8 call)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	actor_read(&r->actor, task);
	creds_read(&r->before, cred);
	r->userns = BPF_CORE_READ(cred, user_ns, ns.inum);
	r->flags = 0;
	r->address = 0;
	r->length = 0;
	r->result = 0;
	r->ns = 0;
	r->types = 0;
	r->num = 0;
	r->call = call;
	r->bits = 0;
}

/* priv_begin: a record for the current task with the start filled in, or NULL. */
#define priv_begin(ring, kind, size, call)                                   \
	({                                                                   \
		struct priv_rec *_r = event_reserve(ring, kind, size);       \
		if (_r)                                                      \
			priv_fill(_r, (void *)bpf_get_current_task(), call); \
		(void *)_r;                                                  \
	})

static __always_inline void target_read(struct priv_target *t, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	t->start = BPF_CORE_READ(task, group_leader, start_boottime);
	t->pid = BPF_CORE_READ(task, tgid);
	t->tid = BPF_CORE_READ(task, pid);
	t->uid = BPF_CORE_READ(cred, uid.val);
	t->euid = BPF_CORE_READ(cred, euid.val);
	t->suid = BPF_CORE_READ(cred, suid.val);
	t->pad = 0;
	BPF_CORE_READ_INTO(&t->comm, task, comm);
}

#endif
