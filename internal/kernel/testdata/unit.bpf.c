//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Programs for the tests of internal/kernel. */
#include "event.h"
#include <bpf/bpf_tracing.h>

const volatile __u32 t_tgid; /* whose acts are recorded */
const volatile __u64 t_gen; /* goes into every record */
const volatile bool t_silent;

struct t_record {
	struct event_hdr hdr;
	__u32 pid;
	__u32 pad;
	__u64 gen;
	char comm[16];
};

const volatile struct t_record unused_record;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} t_seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, __u64[64]);
} t_huge SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, int(void *));
} t_tails SEC(".maps");

struct __sk_buff;
struct xdp_md;
struct bpf_sock_addr;

static __always_inline void report(enum event_ring ring, __u32 kind, struct task_struct *task)
{
	struct t_record r = {};

	if (t_silent)
		return;
	event_header(&r.hdr, kind);
	r.pid = BPF_CORE_READ(task, tgid);
	r.gen = t_gen;
	BPF_CORE_READ_STR_INTO(&r.comm, task, comm);
	event_output(ring, kind, &r, sizeof(r));
}

/* A child of the test's process executes. */
SEC("raw_tp/sched_process_exec")
int t_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];

	if (!t_tgid || BPF_CORE_READ(task, real_parent, tgid) == t_tgid)
		report(RING_CRIT, KIND_EXEC, task);
	return 0;
}

/* A thread of the test's process names itself: a numbered act at no cost. */
SEC("raw_tp/task_rename")
int t_rename(struct bpf_raw_tracepoint_args *ctx)
{
	struct t_record r = {};

	if (bpf_get_current_pid_tgid() >> 32 != t_tgid)
		return 0;
	event_header(&r.hdr, KIND_TASK);
	r.gen = t_gen;
	bpf_probe_read_kernel_str(&r.comm, sizeof(r.comm), (void *)ctx->args[1]);
	event_output(RING_BULK, KIND_TASK, &r, sizeof(r));
	return 0;
}

SEC("raw_tp/sys_enter")
int t_never(void *ctx)
{
	__u32 key = 0;

	bpf_map_lookup_elem(&t_huge, &key);
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int t_point(void *ctx)
{
	__u32 key = bpf_get_current_pid_tgid() >> 32;
	__u64 one = 1;

	if (bpf_map_update_elem(&t_seen, &key, &one, BPF_ANY))
		event_fault(KIND_EXEC, FAULT_MAP_UPDATE);
	return 0;
}

SEC("kprobe/security_bprm_check")
int t_kprobe(void *ctx)
{
	return 0;
}

SEC("raw_tp/sched_process_fork")
int t_call(struct bpf_raw_tracepoint_args *ctx)
{
	bpf_tail_call(ctx, &t_tails, 0);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int t_callee(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == t_tgid)
		report(RING_CRIT, KIND_FORK, (void *)ctx->args[1]);
	return 0;
}

SEC("iter/task")
int t_iter(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 pid;

	if (!task)
		return 0;
	pid = task->tgid;
	bpf_seq_write(ctx->meta->seq, &pid, sizeof(pid)); /* too full: called again */
	return 0;
}

SEC("xdp")
int t_xdp(struct xdp_md *ctx)
{
	return t_gen; /* the verdict */
}

SEC("cgroup/connect4")
int t_connect4(struct bpf_sock_addr *ctx)
{
	return t_gen; /* 1 lets pass */
}

/* The verifier must refuse this one. */
SEC("raw_tp/sched_process_exec")
int t_bad(void *ctx)
{
	__u32 key = 0;
	__u64 *v = bpf_map_lookup_elem(&t_seen, &key);

	return *v;
}

char _license[] SEC("license") = "Dual BSD/GPL";
