//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sockets: connections, listeners, flows, and what is made of them. */
#include "flow.h"
#include "regs.h"

/* Every change of state of a TCP socket: include/trace/events/sock.h */
SEC("tp_btf/inet_sock_set_state")
int net_state(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = ctx[1], new = ctx[2];

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0; /* of MPTCP the subflows are told, which are TCP */
	if (new == TCP_SYN_SENT) {
		if (net_cookies)
			bpf_get_socket_cookie(sk);
		tcp_try(sk);
	} else if (new == TCP_LISTEN) {
		if (net_cookies)
			bpf_get_socket_cookie(sk);
		tcp_listen(sk);
	} else if (new == TCP_SYN_RECV && old == TCP_LISTEN) {
		tcp_cloned(sk);
	} else if (new == TCP_ESTABLISHED) {
		tcp_up(sk, old);
	} else if (new == TCP_CLOSE) {
		tcp_down(sk, old);
	}
	return 0;
}

/* accept_returned: accept(2) has taken sk, in the accepting process. */
static __always_inline int accept_returned(struct sock *sk)
{
	struct net_sock *n;

	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	n = sock_find(sk);
	if (!n) {
		struct net_sock fresh = {.notes = NOTE_IN | NOTE_UP};

		fresh.start = bpf_ktime_get_boot_ns();
		sock_note(sk, &fresh, KIND_NET_ACCEPT);
		n = sock_find(sk);
	}
	if (n)
		actor_current(&n->actor);
	tcp_accepted(sk, n);
	return 0;
}

/* Its arguments are two since Linux 6.10 (92ef0fd55ac8), were four before. */
SEC("fexit/inet_csk_accept")
int net_accept_fx(__u64 *ctx)
{
	if (bpf_core_type_exists(struct proto_accept_arg___net))
		return accept_returned((void *)ctx[2]);
	return accept_returned((void *)ctx[4]);
}

SEC("cgroup/connect4")
int net_connect4(struct bpf_sock_addr *ctx)
{
	connect_called(ctx, false);
	return 1;
}

SEC("cgroup/connect6")
int net_connect6(struct bpf_sock_addr *ctx)
{
	connect_called(ctx, true);
	return 1;
}

/* inet_stream_connect(sock, uaddr, addr_len, flags), for IPv6 too */
SEC("fexit/inet_stream_connect")
int net_tried_fx(__u64 *ctx)
{
	struct socket *sock = (void *)ctx[0];
	struct sock *sk = BPF_CORE_READ(sock, sk);
	struct net_sock *n = sock_find(sk);

	if (n && n->notes & NOTE_TRY && (int)ctx[4] < 0)
		tell_try(sk, n, ctx[4]);
	return 0;
}

SEC("cgroup/post_bind4")
int net_bind4(struct bpf_sock *ctx)
{
	bound(ctx);
	return 1;
}

SEC("cgroup/post_bind6")
int net_bind6(struct bpf_sock *ctx)
{
	bound(ctx);
	return 1;
}

/* The maker of a UDP socket stays the one its flows are told of. */
SEC("cgroup/sock_create")
int net_make(struct bpf_sock *ctx)
{
	struct net_sock n = {.notes = NOTE_UDP};

	if (!is_udp(ctx->protocol))
		return 1;
	bpf_get_socket_cookie(ctx);
	actor_current(&n.actor);
	n.start = bpf_ktime_get_boot_ns();
	sock_note(kernel_address(ctx), &n, KIND_NET_FLOW);
	return 1;
}

/* Linux 5.9+ (f5836749c9c0) */
SEC("cgroup/sock_release")
int net_release(struct bpf_sock *ctx)
{
	struct sock *sk;
	struct net_sock *n;

	if (ctx->type != SOCK_STREAM && !is_udp(ctx->protocol))
		return 1;
	sk = kernel_address(ctx);
	n = sock_find(sk);
	if (!n)
		return 1;
	if (n->notes & NOTE_TRY) {
		tell_try(sk, n, 0);
		sock_forget(sk);
	} else if (ctx->type != SOCK_STREAM) {
		flow_end(sk, n);
		sock_forget(sk);
	}
	return 1;
}

SEC("cgroup_skb/egress")
int net_out(struct __sk_buff *skb)
{
	flow_packet(skb, false);
	return 1;
}

SEC("cgroup_skb/ingress")
int net_in(struct __sk_buff *skb)
{
	flow_packet(skb, true);
	return 1;
}

static __always_inline bool is_raw(int family, int type)
{
	if (family == AF_PACKET)
		return true;
	return (family == AF_INET || family == AF_INET6) &&
	       (type == SOCK_RAW || type == SOCK_PACKET);
}

SEC("fentry/security_socket_post_create")
int net_raw_fe(__u64 *ctx)
{
	struct socket *sock = (void *)ctx[0];
	int family = ctx[1], type = ctx[2];

	if (is_raw(family, type) && !(int)ctx[4])
		raw_made(BPF_CORE_READ(sock, sk), family, type, ctx[3]);
	return 0;
}

SEC("kprobe/security_socket_post_create")
int net_raw_kp(struct pt_regs *ctx)
{
	struct socket *sock = (void *)REGS_1(ctx);
	int family = REGS_2(ctx), type = REGS_3(ctx);

	if (is_raw(family, type) && !(int)REGS_5(ctx))
		raw_made(BPF_CORE_READ(sock, sk), family, type, REGS_4(ctx));
	return 0;
}

/* Raw sockets of IP; those of the link layer pass it by. */
SEC("cgroup/sock_create")
int net_raw_cg(struct bpf_sock *ctx)
{
	if (ctx->type == SOCK_RAW)
		raw_made(kernel_address(ctx), ctx->family, SOCK_RAW, ctx->protocol);
	return 1;
}

/*
 * Linux 6.13+. Who makes a packet socket is asked for CAP_NET_RAW just before;
 * that it is socket(2), and what it asks for, the kernel's copy of the registers tells.
 */
SEC("tp_btf/cap_capable")
int net_raw_cap(__u64 *ctx)
{
	struct task_struct *task;
	struct pt_regs *regs;

	if ((int)ctx[3] != CAP_NET_RAW || (int)ctx[4])
		return 0;
	task = bpf_get_current_task_btf();
	regs = (void *)bpf_task_pt_regs(task);
	if (SYSCALL_NR(regs) != NR_SOCKET || (int)SYSCALL_1(regs) != AF_PACKET)
		return 0;
	raw_made(NULL, AF_PACKET, SYSCALL_2(regs) & SOCK_TYPE_MASK, SYSCALL_3(regs));
	return 0;
}

/* Linux 6.7+ (859051dd165e): connect(2) as asked for, before the name is looked up */
SEC("cgroup/connect_unix")
int net_unix_cg(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_addr_kern___net *kern = bpf_cast_to_kern_ctx(ctx);
	struct sockaddr_un *addr = (void *)BPF_CORE_READ(kern, uaddr);
	__u32 len = BPF_CORE_READ(kern, uaddrlen);

	if (len > sizeof(addr->sun_family))
		unix_called(BPF_CORE_READ(kern, sk), &addr->sun_path,
			    len - sizeof(addr->sun_family), false);
	return 1;
}

static __always_inline int unix_reached(struct sock *sk, struct sock *other)
{
	struct unix_sock *u = (void *)other;
	struct unix_address *addr = BPF_CORE_READ(u, addr);
	__u32 len;

	if (!addr)
		return 0;
	len = BPF_CORE_READ(addr, len);
	if (len > sizeof(addr->name[0].sun_family))
		unix_called(sk, &addr->name[0].sun_path, len - sizeof(addr->name[0].sun_family),
			    true);
	return 0;
}

/* security_unix_stream_connect(sock, other, newsk): the name was found, and who listens takes it */
SEC("fentry/security_unix_stream_connect")
int net_unix_fe(__u64 *ctx)
{
	return unix_reached((void *)ctx[0], (void *)ctx[1]);
}

SEC("kprobe/security_unix_stream_connect")
int net_unix_kp(struct pt_regs *ctx)
{
	return unix_reached((void *)REGS_1(ctx), (void *)REGS_2(ctx));
}

/* What open files say of sockets that were there before us. */
SEC("iter/task_file")
int net_seed(struct bpf_iter__task_file___net *ctx)
{
	struct net_sock n = {.notes = NOTE_OLD}, *known;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *sock;
	struct net_rec *r;
	struct sock *sk;
	__u16 family, protocol;
	int state;

	if (!task || !file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	sock = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(sock, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == IPPROTO_MPTCP && bpf_core_field_exists(struct mptcp_sock___net, first)) {
		sk = BPF_CORE_READ((struct mptcp_sock___net *)sk, first);
		protocol = IPPROTO_TCP;
	}
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (!sk || (protocol == IPPROTO_TCP ? state == TCP_CLOSE : !is_udp(protocol)))
		return 0;
	if (protocol != IPPROTO_TCP)
		n.notes |= NOTE_UDP;
	else if (state == TCP_SYN_SENT)
		n.notes |= NOTE_OUT;
	actor_read(&n.actor, task);
	known = sock_find(sk); /* made since, held by several processes, or seeded before */
	if (!known) {
		sock_note(sk, &n, KIND_NET_LISTEN);
		known = sock_find(sk);
	}
	if (state != TCP_LISTEN || protocol != IPPROTO_TCP || !net_wanted(KIND_NET_LISTEN))
		return 0;
	if (!known || (known->notes & (NOTE_OLD | NOTE_TOLD)) != NOTE_OLD)
		return 0;
	known->notes |= NOTE_TOLD;
	r = net_begin(KIND_NET_LISTEN, sk, known);
	if (!r)
		return 0;
	r->value = BPF_CORE_READ(more(sk), sk_max_ack_backlog);
	event_submit(RING_BULK, r);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
