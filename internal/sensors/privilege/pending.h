/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What an act's entry leaves for its exit, and the programs made of both. */
#ifndef MERLON_PRIVILEGE_PENDING_H
#define MERLON_PRIVILEGE_PENDING_H

#include "acts.h"

struct pending_key {
	__u64 thread;
	__u32 kind; /* acts nest: one entry a kind */
	__u32 pad;
};

struct pending {
	__u64 arg[4];
	__u64 helpers[4];
	__u64 saved[8]; /* namespaces, or the former root, or instructions */
	struct creds before;
	__u32 userns;
	__u32 pad;
};

/*
 * As many as threads may be inside such calls at once. An entry whose exit the
 * kernel skipped (a kretprobe without a free instance) is overwritten by the
 * thread's next; one of a thread that died inside goes with the eldest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pending_key);
	__type(value, struct pending);
} priv_pending SEC(".maps");

/* Values are too large for the stack beside a record. */
static const struct pending nothing;

static __always_inline struct pending *pend(__u32 kind)
{
	struct pending_key key = {.thread = bpf_get_current_pid_tgid(), .kind = kind};

	if (!asked(kind))
		return NULL;
	if (bpf_map_update_elem(&priv_pending, &key, &nothing, BPF_ANY)) {
		event_fault(kind, FAULT_MAP_UPDATE);
		return NULL;
	}
	return bpf_map_lookup_elem(&priv_pending, &key);
}

static __always_inline int save(__u32 kind, __u64 a, __u64 b, __u64 c)
{
	struct pending *p = pend(kind);

	if (p) {
		p->arg[0] = a;
		p->arg[1] = b;
		p->arg[2] = c;
	}
	return 0;
}

/* take: what the entry left; it is forgotten by done. */
static __always_inline struct pending *take(__u32 kind)
{
	struct pending_key key = {.thread = bpf_get_current_pid_tgid(), .kind = kind};

	return bpf_map_lookup_elem(&priv_pending, &key);
}

static __always_inline int done(__u32 kind)
{
	struct pending_key key = {.thread = bpf_get_current_pid_tgid(), .kind = kind};

	bpf_map_delete_elem(&priv_pending, &key);
	return 0;
}

/*
 * One body an act. ACT_ENTRY attaches it to the function's beginning, as
 * name_f by a trampoline and as name_k by a kprobe. ACT_EXIT attaches it to
 * its end, as name_f by a trampoline, and by a kprobe name_k that keeps the
 * arguments and a kretprobe name_r. In the body A, B, C, D are arguments, R is
 * the result.
 */
#define ACT_ENTRY(name, func, nargs, body)                    \
	SEC("fentry/" func) int name##_f(__u64 *ctx)          \
	{                                                     \
		FARGS_##nargs;                                \
		return body;                                  \
	}                                                     \
	SEC("kprobe/" func) int name##_k(struct pt_regs *ctx) \
	{                                                     \
		KARGS_##nargs;                                \
		return body;                                  \
	}

#define ACT_EXIT(name, func, nargs, kind, filter, body)          \
	SEC("fexit/" func) int name##_f(__u64 *ctx)              \
	{                                                        \
		FARGS_##nargs;                                   \
		__maybe_unused __s64 R = ctx[nargs];             \
		if (!(filter))                                   \
			return 0;                                \
		return body;                                     \
	}                                                        \
	SEC("kprobe/" func) int name##_k(struct pt_regs *ctx)    \
	{                                                        \
		KARGS_##nargs;                                   \
		if (!(filter))                                   \
			return 0;                                \
		return save(kind, SAVE_##nargs);                 \
	}                                                        \
	SEC("kretprobe/" func) int name##_r(struct pt_regs *ctx) \
	{                                                        \
		struct pending *p = take(kind);                  \
		__maybe_unused __s64 R = RET(ctx);               \
		if (!p)                                          \
			return 0;                                \
		TARGS_##nargs;                                   \
		body;                                            \
		return done(kind);                               \
	}

#define __maybe_unused __attribute__((unused))
#define FARGS_1 __maybe_unused __u64 A = ctx[0]
#define FARGS_2 FARGS_1, B = ctx[1]
#define FARGS_3 FARGS_2, C = ctx[2]
#define FARGS_4 FARGS_3
#define FARGS_5 FARGS_3
#define FARGS_6 __maybe_unused __u64 A = ctx[2], B = ctx[3], C = ctx[4]
#define KARGS_1 __maybe_unused __u64 A = PARM1(ctx)
#define KARGS_2 KARGS_1, B = PARM2(ctx)
#define KARGS_3 KARGS_2, C = PARM3(ctx)
#define KARGS_4 KARGS_3
#define KARGS_5 KARGS_3
#define KARGS_6 __maybe_unused __u64 A = PARM3(ctx), B = PARM4(ctx), C = PARM5(ctx)
#define TARGS_1 __maybe_unused __u64 A = p->arg[0]
#define TARGS_2 TARGS_1, B = p->arg[1]
#define TARGS_3 TARGS_2, C = p->arg[2]
#define TARGS_4 TARGS_3
#define TARGS_5 TARGS_3
#define TARGS_6 TARGS_3
#define SAVE_1 A, 0, 0
#define SAVE_2 A, B, 0
#define SAVE_3 A, B, C
#define SAVE_4 SAVE_3
#define SAVE_5 SAVE_3
#define SAVE_6 SAVE_3

#endif
