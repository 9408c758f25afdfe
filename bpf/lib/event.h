/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records, the rings they travel on, and the books kept about them. */
#ifndef MERLON_EVENT_H
#define MERLON_EVENT_H

#include "kernel.h"

/* What a record reports: one namespace for all sensors. */
enum event_kind {
	KIND_NONE = 0,
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_ARGS = 3, /* part of an argument vector, before its KIND_EXEC */
	KIND_EXIT = 4,
	KIND_CGROUP = 5,
	KIND_TASK = 6, /* seeded by the task iterator, never on a ring */
	KIND_CREDS = 7, /* a hook's own bookkeeping, never on a ring */
	KIND_MAX = 64,
};

/* Why a produced record was not delivered. */
enum loss_reason {
	LOSS_RING_FULL = 0,
	LOSS_SCRATCH = 1, /* scratch space busy or missing */
	LOSS_MAX = 4,
};

/* Helper calls that failed; the record went out without that part. */
enum fault_reason {
	FAULT_KERNEL_READ = 0,
	FAULT_USER_READ = 1,
	FAULT_MAP_UPDATE = 2,
	FAULT_MAX = 4,
};

struct event_hdr {
	__u64 time; /* bpf_ktime_get_boot_ns() */
	__u16 kind; /* enum event_kind */
	__u16 flags; /* of the kind */
	__u32 cpu;
};

/*
 * Per kind and CPU: produced = delivered to the ring + lost. Counted
 * atomically, since a hook may be preempted on its CPU by another.
 */
struct event_count {
	__u64 produced;
	__u64 lost[LOSS_MAX];
	__u64 fault[FAULT_MAX];
};

/*
 * Shared maps: declared here, created once by internal/kernel, injected by
 * name. critical carries exec, exit, privilege and deny; bulk all the rest, so
 * that a flood of the one does not push out the other. Sizes are set at load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events_crit SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events_bulk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_MAX);
	__type(key, __u32);
	__type(value, struct event_count);
} event_counts SEC(".maps");

static __always_inline struct event_count *event_count(__u32 kind)
{
	return bpf_map_lookup_elem(&event_counts, &kind);
}

static __always_inline void event_produced(__u32 kind)
{
	struct event_count *c = event_count(kind);

	if (c)
		__sync_fetch_and_add(&c->produced, 1);
}

static __always_inline void event_lost(__u32 kind, enum loss_reason why)
{
	struct event_count *c = event_count(kind);

	if (c && why < LOSS_MAX)
		__sync_fetch_and_add(&c->lost[why], 1);
}

static __always_inline void event_fault(__u32 kind, enum fault_reason why)
{
	struct event_count *c = event_count(kind);

	if (c && why < FAULT_MAX)
		__sync_fetch_and_add(&c->fault[why], 1);
}

static __always_inline void event_header(struct event_hdr *h, __u16 kind)
{
	h->time = bpf_ktime_get_boot_ns();
	h->kind = kind;
	h->flags = 0;
	h->cpu = bpf_get_smp_processor_id();
}

/*
 * Waking the reader costs an interrupt, in a virtual machine some 15 us: more
 * than all the rest of a record. So a ring wakes it at most once in
 * EVENT_WAKE_NS, and the reader, once woken, looks again after longer than that
 * until it has found nothing: no record waits without either.
 */
enum event_wake {
	EVENT_WAKE_NS = 3000000,
};

enum event_ring {
	RING_CRIT = 0,
	RING_BULK = 1,
};

static volatile __u64 event_woken[2]; /* when each ring last woke the reader */

static __always_inline void *event_map(enum event_ring ring)
{
	return ring == RING_BULK ? (void *)&events_bulk : (void *)&events_crit;
}

static __always_inline __u64 event_flags(enum event_ring ring)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (now - event_woken[ring] < EVENT_WAKE_NS)
		return BPF_RB_NO_WAKEUP;
	event_woken[ring] = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* event_output: send a finished record and keep the books. */
static __always_inline void event_output(enum event_ring ring, __u32 kind, void *rec, __u64 size)
{
	event_produced(kind);
	if (bpf_ringbuf_output(event_map(ring), rec, size, event_flags(ring)))
		event_lost(kind, LOSS_RING_FULL);
}

/* event_reserve: a record of fixed size with its header filled in, or NULL, counted. */
static __always_inline void *event_reserve(enum event_ring ring, __u32 kind, __u64 size)
{
	struct event_hdr *h = bpf_ringbuf_reserve(event_map(ring), size, 0);

	event_produced(kind);
	if (h)
		event_header(h, kind);
	else
		event_lost(kind, LOSS_RING_FULL);
	return h;
}

static __always_inline void event_submit(enum event_ring ring, void *rec)
{
	bpf_ringbuf_submit(rec, event_flags(ring));
}

#endif
