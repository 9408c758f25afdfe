/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* TCP connections, told by their changes of state. */
#ifndef MERLON_NETWORK_TCP_H
#define MERLON_NETWORK_TCP_H

#include "sock.h"

/* bpf_get_socket_cookie in tracing: Linux 5.12+ (c5dbb89fc2ac) */
const volatile bool net_cookies = false;

/* Accepts are told by accept(2) itself. */
const volatile bool net_accepts = false;

/* tcp_try: a SYN is about to go, in the connecting process. */
static __always_inline void tcp_try(struct sock *sk)
{
	struct net_sock n = {.notes = NOTE_OUT}, *called = sock_find(sk);

	if (called && called->notes & NOTE_TRY) { /* by this very call: see connect_called */
		called->notes = NOTE_OUT;
		called->start = bpf_ktime_get_boot_ns();
		return;
	}
	n.start = bpf_ktime_get_boot_ns();
	actor_current(&n.actor);
	sock_note(sk, &n, KIND_NET_CONNECT);
}

/* tcp_tried: the outcome of a connect is known. */
static __always_inline void tcp_tried(struct sock *sk, struct net_sock *n, bool up)
{
	struct net_rec *r;

	if (!net_wanted(KIND_NET_CONNECT))
		return;
	r = net_begin(KIND_NET_CONNECT, sk, n);
	if (!r)
		return;
	r->hdr.flags |= NET_OUT;
	if (n && !(n->notes & NOTE_OLD))
		r->duration = r->hdr.time - n->start;
	if (!up) {
		r->result = -BPF_CORE_READ(more(sk), sk_err);
		if (!r->result) /* inet_hash_connect found no port, or it was given up */
			r->result = r->lport ? -EINPROGRESS : -EADDRNOTAVAIL;
	}
	event_submit(RING_BULK, r);
}

static __always_inline void tcp_listen(struct sock *sk)
{
	struct net_sock n = {.start = bpf_ktime_get_boot_ns()};
	struct net_rec *r;

	actor_current(&n.actor);
	sock_note(sk, &n, KIND_NET_LISTEN);
	if (!net_wanted(KIND_NET_LISTEN))
		return;
	r = net_begin(KIND_NET_LISTEN, sk, &n);
	if (!r)
		return;
	r->value = BPF_CORE_READ(more(sk), sk_max_ack_backlog);
	event_submit(RING_BULK, r);
}

/*
 * tcp_cloned: a connection has come in, and sk was just copied from its listener
 * (inet_csk_clone_lock tells of the state before it changes the rest). The head
 * of a list that was empty in the listener still points at itself there: it
 * tells which listener, also where several share the port.
 */
static __always_inline void tcp_cloned(struct sock *sk)
{
	struct tcp_sock___net *tp = (void *)sk;
	void *node = BPF_CORE_READ(tp, tsq_node.next);
	struct sock *listener = node - bpf_core_field_offset(struct tcp_sock___net, tsq_node);
	struct net_sock n = {.notes = NOTE_IN, .start = bpf_ktime_get_boot_ns()};
	struct net_sock *l = sock_find(listener);

	if (!l)
		return;
	n.actor = l->actor;
	sock_note(sk, &n, KIND_NET_ACCEPT);
}

static __always_inline void tcp_accepted(struct sock *sk, struct net_sock *n)
{
	struct net_rec *r;

	if (n)
		n->notes |= NOTE_TOLD;
	if (!net_wanted(KIND_NET_ACCEPT))
		return;
	r = net_begin(KIND_NET_ACCEPT, sk, n);
	if (!r)
		return;
	r->hdr.flags |= NET_IN;
	event_submit(RING_BULK, r);
}

static __always_inline void tcp_counts(struct net_end_rec *r, struct sock *sk)
{
	struct tcp_sock___net *tp = (void *)sk;

	r->bytes_in = BPF_CORE_READ(tp, bytes_received);
	if (r->bytes_in && BPF_CORE_READ(more(sk), __sk_common.skc_flags) &
				   1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE))
		r->bytes_in--; /* the peer's FIN counts as a byte there */
	r->bytes_out = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	r->packets_in = BPF_CORE_READ(tp, segs_in);
	r->packets_out = BPF_CORE_READ(tp, segs_out);
	r->retrans = BPF_CORE_READ(tp, total_retrans);
	r->rtt_us = BPF_CORE_READ(tp, srtt_us) >> 3;
}

static __always_inline void tcp_ended(struct sock *sk, struct net_sock *n)
{
	struct net_end_rec *r;

	if (!net_wanted(KIND_NET_CLOSE))
		return;
	r = event_reserve(RING_BULK, KIND_NET_CLOSE, sizeof(*r));
	if (!r)
		return;
	sock_fill(&r->net, sk);
	r->net.result = -BPF_CORE_READ(more(sk), sk_err);
	if (n) {
		r->net.actor = n->actor;
		if (n->notes & NOTE_OLD)
			r->net.hdr.flags |= NET_SEEDED;
		else
			r->net.duration = r->net.hdr.time - n->start;
		if (n->notes & NOTE_IN)
			r->net.hdr.flags |= NET_IN;
		if (n->notes & NOTE_OUT)
			r->net.hdr.flags |= NET_OUT;
	} else {
		__builtin_memset(&r->net.actor, 0, sizeof(r->net.actor));
		event_fault(KIND_NET_CLOSE, FAULT_MAP_UPDATE);
	}
	tcp_counts(r, sk);
	event_submit(RING_BULK, r);
}

static __always_inline void tcp_up(struct sock *sk, int old)
{
	struct net_sock *n = sock_find(sk);

	if (net_cookies)
		bpf_get_socket_cookie(sk);
	if (n)
		n->notes |= NOTE_UP;
	if (old == TCP_SYN_SENT || (n && n->notes & NOTE_OUT))
		tcp_tried(sk, n, true);
	else if (!net_accepts || !net_wanted(KIND_NET_ACCEPT))
		tcp_accepted(sk, n);
}

static __always_inline void tcp_down(struct sock *sk, int old)
{
	struct net_sock *n = sock_find(sk);

	if (old == TCP_SYN_SENT) {
		tcp_tried(sk, n, false);
	} else if (old != TCP_LISTEN && old != TCP_SYN_RECV) {
		/* by a call of accept(2) from before us, or by none */
		if (n && (n->notes & (NOTE_IN | NOTE_UP | NOTE_TOLD)) == (NOTE_IN | NOTE_UP))
			tcp_accepted(sk, n);
		tcp_ended(sk, n);
	}
	if (n)
		sock_forget(sk);
}

#endif
