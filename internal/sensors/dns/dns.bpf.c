//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * DNS: payloads of packets from and to the ports of DNS, multicast DNS and
 * LLMNR, with the process that owns the socket. Nothing is ever refused.
 */
#include "event.h"
#include "actor.h"
#include <bpf/bpf_endian.h>

#define ALLOW 1
#define IPPROTO_HOPOPTS 0
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_DSTOPTS 60
#define EXTENSIONS 4 /* IPv6 extension headers that are stepped over */
#define UDP_HEADER 8
#define TCP_HEADER 20

/* In network byte order, as packets have them. */
#define PORT_DNS bpf_htons(53)
#define PORT_LLMNR bpf_htons(5355)
#define PORT_MDNS_BIT bpf_htons(5353 ^ 5355) /* the one bit in which these differ */

/*
 * Bytes of a payload that a record takes, by what it needs: a query, an answer, one as long as
 * resolvers allow over UDP so that nothing is fragmented, segments of a stream.
 */
#define ROOM_SMALL 128
#define ROOM_MEDIUM 512
#define ROOM_LARGE 1232
#define ROOM_MAX 4096

enum packet_flag {
	DNS_OUT = 1,
	DNS_TCP = 2,
	DNS_IPV6 = 4,
	DNS_MESSAGE = 8, /* made by user space: one message of a stream, without its length */
};

struct dns_rec {
	struct event_hdr hdr;
	struct event_actor actor; /* zero when the socket's owner is unknown */
	__u8 saddr[16]; /* IPv4 takes the first 4 bytes */
	__u8 daddr[16];
	__u64 cookie; /* of the socket */
	__u32 seq; /* TCP: of the payload's first byte */
	__u32 len; /* of the payload */
	__u16 sport, dport; /* host byte order */
	__u16 copied; /* bytes of the payload that follow */
	__u16 flags; /* enum packet_flag */
};

/* What Go needs of these types; a pointer that stays NULL puts them into BTF. */
struct wire_types {
	enum event_kind kind;
	enum packet_flag flag;
	struct dns_rec rec;
};
const volatile struct wire_types *const volatile wire_types = NULL;

/* Who uses a socket: set where the process runs, read where its packets pass. An accepted socket
 * gets its listener's. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct event_actor);
} dns_owners SEC(".maps");

static __always_inline bool dns_port(__u16 port)
{
	return port == PORT_DNS || (port | PORT_MDNS_BIT) == PORT_LLMNR;
}

/* A packet's place in its skb: of the transport header, then of the payload. */
struct dns_packet {
	__u32 off;
	__u32 len;
	__u32 seq;
	__u32 ports; /* as in the packet: source first */
	__u8 proto;
	__u8 version;
};

/* dns_ports: read the ports of a transport header that direct access does not reach. */
static __always_inline bool dns_ports(struct __sk_buff *skb, struct dns_packet *p)
{
	return !bpf_skb_load_bytes(skb, p->off, &p->ports, sizeof(p->ports));
}

/* dns_extensions: step over the IPv6 extension headers that a process may set on its socket. */
static __always_inline bool dns_extensions(struct __sk_buff *skb, struct dns_packet *p)
{
	__u8 ext[2];

	for (int i = 0; i < EXTENSIONS; i++) {
		if (p->proto != IPPROTO_HOPOPTS && p->proto != IPPROTO_ROUTING &&
		    p->proto != IPPROTO_DSTOPTS)
			break;
		if (bpf_skb_load_bytes(skb, p->off, ext, sizeof(ext)))
			return false;
		p->proto = ext[0];
		p->off += (ext[1] + 1) * 8;
	}
	return (p->proto == IPPROTO_UDP || p->proto == IPPROTO_TCP) && dns_ports(skb, p);
}

/* dns_locate: find ports by direct access, the way of nearly every packet of the host. */
static __always_inline bool dns_locate(struct __sk_buff *skb, struct dns_packet *p)
{
	__u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (ip + 24 > end)
		return false;
	if (ip[0] == 0x45) {
		p->off = 20;
		p->proto = ip[9];
		p->ports = *(__u32 *)(ip + 20);
	} else if (ip[0] >> 4 == 6) {
		if (ip + 44 > end)
			return false;
		p->off = 40;
		p->proto = ip[6];
		p->ports = *(__u32 *)(ip + 40);
		if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_TCP && !dns_extensions(skb, p))
			return false;
	} else if (ip[0] >> 4 == 4) { /* with options */
		p->off = (ip[0] & 15) * 4;
		p->proto = ip[9];
		if (!dns_ports(skb, p))
			return false;
	} else {
		return false;
	}
	p->version = ip[0] >> 4;
	return dns_port(p->ports) || dns_port(p->ports >> 16);
}

/* dns_payload: step over the transport header; false when nothing is behind it. */
static __always_inline bool dns_payload(struct __sk_buff *skb, struct dns_packet *p)
{
	__u8 tcp[TCP_HEADER];

	p->seq = 0;
	if (p->proto == IPPROTO_UDP) {
		p->off += UDP_HEADER;
	} else if (p->proto == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, p->off, tcp, sizeof(tcp)))
			return false;
		p->seq = bpf_ntohl(*(__u32 *)(tcp + 4));
		p->off += (tcp[12] >> 4) * 4;
	} else {
		return false;
	}
	if (skb->len <= p->off)
		return false;
	p->len = skb->len - p->off;
	return true;
}

static __always_inline void dns_owner(struct __sk_buff *skb, struct event_actor *to)
{
	struct bpf_sock *sk = skb->sk;
	struct event_actor *a = NULL;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		a = bpf_sk_storage_get(&dns_owners, sk, NULL, 0);
	if (a)
		*to = *a;
	else
		__builtin_memset(to, 0, sizeof(*to));
}

/* dns_send: a record with room for that many bytes of payload. */
static __always_inline void dns_send(struct __sk_buff *skb, struct dns_packet *p, __u16 flags,
				     const __u32 room)
{
	struct dns_rec *r = event_reserve(RING_BULK, KIND_DNS_PACKET, sizeof(*r) + room);
	__u32 last = p->len - 1; /* byte of the payload */

	if (!r)
		return;
	dns_owner(skb, &r->actor);
	__builtin_memset(r->saddr, 0, sizeof(r->saddr) + sizeof(r->daddr));
	if (p->version == 4) {
		if (bpf_skb_load_bytes(skb, 12, r->saddr, 4) ||
		    bpf_skb_load_bytes(skb, 16, r->daddr, 4))
			event_fault(KIND_DNS_PACKET, FAULT_KERNEL_READ);
	} else {
		flags |= DNS_IPV6;
		if (bpf_skb_load_bytes(skb, 8, r->saddr, 16) ||
		    bpf_skb_load_bytes(skb, 24, r->daddr, 16))
			event_fault(KIND_DNS_PACKET, FAULT_KERNEL_READ);
	}
	r->cookie = bpf_get_socket_cookie(skb);
	r->seq = p->seq;
	r->len = p->len;
	r->sport = bpf_ntohs(p->ports);
	r->dport = bpf_ntohs(p->ports >> 16);
	r->flags = p->proto == IPPROTO_TCP ? flags | DNS_TCP : flags;
	if (last >= room)
		last = room - 1;
	asm volatile("" : "+r"(last)); /* keep the check that follows, for the verifier */
	if (last >= room || bpf_skb_load_bytes(skb, p->off, r + 1, last + 1)) {
		event_fault(KIND_DNS_PACKET, FAULT_KERNEL_READ);
		r->copied = 0;
	} else {
		r->copied = last + 1;
	}
	event_submit(RING_BULK, r);
}

static __always_inline int dns_packet(struct __sk_buff *skb, __u16 flags)
{
	struct dns_packet p;

	if (!dns_locate(skb, &p) || !dns_payload(skb, &p))
		return ALLOW;
	if (p.len <= ROOM_SMALL)
		dns_send(skb, &p, flags, ROOM_SMALL);
	else if (p.len <= ROOM_MEDIUM)
		dns_send(skb, &p, flags, ROOM_MEDIUM);
	else if (p.len <= ROOM_LARGE)
		dns_send(skb, &p, flags, ROOM_LARGE);
	else
		dns_send(skb, &p, flags, ROOM_MAX);
	return ALLOW;
}

SEC("cgroup_skb/ingress")
int dns_in(struct __sk_buff *skb)
{
	return dns_packet(skb, 0);
}

SEC("cgroup_skb/egress")
int dns_out(struct __sk_buff *skb)
{
	return dns_packet(skb, DNS_OUT);
}

/* dns_own: note the current process as the owner of the socket. */
static __always_inline int dns_own(struct bpf_sock *sk)
{
	struct event_actor *a = NULL;

	if (sk)
		a = bpf_sk_storage_get(&dns_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (a)
		actor_current(a);
	else
		event_fault(KIND_DNS_PACKET, FAULT_MAP_UPDATE);
	return ALLOW;
}

/* dns_asks: a process names the peer: of interest when that, or its own port, is one of DNS. */
static __always_inline int dns_asks(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (dns_port(ctx->user_port) || (sk && dns_port(bpf_htons(sk->src_port))))
		return dns_own(sk);
	return ALLOW;
}

SEC("cgroup/connect4")
int dns_connect4(struct bpf_sock_addr *ctx)
{
	return dns_asks(ctx);
}

SEC("cgroup/connect6")
int dns_connect6(struct bpf_sock_addr *ctx)
{
	return dns_asks(ctx);
}

SEC("cgroup/sendmsg4")
int dns_sendmsg4(struct bpf_sock_addr *ctx)
{
	return dns_asks(ctx);
}

SEC("cgroup/sendmsg6")
int dns_sendmsg6(struct bpf_sock_addr *ctx)
{
	return dns_asks(ctx);
}

/* Servers: user_port is their own. */
SEC("cgroup/bind4")
int dns_bind4(struct bpf_sock_addr *ctx)
{
	return dns_port(ctx->user_port) ? dns_own(ctx->sk) : ALLOW;
}

SEC("cgroup/bind6")
int dns_bind6(struct bpf_sock_addr *ctx)
{
	return dns_port(ctx->user_port) ? dns_own(ctx->sk) : ALLOW;
}

/* kernel/bpf/task_iter.c */
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
} __attribute__((preserve_access_index));

/* Sockets that were there before: any process that holds one is its owner until one acts. */
SEC("iter/task_file")
int dns_seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct event_actor *a;
	struct socket *sock;
	struct sock *sk;
	__u16 family;

	if (!task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (!dns_port(bpf_htons(sk->__sk_common.skc_num)) && !dns_port(sk->__sk_common.skc_dport))
		return 0;
	a = bpf_sk_storage_get(&dns_owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!a)
		event_fault(KIND_DNS_PACKET, FAULT_MAP_UPDATE);
	else if (!a->pid)
		actor_read(a, task);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
