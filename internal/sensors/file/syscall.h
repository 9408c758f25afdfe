/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The full profile: opens seen at the exit of system calls. Nothing is read
 * from user memory: the file is the one behind the descriptor that the call
 * returned, the flags are in the registers that the kernel saved.
 */
#ifndef MERLON_FILE_SYSCALL_H
#define MERLON_FILE_SYSCALL_H

#include "watch.h"

#define CALLS 512

/* Numbers of system calls to enum open_call: ours, then those of 32-bit programs. */
const volatile __u8 file_calls[2 * CALLS];

/* include/uapi/asm-generic/fcntl.h; do_dentry_open takes these off f_flags */
#define O_CREAT 00000100
#define O_TRUNC 00001000
#define O_TAKEN (O_CREAT | 00000200 /* O_EXCL */ | 00000400 /* O_NOCTTY */ | O_TRUNC)

#define FMODE_PATH 0x4000 /* include/linux/fs.h: O_PATH, which opens nothing */

/* arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h: these never moved */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
};
#define TS_COMPAT 2
#define X32_BIT 0x40000000
#else
struct pt_regs {
	unsigned long regs[31], sp, pc, pstate;
	__u64 orig_x0;
	__s32 syscallno;
};
#define TIF_32BIT (1 << 22)
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_info___call {
	unsigned long flags;
	__u32 status;
};

struct task_struct___call {
	struct thread_info___call thread_info;
};
#pragma clang attribute pop

/* call_compat: the call is one of a 32-bit program. */
static __always_inline bool call_compat(void)
{
	struct task_struct___call *t = (void *)bpf_get_current_task();

#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(t, thread_info.status) & TS_COMPAT;
#else
	return BPF_CORE_READ(t, thread_info.flags) & TIF_32BIT;
#endif
}

/* call_opens: how the call that is ending opens files; most calls are seen by their number alone. */
static __always_inline __u8 call_opens(struct pt_regs *regs, bool *compat)
{
	__u32 nr = 0;

#if defined(__TARGET_ARCH_x86)
	bpf_probe_read_kernel(&nr, sizeof(nr), &regs->orig_ax);
	nr &= ~X32_BIT;
#else
	bpf_probe_read_kernel(&nr, sizeof(nr), &regs->syscallno);
#endif
	if (nr >= CALLS)
		return OPEN_NONE;
	nr &= CALLS - 1;
	if (!file_calls[nr] && !file_calls[nr + CALLS])
		return OPEN_NONE;
	*compat = call_compat();
	return file_calls[nr + (*compat ? CALLS : 0)];
}

/* call_flags: the flags that the call was given and the file doesn't keep. */
static __always_inline __u32 call_flags(struct pt_regs *regs, __u8 how, bool compat)
{
	__u32 flags = 0;

	if (how == OPEN_CREAT)
		return O_CREAT | O_TRUNC;
#if defined(__TARGET_ARCH_x86)
	if (how == OPEN_ARG3)
		bpf_probe_read_kernel(&flags, sizeof(flags), &regs->dx);
	if (how == OPEN_ARG2 && compat)
		bpf_probe_read_kernel(&flags, sizeof(flags), &regs->cx);
	if (how == OPEN_ARG2 && !compat)
		bpf_probe_read_kernel(&flags, sizeof(flags), &regs->si);
#else
	if (how == OPEN_ARG3)
		bpf_probe_read_kernel(&flags, sizeof(flags), &regs->regs[2]);
	if (how == OPEN_ARG2)
		bpf_probe_read_kernel(&flags, sizeof(flags), &regs->regs[1]);
#endif
	return flags & O_TAKEN;
}

/* fd_file: the file behind a descriptor of the current task. */
static __always_inline struct file *fd_file(__s64 fd)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct file **slot, *file = NULL;

	if (fd < 0 || fd >= BPF_CORE_READ(me, files, fdt, max_fds))
		return NULL;
	slot = BPF_CORE_READ(me, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slot + fd);
	return file;
}

/* sys_exit(regs, ret): attached in the full profile only. */
SEC("raw_tp/sys_exit")
int file_s_open(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0];
	__s32 ret = ctx->args[1];
	bool compat = false;
	__u8 how = call_opens(regs, &compat);
	struct file *f;
	__u32 flags, mode;

	if (how == OPEN_NONE || ret < 0)
		return 0;
	f = fd_file(ret);
	if (!f)
		return 0;
	mode = BPF_CORE_READ(f, f_mode);
	if (mode & FMODE_PATH)
		return 0;
	flags = call_flags(regs, how, compat);
	if (mode & FMODE_CREATED)
		flags |= O_CREAT;
	return opened(f, 0, flags);
}

#endif
