//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Canaries: one small program per mechanism of the kernel. Each acts on
 * nothing but our own process, its children, one temporary file, one temporary
 * cgroup or one network namespace of our own.
 */
#include "kernel.h"
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define SIGKILL 9
#define XDP_DROP 1
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define NF_DROP 0
#define PORT_DISCARD 0x0900 /* 9 in network byte order */

/* Knobs: who and what a canary acts on. */
const volatile __u32 canary_tgid; /* our thread group, initial pid namespace */
const volatile __u64 canary_ino; /* the temporary file's inode number */
const volatile __u16 canary_port; /* local TCP port, host byte order */

enum slot {
	SLOT_SEEN = 0,
	SLOT_CHILD = 1,
	SLOT_MAX = 4,
};

/* Puts the enumeration into BTF, for Go. */
const volatile enum slot unused_slot;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} canary_hits SEC(".maps");

struct __sk_buff;
struct xdp_md;
struct bpf_sock_addr;
struct bpf_nf_ctx;

/* include/uapi/linux/in.h: the kernel's name for the type above */
struct sockaddr_in {
	unsigned short sin_family;
	__be16 sin_port;
} __attribute__((preserve_access_index));

struct sockaddr;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

static __always_inline int seen(void)
{
	__u32 slot = SLOT_SEEN;
	__u64 *n = bpf_map_lookup_elem(&canary_hits, &slot);

	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

static __always_inline bool ours(void)
{
	return bpf_get_current_pid_tgid() >> 32 == canary_tgid;
}

/* The current task is a child of our process. */
static __always_inline bool child(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, real_parent, tgid) == canary_tgid;
}

static __always_inline bool target(struct inode *inode)
{
	return canary_ino && BPF_CORE_READ(inode, i_ino) == canary_ino;
}

static __always_inline bool target_exec(struct linux_binprm *bprm)
{
	return child() && target(BPF_CORE_READ(bprm, file, f_inode));
}

static __always_inline bool target_open(struct file *file)
{
	return ours() && target(BPF_CORE_READ(file, f_inode));
}

static __always_inline bool target_unlink(struct dentry *dentry)
{
	return ours() && target(BPF_CORE_READ(dentry, d_inode));
}

static __always_inline bool target_connect(void *addr)
{
	struct sockaddr_in *in = addr;

	return ours() && BPF_CORE_READ(in, sin_family) == AF_INET &&
	       BPF_CORE_READ(in, sin_port) == PORT_DISCARD;
}

/* Whoever runs this by BPF_PROG_RUN learns its thread group in the initial namespace. */
SEC("raw_tp/sched_process_exit")
int c_whoami(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* The thread that our process forked last. */
SEC("raw_tp/sched_process_fork")
int c_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[1];
	__u32 slot = SLOT_CHILD;
	__u64 *pid;

	if (!ours() || BPF_CORE_READ(task, tgid) == canary_tgid)
		return 0;
	pid = bpf_map_lookup_elem(&canary_hits, &slot);
	if (pid)
		*pid = BPF_CORE_READ(task, tgid);
	return 0;
}

/* Events */

SEC("raw_tp/sched_process_exec")
int c_raw_tp(void *ctx)
{
	return child() ? seen() : 0;
}

SEC("tp_btf/sched_process_exec")
int c_tp_btf(void *ctx)
{
	return child() ? seen() : 0;
}

SEC("tracepoint/sched/sched_process_exec")
int c_tracepoint(void *ctx)
{
	return child() ? seen() : 0;
}

SEC("fentry/security_bprm_check")
int c_fentry(void *ctx)
{
	return child() ? seen() : 0;
}

SEC("kprobe/security_bprm_check")
int c_kprobe(void *ctx)
{
	return child() ? seen() : 0;
}

SEC("iter/task")
int c_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	return task && task->tgid == canary_tgid ? seen() : 0;
}

/* Exec */

SEC("lsm/bprm_check_security")
int BPF_PROG(c_lsm_exec, struct linux_binprm *bprm, int ret)
{
	return !ret && target_exec(bprm) ? -EPERM : ret;
}

SEC("fmod_ret/security_bprm_check")
int BPF_PROG(c_mod_exec, struct linux_binprm *bprm, int ret)
{
	return !ret && target_exec(bprm) ? -EPERM : ret;
}

SEC("raw_tp/sched_process_exec")
int c_kill_exec(struct bpf_raw_tracepoint_args *ctx)
{
	if (target_exec((void *)ctx->args[2]) && !bpf_send_signal(SIGKILL))
		seen();
	return 0;
}

/* Files */

SEC("lsm/file_open")
int BPF_PROG(c_lsm_open, struct file *file, int ret)
{
	return !ret && target_open(file) ? -EPERM : ret;
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(c_mod_open, struct file *file, int ret)
{
	return !ret && target_open(file) ? -EPERM : ret;
}

SEC("lsm/inode_unlink")
int BPF_PROG(c_lsm_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	return !ret && target_unlink(dentry) ? -EPERM : ret;
}

SEC("fmod_ret/security_inode_unlink")
int BPF_PROG(c_mod_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	return !ret && target_unlink(dentry) ? -EPERM : ret;
}

/* Connections */

SEC("lsm/socket_connect")
int BPF_PROG(c_lsm_conn, struct socket *sock, struct sockaddr *addr, int len, int ret)
{
	return !ret && target_connect(addr) ? -EPERM : ret;
}

SEC("fmod_ret/security_socket_connect")
int BPF_PROG(c_mod_conn, struct socket *sock, struct sockaddr *addr, int len, int ret)
{
	return !ret && target_connect(addr) ? -EPERM : ret;
}

SEC("cgroup/connect4")
int c_connect4(struct bpf_sock_addr *ctx)
{
	seen();
	return 0;
}

SEC("cgroup/connect6")
int c_connect6(struct bpf_sock_addr *ctx)
{
	seen();
	return 0;
}

SEC("iter/tcp")
int c_destroy(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;

	if (sk && sk->skc_num == canary_port && !bpf_sock_destroy(sk))
		seen();
	return 0;
}

/* Packets */

SEC("xdp")
int c_xdp(struct xdp_md *ctx)
{
	seen();
	return XDP_DROP;
}

SEC("tcx/ingress")
int c_tcx(struct __sk_buff *ctx)
{
	seen();
	return TC_ACT_SHOT;
}

SEC("tc")
int c_tc(struct __sk_buff *ctx)
{
	seen();
	return TC_ACT_SHOT;
}

SEC("netfilter")
int c_netfilter(struct bpf_nf_ctx *ctx)
{
	seen();
	return NF_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
