/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sockets and their peers. */
#ifndef MERLON_SOCK_H
#define MERLON_SOCK_H

#include "kernel.h"

struct sock_rec {
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 state;
	__u8 pad;
	__u16 lport; /* host order */
	__u16 rport;
	__u32 peer_pid; /* unix */
	__u8 laddr[16];
	__u8 raddr[16];
};

/* sock_read: fill *r from the socket; a v4 address takes the first 4 bytes. */
static __always_inline void sock_read(struct sock_rec *r, struct sock *sk)
{
	r->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	r->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	r->type = BPF_CORE_READ(sk, sk_type);
	r->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (r->family == AF_INET) {
		bpf_core_read(r->laddr, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(r->raddr, 4, &sk->__sk_common.skc_daddr);
	} else if (r->family == AF_INET6) {
		bpf_core_read(r->laddr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(r->raddr, 16, &sk->__sk_common.skc_v6_daddr);
	} else if (r->family == AF_UNIX) {
		struct pid *peer = BPF_CORE_READ(sk, sk_peer_pid);

		if (peer) {
			struct upid *u = __builtin_preserve_access_index(&peer->numbers[0]);

			r->peer_pid = BPF_CORE_READ(u, nr);
		}
		return;
	} else {
		return;
	}
	r->lport = BPF_CORE_READ(sk, __sk_common.skc_num);
	r->rport = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

#endif
