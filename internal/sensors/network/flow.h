/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* UDP, by flow: one socket and one peer. */
#ifndef MERLON_NETWORK_FLOW_H
#define MERLON_NETWORK_FLOW_H

#include "calls.h"

/* By the socket's number: its address is another's soon after it has ended. */
struct flow_key {
	__u64 cookie;
	__u8 raddr[16];
	__u16 rport; /* host order */
	__u16 pad[3];
};

struct net_flow {
	struct net_rec head; /* as the first packet told it */
	__u64 last; /* ns since boot */
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 packets_in;
	__u64 packets_out;
};

/* Ended by the socket's end, or by user space when nothing came for long. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct net_flow);
} net_flows SEC(".maps");

static __always_inline bool is_udp(__u32 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

static __always_inline void flow_count(struct net_flow *f, __u32 bytes, bool in)
{
	if (in) {
		__sync_fetch_and_add(&f->packets_in, 1);
		__sync_fetch_and_add(&f->bytes_in, bytes);
	} else {
		__sync_fetch_and_add(&f->packets_out, 1);
		__sync_fetch_and_add(&f->bytes_out, bytes);
	}
	f->last = bpf_ktime_get_boot_ns();
}

static __always_inline void flow_begin(struct sock *sk, struct flow_key *key, __u32 bytes, bool in,
				       __u8 *laddr, __u16 lport)
{
	struct net_sock *n = sock_find(sk);
	struct net_flow fresh = {}, *f = &fresh;
	struct net_rec *r;
	long err;

	sock_fill(&f->head, sk);
	event_header(&f->head.hdr, KIND_NET_FLOW);
	f->head.hdr.flags = in ? NET_IN : NET_OUT;
	if (n) {
		f->head.actor = n->actor;
		if (n->notes & NOTE_OLD)
			f->head.hdr.flags |= NET_SEEDED;
	} else {
		event_fault(KIND_NET_FLOW, FAULT_MAP_UPDATE);
	}
	__builtin_memcpy(f->head.laddr, laddr, 16);
	__builtin_memcpy(f->head.raddr, key->raddr, 16);
	f->head.lport = lport;
	f->head.rport = key->rport;
	flow_count(f, bytes, in);
	err = bpf_map_update_elem(&net_flows, key, f, BPF_NOEXIST);
	if (err == -17) { /* -EEXIST: the other direction, or CPU, was first */
		struct net_flow *had = bpf_map_lookup_elem(&net_flows, key);

		if (had)
			flow_count(had, bytes, in);
		return;
	}
	if (err) { /* full: this flow is told of neither now nor at its end */
		event_produced(KIND_NET_FLOW);
		event_lost(KIND_NET_FLOW, LOSS_SCRATCH);
		return;
	}
	if (n) {
		n->flows++;
		n->rport = key->rport;
		__builtin_memcpy(n->raddr, key->raddr, 16);
	}
	r = event_reserve(RING_BULK, KIND_NET_FLOW, sizeof(*r));
	if (!r)
		return;
	*r = f->head;
	event_submit(RING_BULK, r);
}

/* flow_end: the socket ends. One flow, the usual number, ends right here; several fall silent. */
static __always_inline void flow_end(struct sock *sk, struct net_sock *n)
{
	struct flow_key key = {.rport = n->rport};
	struct net_end_rec *r;
	struct net_flow *f;

	if (n->flows != 1)
		return;
	key.cookie = BPF_CORE_READ(more(sk), __sk_common.skc_cookie.counter);
	__builtin_memcpy(key.raddr, n->raddr, 16);
	f = bpf_map_lookup_elem(&net_flows, &key);
	if (!f)
		return;
	r = event_reserve(RING_BULK, KIND_NET_FLOW, sizeof(*r));
	if (r) {
		__u64 now = r->net.hdr.time;
		__u32 cpu = r->net.hdr.cpu;

		r->net = f->head;
		r->net.hdr.time = now;
		r->net.hdr.cpu = cpu;
		r->net.hdr.flags |= NET_END;
		r->net.duration = f->last - f->head.hdr.time;
		r->bytes_in = f->bytes_in;
		r->bytes_out = f->bytes_out;
		r->packets_in = f->packets_in;
		r->packets_out = f->packets_out;
		r->retrans = 0;
		r->rtt_us = 0;
		event_submit(RING_BULK, r);
	}
	bpf_map_delete_elem(&net_flows, &key);
}

/*
 * flow_packet: a packet of the socket, from its IP header on. What isn't UDP
 * leaves by the first lines: every packet of the machine comes here.
 */
static __always_inline void flow_packet(struct __sk_buff *skb, bool in)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct flow_key key = {};
	__u8 laddr[16] = {};
	struct bpf_sock *bsk;
	struct net_flow *f;
	__be16 ports[2];
	__u32 bytes, at;
	__u16 lport;
	bool v4;

	if (data + 20 > end)
		return;
	v4 = data[0] >> 4 == 4;
	if (!is_udp(v4 ? data[9] : data[6]))
		return;
	bsk = skb->sk;
	if (bsk)
		bsk = bpf_sk_fullsock(bsk);
	if (!bsk || !is_udp(bsk->protocol))
		return;
	if (v4) {
		__u32 to = 0;

		if (bsk->family == AF_INET6) { /* mapped */
			to = 12;
			key.raddr[10] = key.raddr[11] = 0xff;
			laddr[10] = laddr[11] = 0xff;
		}
		at = (data[0] & 0xf) * 4;
		if (bpf_skb_load_bytes(skb, in ? 12 : 16, key.raddr + to, 4) ||
		    bpf_skb_load_bytes(skb, in ? 16 : 12, laddr + to, 4))
			return;
	} else {
		at = 40;
		if (bpf_skb_load_bytes(skb, in ? 8 : 24, key.raddr, 16) ||
		    bpf_skb_load_bytes(skb, in ? 24 : 8, laddr, 16))
			return;
	}
	if (bpf_skb_load_bytes(skb, at, ports, 4))
		return;
	bytes = skb->len - at - 8;
	key.rport = __builtin_bswap16(ports[in ? 0 : 1]);
	lport = __builtin_bswap16(ports[in ? 1 : 0]);
	key.cookie = bpf_get_socket_cookie(skb);
	f = bpf_map_lookup_elem(&net_flows, &key);
	if (f)
		flow_count(f, bytes, in);
	else
		flow_begin(kernel_address(bsk), &key, bytes, in, laddr, lport);
}

#endif
