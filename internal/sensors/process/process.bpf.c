//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Processes: fork, exec, exit, and the cgroups they live in. */
#include "exec.h"

SEC("raw_tp/sched_process_exec")
int proc_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct linux_binprm *bprm = (void *)ctx->args[2];
	__u32 slot = bpf_get_smp_processor_id(), parts = 0;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 args = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	struct scratch *s = scratch_get(slot, KIND_EXEC, sizeof(struct exec_rec));
	struct exec_rec *e;

	if (!s)
		return 0;
	if (end - args > ARGS_PART)
		parts = send_args(slot, args + ARGS_PART,
				  end - args > ARGS_MAX ? args + ARGS_MAX : end,
				  BPF_CORE_READ(task, tgid),
				  BPF_CORE_READ(task, group_leader, start_boottime));
	e = (void *)s->text.buf;
	__builtin_memset(e, 0, sizeof(*e));
	e->args_parts = parts;
	fill_exec(s, slot, task, bprm);
	scratch_send(s, KIND_EXEC);
	scratch_put(s);
	return 0;
}

static __always_inline int save_creds(struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct creds c = {};

	creds_read(&c, BPF_CORE_READ(task, cred));
	if (bpf_map_update_elem(&proc_before, &tgid, &c, BPF_ANY))
		event_fault(KIND_CREDS, FAULT_MAP_UPDATE);
	return 0;
}

/* Linux 6.12+ (5c5fad46e48c "tracing/sched: sched_prepare_exec tracepoint") */
SEC("raw_tp/sched_prepare_exec")
int proc_prepare(struct bpf_raw_tracepoint_args *ctx)
{
	return save_creds((void *)ctx->args[0]);
}

/* before 6.12: the last call before the new credentials take hold */
SEC("kprobe/security_bprm_committing_creds")
int proc_prepare_kp(void *ctx)
{
	return save_creds((void *)bpf_get_current_task());
}

SEC("raw_tp/sched_process_fork")
int proc_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	struct fork_rec *r;

	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; /* a thread */
	r = event_reserve(RING_BULK, KIND_FORK, sizeof(*r));
	if (!r)
		return 0;
	__builtin_memset(&r->child, 0, sizeof(*r) - offsetof(struct fork_rec, child));
	task_read(&r->child, child);
	r->creator_pid = BPF_CORE_READ(parent, tgid);
	r->creator_start = BPF_CORE_READ(parent, group_leader, start_boottime);
	event_submit(RING_BULK, r);
	return 0;
}

/*
 * sched_process_exit comes once per thread, after signal->live was counted
 * down: the last thread sees zero. Two threads that leave at the same moment
 * may both see it; user space drops the second report.
 */
SEC("raw_tp/sched_process_exit")
int proc_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *sig = BPF_CORE_READ(task, signal);
	struct exit_rec *r;

	if (BPF_CORE_READ(sig, live.counter) != 0)
		return 0;
	r = event_reserve(RING_CRIT, KIND_EXIT, sizeof(*r));
	if (!r)
		return 0;
	r->pid = BPF_CORE_READ(task, tgid);
	r->start = BPF_CORE_READ(leader, start_boottime);
	r->cpu_ns =
		BPF_CORE_READ(sig, sum_sched_runtime) + BPF_CORE_READ(task, se.sum_exec_runtime);
	r->user_ns = BPF_CORE_READ(sig, utime) + BPF_CORE_READ(task, utime);
	r->system_ns = BPF_CORE_READ(sig, stime) + BPF_CORE_READ(task, stime);
	if (leader !=
	    task) { /* threads add their share when released, the leader stays to the end */
		r->cpu_ns += BPF_CORE_READ(leader, se.sum_exec_runtime);
		r->user_ns += BPF_CORE_READ(leader, utime);
		r->system_ns += BPF_CORE_READ(leader, stime);
	}
	r->maxrss = BPF_CORE_READ(sig, maxrss);
	r->code = BPF_CORE_READ(leader, exit_code);
	if (BPF_CORE_READ(sig, flags) & SIGNAL_GROUP_EXIT)
		r->code = BPF_CORE_READ(sig, group_exit_code);
	event_submit(RING_CRIT, r);
	return 0;
}

static __always_inline int cgroup_event(struct bpf_raw_tracepoint_args *ctx, __u16 op)
{
	struct cgroup *cgrp = (void *)ctx->args[0];
	struct cgroup_rec *r;
	long n;

	r = event_reserve(RING_CRIT, KIND_CGROUP, sizeof(*r));
	if (!r)
		return 0;
	r->id = BPF_CORE_READ(cgrp, kn, id);
	r->hierarchy = BPF_CORE_READ(cgrp, root, hierarchy_id);
	r->op = op;
	n = bpf_probe_read_kernel_str(r->path, sizeof(r->path), (void *)ctx->args[1]);
	if (n < 0) {
		event_fault(KIND_CGROUP, FAULT_KERNEL_READ);
		n = 0;
	}
	r->len = n;
	event_submit(RING_CRIT, r);
	return 0;
}

SEC("raw_tp/cgroup_mkdir")
int proc_cg_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	return cgroup_event(ctx, CGROUP_MKDIR);
}

SEC("raw_tp/cgroup_rmdir")
int proc_cg_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	return cgroup_event(ctx, CGROUP_RMDIR);
}

SEC("raw_tp/cgroup_rename")
int proc_cg_rename(struct bpf_raw_tracepoint_args *ctx)
{
	return cgroup_event(ctx, CGROUP_RENAME);
}

/* One record per process that exists; read by user space, no ring involved. */
SEC("iter/task")
int proc_seed(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct fs_struct *fs;
	struct path *root;
	struct file *exe;
	struct scratch *s;
	struct seed_rec *e;
	__u32 size, start, slot;

	if (!task || task->pid != task->tgid)
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		return 0; /* a zombie */
	slot = seed_slot;
	s = scratch_get(slot, KIND_TASK, sizeof(struct seed_rec));
	if (!s)
		return 0;
	e = (void *)s->text.buf;
	__builtin_memset(e, 0, sizeof(*e));
	event_header(&e->hdr, KIND_TASK);
	task_read(&e->task, task);
	fs = BPF_CORE_READ(task, fs);
	root = __builtin_preserve_access_index(&fs->root);
	exe = BPF_CORE_READ(task, mm, exe_file);
	if (exe)
		read_file(s, slot, &e->exe, exe, root);
	start = s->text.off;
	if (fs)
		e->cwd_status = append_path(slot, (__u64)__builtin_preserve_access_index(&fs->pwd),
					    (__u64)root);
	e->cwd_len = s->text.off - start;
	size = *(volatile __u32 *)&s->text.off;
	if (size > TEXT_MAX)
		size = TEXT_MAX;
	/* what doesn't fit the buffer of this read is asked for again, by the kernel */
	bpf_seq_write(seq, e, size);
	scratch_put(s);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
