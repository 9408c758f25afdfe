/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's sockets, and what is remembered of each. */
#ifndef MERLON_NETWORK_SOCK_H
#define MERLON_NETWORK_SOCK_H

#include "record.h"

#define AF_PACKET 17
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_PACKET 10
#define SOCK_TYPE_MASK 0xf
#define CAP_NET_RAW 13
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define EINPROGRESS 115
#define EADDRNOTAVAIL 99

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	struct net *net;
} net_ref_t;

typedef struct {
	__s64 counter;
} cookie_t;

/* include/net/sock.h, with more members than kernel.h needs */
struct sock_common___net {
	net_ref_t skc_net;
	unsigned long skc_flags;
	cookie_t skc_cookie;
};

struct sock___net {
	struct sock_common___net __sk_common;
	int sk_err;
	__u32 sk_max_ack_backlog;
};

struct inet_sock___net {
	__be16 inet_sport;
};

/* include/linux/tcp.h */
struct tcp_sock___net {
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 srtt_us;
	__u32 total_retrans;
	__u32 segs_in;
	__u32 segs_out;
	struct list_head tsq_node;
	bool is_mptcp; /* CONFIG_MPTCP */
};

/* net/mptcp/protocol.h */
struct mptcp_sock___net {
	struct sock *first;
};

struct bpf_iter__task_file___net {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

/* Linux 6.10+ (92ef0fd55ac8) */
struct proto_accept_arg___net {
	int flags;
};

/* include/linux/filter.h */
struct bpf_sock_addr_kern___net {
	struct sock *sk;
	void *uaddr;
	__u32 uaddrlen;
};

enum sock_flags {
	SOCK_DEAD,
	SOCK_DONE,
};

#pragma clang attribute pop

struct net_sock {
	struct event_actor actor;
	__u64 start; /* ns since boot */
	__u32 notes; /* enum sock_note */
	__u32 flows; /* of UDP, made */
	__u16 rport; /* of the connection tried, or of the last flow made */
	__u16 pad[3];
	__u8 raddr[16];
};

/*
 * By address of struct sock. An entry lives as long as its socket is of use; what
 * is pushed out by more sockets than fit is told of without its process.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct net_sock);
} net_socks SEC(".maps");

/* Kinds that nobody asked for, as bits from KIND_NET_CONNECT on. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} net_muted SEC(".maps");

static __always_inline bool net_wanted(__u32 kind)
{
	__u32 zero = 0, *muted = bpf_map_lookup_elem(&net_muted, &zero);

	return !muted || !(*muted & 1 << (kind - KIND_NET_CONNECT));
}

static __always_inline struct net_sock *sock_find(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&net_socks, &key);
}

static __always_inline void sock_forget(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&net_socks, &key);
}

static __always_inline void sock_note(struct sock *sk, struct net_sock *note, __u32 kind)
{
	__u64 key = (__u64)sk;

	if (bpf_map_update_elem(&net_socks, &key, note, BPF_ANY))
		event_fault(kind, FAULT_MAP_UPDATE);
}

static __always_inline bool sock_mptcp(struct sock *sk)
{
	struct tcp_sock___net *tp = (void *)sk;

	return bpf_core_field_exists(tp->is_mptcp) && BPF_CORE_READ(tp, is_mptcp);
}

static __always_inline struct sock___net *more(struct sock *sk)
{
	return (void *)sk;
}

/* sock_fill: everything of *r that the socket itself tells. */
static __always_inline void sock_fill(struct net_rec *r, struct sock *sk)
{
	r->duration = 0;
	r->result = 0;
	r->value = 0;
	r->pad = 0;
	__builtin_memset(r->laddr, 0, sizeof(r->laddr) + sizeof(r->raddr));
	r->cookie = BPF_CORE_READ(more(sk), __sk_common.skc_cookie.counter);
	r->netns = BPF_CORE_READ(more(sk), __sk_common.skc_net.net, ns.inum);
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->type = BPF_CORE_READ(sk, sk_type);
	r->protocol = BPF_CORE_READ(sk, sk_protocol);
	r->lport = 0;
	r->rport = 0;
	if (r->family == AF_INET) {
		bpf_core_read(r->laddr, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(r->raddr, 4, &sk->__sk_common.skc_daddr);
	} else if (r->family == AF_INET6) {
		bpf_core_read(r->laddr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(r->raddr, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		return;
	}
	r->lport = BPF_CORE_READ(sk, __sk_common.skc_num);
	r->rport = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (r->protocol != IPPROTO_TCP)
		return;
	if (!r->lport) /* tcp_set_state has given the port back already */
		r->lport =
			__builtin_bswap16(BPF_CORE_READ((struct inet_sock___net *)sk, inet_sport));
	if (sock_mptcp(sk))
		r->hdr.flags |= NET_MPTCP;
}

/* net_begin: a record about sk, acted by whom note tells of. */
static __always_inline struct net_rec *net_begin(__u32 kind, struct sock *sk, struct net_sock *note)
{
	struct net_rec *r = event_reserve(RING_BULK, kind, sizeof(*r));

	if (!r)
		return NULL;
	sock_fill(r, sk);
	if (note) {
		r->actor = note->actor;
		if (note->notes & NOTE_OLD)
			r->hdr.flags |= NET_SEEDED;
	} else {
		__builtin_memset(&r->actor, 0, sizeof(r->actor));
		event_fault(kind, FAULT_MAP_UPDATE); /* pushed out */
	}
	return r;
}

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

#endif
