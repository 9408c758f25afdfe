//go:build ignore
// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Feeds template records into the rings when run by BPF_PROG_RUN. */
#include "event.h"

#define SLOTS 16
#define REC_MAX 32768 /* the largest per-CPU value */

enum feed_ring {
	FEED_CRITICAL = 0,
	FEED_BULK = 1
};

struct feed_slot {
	__u32 size; /* header included */
	__u16 kind;
	__u16 ring; /* enum feed_ring */
};

struct feed_rec {
	__u8 data[REC_MAX];
};

struct feed_conf {
	__u32 slots; /* how many are in use */
	__u32 next; /* the one whose turn it is on this CPU */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct feed_conf);
} feed_conf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct feed_slot);
} feed_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct feed_rec);
} feed_recs SEC(".maps");

SEC("socket")
int feed(void *ctx)
{
	struct feed_conf *conf;
	struct feed_slot *slot;
	struct feed_rec *rec;
	struct event_hdr *h;
	__u32 i = 0, size;

	conf = bpf_map_lookup_elem(&feed_conf, &i);
	if (!conf)
		return 0;
	i = conf->next;
	if (i >= conf->slots)
		i = 0;
	conf->next = i + 1;
	slot = bpf_map_lookup_elem(&feed_slots, &i);
	rec = bpf_map_lookup_elem(&feed_recs, &i);
	if (!slot || !rec)
		return 0;
	size = slot->size;
	if (size < sizeof(*h))
		return 0;
	barrier_var(size); /* Debian 5.10, 6.1 and 6.12 lose the bounds of one merged check */
	if (size > REC_MAX)
		return 0;
	h = (void *)rec;
	h->time = bpf_ktime_get_boot_ns();
	h->cpu = bpf_get_smp_processor_id();
	if (slot->ring == FEED_BULK)
		event_output(RING_BULK, slot->kind, rec, size);
	else
		event_output(RING_CRIT, slot->kind, rec, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
