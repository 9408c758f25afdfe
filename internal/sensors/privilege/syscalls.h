/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The full profile: acts seen at the entry and exit of system calls. */
#ifndef MERLON_PRIVILEGE_SYSCALLS_H
#define MERLON_PRIVILEGE_SYSCALLS_H

#include "capable.h"
#include "pending.h"

static __always_inline int entered(struct pt_regs *regs)
{
	return 0;
}

static __always_inline int left(struct pt_regs *regs, __s64 ret)
{
	return 0;
}

#endif
