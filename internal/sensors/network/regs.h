/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Registers: of a probed function, and of the system call under way. */
#ifndef MERLON_NETWORK_REGS_H
#define MERLON_NETWORK_REGS_H

#include "kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs___net {
	unsigned long r8, cx, dx, si, di, orig_ax;
};

#define REGS(ctx, reg) (((struct pt_regs___net *)(ctx))->reg)
#define REGS_1(ctx) REGS(ctx, di)
#define REGS_2(ctx) REGS(ctx, si)
#define REGS_3(ctx) REGS(ctx, dx)
#define REGS_4(ctx) REGS(ctx, cx)
#define REGS_5(ctx) REGS(ctx, r8)
#define SYSCALL(regs, reg) BPF_CORE_READ((struct pt_regs___net *)(regs), reg)
#define SYSCALL_NR(regs) SYSCALL(regs, orig_ax)
#define SYSCALL_1(regs) SYSCALL(regs, di)
#define SYSCALL_2(regs) SYSCALL(regs, si)
#define SYSCALL_3(regs) SYSCALL(regs, dx)
#define NR_SOCKET 41
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs___net {
	__u64 regs[31];
};

struct pt_regs___net {
	struct user_pt_regs___net user_regs;
	__s32 syscallno;
};

#define REGS(ctx, n) (((struct user_pt_regs___net *)(ctx))->regs[n])
#define REGS_1(ctx) REGS(ctx, 0)
#define REGS_2(ctx) REGS(ctx, 1)
#define REGS_3(ctx) REGS(ctx, 2)
#define REGS_4(ctx) REGS(ctx, 3)
#define REGS_5(ctx) REGS(ctx, 4)
#define SYSCALL(regs, n) BPF_CORE_READ((struct user_pt_regs___net *)(regs), regs[n])
#define SYSCALL_NR(regs) BPF_CORE_READ((struct pt_regs___net *)(regs), syscallno)
#define SYSCALL_1(regs) SYSCALL(regs, 0)
#define SYSCALL_2(regs) SYSCALL(regs, 1)
#define SYSCALL_3(regs) SYSCALL(regs, 2)
#define NR_SOCKET 198
#endif

#pragma clang attribute pop

#endif
