/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records, the rings they travel on, and the books kept about them. */
#ifndef MERLON_EVENT_H
#define MERLON_EVENT_H

#include "kernel.h"

/* What a record reports: one namespace for all sensors. */
enum event_kind {
	KIND_NONE = 0,

	/* process */
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_ARGS = 3, /* part of an argument vector, before its KIND_EXEC */
	KIND_EXIT = 4,
	KIND_CGROUP = 5,
	KIND_TASK = 6, /* seeded by the task iterator, never on a ring */
	KIND_CREDS = 7, /* a hook's own bookkeeping, never on a ring */

	/* file */
	KIND_FILE_CREATE = 8,
	KIND_FILE_OPEN = 9,
	KIND_FILE_CLOSE = 10,
	KIND_FILE_DELETE = 11,
	KIND_FILE_RENAME = 12,
	KIND_FILE_LINK = 13,
	KIND_FILE_SYMLINK = 14,
	KIND_FILE_CHMOD = 15,
	KIND_FILE_CHOWN = 16,
	KIND_FILE_XATTR = 17,
	KIND_FILE_TRUNCATE = 18,
	KIND_MOUNT = 19,
	KIND_UMOUNT = 20,
	KIND_FILE_NOTE = 21, /* what fanotify told, never on a ring */

	/* network */
	KIND_NET_CONNECT = 24,
	KIND_NET_ACCEPT = 25,
	KIND_NET_BIND = 26,
	KIND_NET_LISTEN = 27,
	KIND_NET_CLOSE = 28,
	KIND_NET_FLOW = 29,
	KIND_NET_RAW = 30,
	KIND_UNIX_CONNECT = 31,

	/* dns */
	KIND_DNS_PACKET = 36, /* a packet's payload, parsed in user space */

	/* privilege */
	KIND_SETUID = 40,
	KIND_SETGID = 41,
	KIND_CAPSET = 42,
	KIND_CRED_CHANGE = 43,
	KIND_USERNS_CREATE = 44,
	KIND_SETNS = 45,
	KIND_UNSHARE = 46,
	KIND_CHROOT = 47,
	KIND_PIVOT_ROOT = 48,
	KIND_PTRACE = 49,
	KIND_VM_WRITE = 50,
	KIND_MEM_WRITE = 51,
	KIND_MEMFD_CREATE = 52,
	KIND_WX_MAP = 53,
	KIND_MODULE_LOAD = 54,
	KIND_MODULE_UNLOAD = 55,
	KIND_BPF_LOAD = 56,
	KIND_KEXEC = 57,
	KIND_PERF_OPEN = 58,
	KIND_URING_SETUP = 59,
	KIND_KEYRING_JOIN = 60,
	KIND_SIGNAL = 61,

	KIND_MAX = 128,
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

enum event_ring {
	RING_CRIT = 0,
	RING_BULK = 1,
};

/*
 * Waking the reader costs an interrupt, in a virtual machine some 15 us: more
 * than all the rest of a record. So the reader says when it wants to be woken.
 */
enum reader_state {
	READER_NONE = 0, /* nobody says anything: the kernel decides */
	READER_AWAKE = 1, /* it will look by itself */
	READER_ASLEEP = 2, /* the next record must wake it */
};

/* Written by the reader through a mapping; shared like the rings. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64); /* enum reader_state */
} events_reader SEC(".maps");

static __always_inline void *event_map(enum event_ring ring)
{
	return ring == RING_BULK ? (void *)&events_bulk : (void *)&events_crit;
}

/* event_flags: how a record about to be sent wakes the reader. */
static __always_inline __u64 event_flags(void)
{
	__u32 zero = 0;
	volatile __u64 *state = bpf_map_lookup_elem(&events_reader, &zero);

	if (!state || *state == READER_NONE)
		return 0;
	if (*state == READER_AWAKE)
		return BPF_RB_NO_WAKEUP;
	*state = READER_AWAKE;
	return BPF_RB_FORCE_WAKEUP;
}

/*
 * event_sent: the reader may have gone to sleep between event_flags and the
 * end of the record. Sending is a full barrier (xchg in bpf_ringbuf_commit), and
 * the reader looks once more after it has said that it sleeps: one of the two
 * sees the other. An empty, discarded record is the only wakeup without one.
 */
static __always_inline void event_sent(enum event_ring ring)
{
	void *none;

	if (event_flags() != BPF_RB_FORCE_WAKEUP)
		return;
	none = bpf_ringbuf_reserve(event_map(ring), 8, 0);
	if (none)
		bpf_ringbuf_discard(none, BPF_RB_FORCE_WAKEUP);
}

/* event_output: send a finished record and keep the books. */
static __always_inline void event_output(enum event_ring ring, __u32 kind, void *rec, __u64 size)
{
	event_produced(kind);
	if (bpf_ringbuf_output(event_map(ring), rec, size, event_flags()))
		event_lost(kind, LOSS_RING_FULL);
	event_sent(ring);
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
	bpf_ringbuf_submit(rec, event_flags());
	event_sent(ring);
}

#endif
