/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* System calls on sockets, seen by cgroup programs, and by functions where they can be traced. */
#ifndef MERLON_NETWORK_CALLS_H
#define MERLON_NETWORK_CALLS_H

#include "context.h"
#include "tcp.h"

/*
 * tell_try: a connect that failed before its SYN: no route, no port, refused by
 * policy. result is 0 where it is not known.
 */
static __always_inline void tell_try(struct sock *sk, struct net_sock *n, int result)
{
	struct net_rec *r;

	n->notes &= ~NOTE_TRY;
	if (!net_wanted(KIND_NET_CONNECT))
		return;
	r = net_begin(KIND_NET_CONNECT, sk, n);
	if (!r)
		return;
	__builtin_memcpy(r->raddr, n->raddr, sizeof(r->raddr));
	r->rport = n->rport;
	r->result = result;
	r->hdr.flags |= result ? NET_OUT : NET_OUT | NET_NO_RESULT;
	event_submit(RING_BULK, r);
}

/* connect_called: remembers what is tried until the SYN goes, or doesn't. */
static __always_inline void connect_called(struct bpf_sock_addr *ctx, bool v6)
{
	struct net_sock n = {.notes = NOTE_OUT | NOTE_TRY}, *old;
	struct sock *sk;

	if (ctx->protocol != IPPROTO_TCP)
		return;
	bpf_get_socket_cookie(ctx);
	sk = kernel_address(ctx->sk);
	old = sock_find(sk);
	if (old && old->notes & NOTE_TRY)
		tell_try(sk, old, 0);
	actor_current(&n.actor);
	n.start = bpf_ktime_get_boot_ns();
	n.rport = __builtin_bswap16(ctx->user_port);
	if (v6) {
		__u32 *a = (void *)n.raddr;

		a[0] = ctx->user_ip6[0];
		a[1] = ctx->user_ip6[1];
		a[2] = ctx->user_ip6[2];
		a[3] = ctx->user_ip6[3];
	} else {
		*(__u32 *)n.raddr = ctx->user_ip4;
	}
	sock_note(sk, &n, KIND_NET_CONNECT);
}

static __always_inline void bound(struct bpf_sock *ctx)
{
	struct net_sock n = {};
	struct net_rec *r;

	bpf_get_socket_cookie(ctx);
	actor_current(&n.actor);
	r = net_begin(KIND_NET_BIND, kernel_address(ctx), &n);
	if (r)
		event_submit(RING_BULK, r);
}

/* raw_made: a raw or packet socket; sk is NULL where it is not there yet. */
static __always_inline void raw_made(struct sock *sk, int family, int type, int protocol)
{
	struct net_rec *r = event_reserve(RING_BULK, KIND_NET_RAW, sizeof(*r));

	if (!r)
		return;
	__builtin_memset((void *)&r->cookie, 0, sizeof(*r) - offsetof(struct net_rec, cookie));
	actor_current(&r->actor);
	if (sk) {
		r->cookie = BPF_CORE_READ(more(sk), __sk_common.skc_cookie.counter);
		r->netns = BPF_CORE_READ(more(sk), __sk_common.skc_net.net, ns.inum);
	} else {
		struct task_struct *t = (void *)bpf_get_current_task();

		r->netns = BPF_CORE_READ(t, nsproxy, net_ns, ns.inum);
		r->hdr.flags |= NET_NO_RESULT;
	}
	r->family = family;
	r->type = type;
	r->protocol = family == AF_PACKET ? __builtin_bswap16(protocol) : protocol;
	event_submit(RING_BULK, r);
}

/* unix_called: a connect to the unix socket of that address, len bytes of which are the name. */
static __always_inline void unix_called(struct sock *sk, const void *name, __u32 len, bool result)
{
	struct unix_rec *r;

	if (!len)
		return; /* nobody's name */
	if (len > UNIX_PATH)
		len = UNIX_PATH;
	r = event_reserve(RING_BULK, KIND_UNIX_CONNECT, sizeof(*r));
	if (!r)
		return;
	r->pad = 0;
	r->result = 0;
	if (!result)
		r->hdr.flags |= NET_NO_RESULT;
	actor_current(&r->actor);
	r->cookie = BPF_CORE_READ(more(sk), __sk_common.skc_cookie.counter);
	r->netns = BPF_CORE_READ(more(sk), __sk_common.skc_net.net, ns.inum);
	r->type = BPF_CORE_READ(sk, sk_type);
	r->len = len;
	__builtin_memset(r->path, 0, sizeof(r->path));
	if (bpf_probe_read_kernel(r->path, len, name))
		event_fault(KIND_UNIX_CONNECT, FAULT_KERNEL_READ);
	event_submit(RING_BULK, r);
}

#endif
