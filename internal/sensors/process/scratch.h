/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Scratch space in which records of varying length are built. */
#ifndef MERLON_PROCESS_SCRATCH_H
#define MERLON_PROCESS_SCRATCH_H

#include "record.h"

/*
 * One record being built in text.buf: the fixed part, then what varies.
 *
 * busy needs no atomic exchange (which Linux 5.10 lacks): raw tracepoints run
 * with preemption off, so on one CPU only an interrupt could come between, and
 * none of our programs with scratch run in one.
 */
struct scratch {
	__u32 busy;
	__u32 env_skip; /* the string at hand is the rest of a long variable */
	struct text text;
};

/*
 * Maps: values of per-CPU maps end at 32 KiB, so one entry per CPU of an array.
 * The last entry is the iterator's own: unlike the tracepoints it can be
 * preempted, by an exec.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* user space: number of possible CPUs and one */
	__type(key, __u32);
	__type(value, struct scratch);
} proc_scratch SEC(".maps");

/* The iterator's slot of proc_scratch. */
const volatile __u32 seed_slot = 1;

/* scratch_get: claim a scratch for a record with a fixed part of size bytes. */
static __always_inline struct scratch *scratch_get(__u32 slot, __u32 kind, __u32 size)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);

	if (!s || s->busy) {
		event_produced(kind);
		event_lost(kind, LOSS_SCRATCH);
		return NULL;
	}
	s->busy = 1;
	s->text.off = size;
	return s;
}

static __always_inline void scratch_put(struct scratch *s)
{
	s->busy = 0;
}

static __always_inline void scratch_send(struct scratch *s, __u32 kind)
{
	__u32 size = *(volatile __u32 *)&s->text.off;

	if (size > sizeof(s->text.buf))
		size = sizeof(s->text.buf);
	event_output(RING_CRIT, kind, s->text.buf, size);
}

/*
 * The costly parts are global functions: the verifier looks at each of them
 * once, whatever their callers know. Linux 5.10 lets them take scalars only,
 * hence a slot instead of a pointer to scratch, and addresses as numbers.
 */

/* append_path: append the path at `at`; returns its status. */
__noinline int append_path(__u32 slot, __u64 at, __u64 root)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);
	int status;

	if (!s)
		return PATH_FAULT;
	status = path_walk(&s->text, (void *)at, (void *)root);
	if (status == PATH_FAULT)
		event_fault(slot == seed_slot ? KIND_TASK : KIND_EXEC, FAULT_KERNEL_READ);
	return status;
}

/* append_str: append a kernel string of at most PATH_BYTES; returns its length with NUL. */
static __always_inline __u16 append_str(struct text *t, const char *str)
{
	long n;

	if (*(volatile __u32 *)&t->off > TEXT_MAX - 1)
		return 0;
	n = bpf_probe_read_kernel_str(text_at(t), PATH_BYTES, str);
	if (n <= 0) {
		event_fault(KIND_EXEC, FAULT_KERNEL_READ);
		return 0;
	}
	t->off += n;
	return n;
}

/* read_file: fill *r, path included. */
static __always_inline bool read_file(struct scratch *s, __u32 slot, struct file_rec *r,
				      struct file *f, struct path *root)
{
	__u32 start = s->text.off;

	if (!file_read(r, f)) {
		event_fault(slot == seed_slot ? KIND_TASK : KIND_EXEC, FAULT_KERNEL_READ);
		return false;
	}
	if ((r->mode & S_IFMT) == S_IFSOCK)
		return true; /* it has no path */
	r->status =
		append_path(slot, (__u64)__builtin_preserve_access_index(&f->f_path), (__u64)root);
	r->path_len = s->text.off - start;
	return true;
}

#endif
