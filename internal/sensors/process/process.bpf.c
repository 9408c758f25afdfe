//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Processes: fork, exec, exit, and the cgroups they live in. */
#include "event.h"
#include "task.h"
#include "path.h"
#include "sock.h"

#define ARGS_PART 24576 /* bytes of argv in one record */
#define ARGS_MAX (128 << 10)
#define ARGS_PARTS 5 /* continuation records: ceil((ARGS_MAX - ARGS_PART) / ARGS_PART) */
#define ENV_VARS 384 /* variables looked at */
#define ENV_VALUE 1024 /* bytes kept of one variable, name included */
#define ENV_BYTES 4096 /* bytes kept of all */
#define CGROUP_PATH 1024

enum exec_flag {
	EXEC_ARGS_CUT = 1, /* over ARGS_MAX */
	EXEC_ARGS_FAULT = 2,
	EXEC_ENV_CUT = 4,
	EXEC_BEFORE = 8, /* creds_before is set */
	EXEC_SECURE = 16,
	EXEC_SCRIPT = 32, /* interp differs from filename */
};

struct fork_rec {
	struct event_hdr hdr;
	struct task_rec child;
	__u64 creator_start;
	__u32 creator_pid;
	__u32 pad;
};

struct fd_rec {
	struct file_rec file; /* mode 0: closed or unreadable */
	struct sock_rec sock; /* family 0: no socket */
	__u32 open;
	__u32 pad;
};

struct exec_rec {
	struct event_hdr hdr;
	struct task_rec task;
	struct creds before;
	struct file_rec exe;
	struct fd_rec fds[3];
	__u32 flags; /* enum exec_flag */
	__u32 args_bytes; /* of the whole vector */
	__u16 cwd_len;
	__u8 cwd_status;
	__u8 args_parts; /* continuation records sent before this one */
	__u16 filename_len; /* with NUL */
	__u16 interp_len; /* with NUL */
	__u16 env_len;
	__u16 args_len;
	__u32 pad;
	/* then: exe, cwd, fd paths, filename, interp, env, args */
};

struct args_rec {
	struct event_hdr hdr;
	__u64 start;
	__u32 pid;
	__u32 part; /* from 1 */
	__u32 len;
	__u32 pad;
};

struct exit_rec {
	struct event_hdr hdr;
	__u64 start;
	__u64 cpu_ns;
	__u64 user_ns;
	__u64 system_ns;
	__u64 maxrss; /* pages */
	__u32 pid;
	__u32 code; /* as wait(2) reports it */
};

struct cgroup_rec {
	struct event_hdr hdr;
	__u64 id;
	__u32 hierarchy;
	__u16 op; /* enum cgroup_op */
	__u16 len; /* with NUL */
	char path[CGROUP_PATH];
};

enum cgroup_op {
	CGROUP_MKDIR = 1,
	CGROUP_RMDIR = 2,
	CGROUP_RENAME = 3,
};

struct seed_rec {
	struct event_hdr hdr;
	struct task_rec task;
	struct file_rec exe;
	__u16 cwd_len;
	__u8 cwd_status;
	__u8 pad[5];
	/* then: exe, cwd */
};

/* One record being built in text.buf: the fixed part, then what varies. */
struct scratch {
	__u32 busy;
	__u32 env_skip; /* the string at hand is the rest of a long variable */
	struct text text;
};

/*
 * Maps: values of per-CPU maps end at 32 KiB, so one entry per CPU of an array.
 * The last entry is the iterator's own: unlike the tracepoints it can be
 * preempted, by an exec.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* user space: number of possible CPUs and one */
	__type(key, __u32);
	__type(value, struct scratch);
} proc_scratch SEC(".maps");

/* The iterator's slot of proc_scratch. */
const volatile __u32 seed_slot = 1;

/* Credentials from before an exec, by tgid, until the exec is reported. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct creds);
} proc_before SEC(".maps");

/* scratch_get: claim a scratch for a record with a fixed part of size bytes. */
static __always_inline struct scratch *scratch_get(__u32 slot, __u32 kind, __u32 size)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);

	if (!s || s->busy) {
		event_produced(kind);
		event_lost(kind, LOSS_SCRATCH);
		return NULL;
	}
	s->busy = 1;
	s->text.off = size;
	return s;
}

static __always_inline void scratch_put(struct scratch *s)
{
	s->busy = 0;
}

static __always_inline void scratch_send(struct scratch *s, __u32 kind)
{
	__u32 size = *(volatile __u32 *)&s->text.off;

	if (size > sizeof(s->text.buf))
		size = sizeof(s->text.buf);
	event_output(RING_CRIT, kind, s->text.buf, size);
}

/*
 * The costly parts are global functions: the verifier looks at each of them
 * once, whatever their callers know. Linux 5.10 lets them take scalars only,
 * hence a slot instead of a pointer to scratch, and addresses as numbers.
 */

/* append_path: append the path at `at`; returns its status. */
__noinline int append_path(__u32 slot, __u64 at, __u64 root)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);
	int status;

	if (!s)
		return PATH_FAULT;
	status = path_walk(&s->text, (void *)at, (void *)root);
	if (status == PATH_FAULT)
		event_fault(KIND_EXEC, FAULT_KERNEL_READ);
	return status;
}

/* append_str: append a kernel string of at most PATH_BYTES; returns its length with NUL. */
static __always_inline __u16 append_str(struct text *t, const char *str)
{
	long n;

	if (*(volatile __u32 *)&t->off > TEXT_MAX - 1)
		return 0;
	n = bpf_probe_read_kernel_str(text_at(t), PATH_BYTES, str);
	if (n <= 0) {
		event_fault(KIND_EXEC, FAULT_KERNEL_READ);
		return 0;
	}
	t->off += n;
	return n;
}

/* read_file: fill *r, path included. */
static __always_inline bool read_file(struct scratch *s, __u32 slot, struct file_rec *r,
				      struct file *f, struct path *root)
{
	__u32 start = s->text.off;

	if (!file_read(r, f))
		return false;
	switch (r->mode & S_IFMT) {
	case S_IFSOCK:
		return true;
	}
	r->status =
		append_path(slot, (__u64)__builtin_preserve_access_index(&f->f_path), (__u64)root);
	r->path_len = s->text.off - start;
	return true;
}

/* read_fd: fill fds[num] of the exec record at hand. */
__noinline int read_fd(__u32 slot, __u32 num, __u64 file, __u64 root)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);
	struct file *f = (void *)file;
	struct exec_rec *e;
	struct fd_rec *r;

	if (!s || num > 2)
		return 0;
	e = (void *)s->text.buf;
	r = &e->fds[num];
	if (!read_file(s, slot, &r->file, f, (void *)root))
		return 0;
	r->open = 1;
	if ((r->file.mode & S_IFMT) == S_IFSOCK) {
		struct socket *sock = BPF_CORE_READ(f, private_data);
		struct sock *sk = BPF_CORE_READ(sock, sk);

		if (sk)
			sock_read(&r->sock, sk);
	}
	return 0;
}

static __always_inline void read_fds(__u32 slot, struct task_struct *task, struct path *root)
{
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	unsigned int max = BPF_CORE_READ(fdt, max_fds);
	struct file **fds = BPF_CORE_READ(fdt, fd);

	for (int i = 0; i < 3; i++) {
		struct file *f = NULL;

		if (i >= max)
			break;
		if (bpf_probe_read_kernel(&f, sizeof(f), fds + i)) {
			event_fault(KIND_EXEC, FAULT_KERNEL_READ);
			break;
		}
		if (f)
			read_fd(slot, i, (__u64)f, (__u64)root);
	}
}

/* Names of variables that change what a program loads or runs, by their first bytes. */
#define NAME8(a, b, c, d, e, f, g, h)                                                            \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)

static __always_inline bool env_wanted(__u64 w)
{
	if ((w & 0xffffff) == NAME8('L', 'D', '_', 0, 0, 0, 0, 0))
		return true;
	if ((w & 0xffffffff) == NAME8('E', 'N', 'V', '=', 0, 0, 0, 0))
		return true;
	if ((w & 0xffffffffff) == NAME8('P', 'E', 'R', 'L', '5', 0, 0, 0))
		return true;
	if ((w & 0xffffffffffff) == NAME8('P', 'Y', 'T', 'H', 'O', 'N', 0, 0))
		return true;
	switch (w) {
	case NAME8('G', 'C', 'O', 'N', 'V', '_', 'P', 'A'):
	case NAME8('G', 'L', 'I', 'B', 'C', '_', 'T', 'U'):
	case NAME8('L', 'O', 'C', 'P', 'A', 'T', 'H', '='):
	case NAME8('B', 'A', 'S', 'H', '_', 'E', 'N', 'V'):
	case NAME8('P', 'R', 'O', 'M', 'P', 'T', '_', 'C'):
	case NAME8('H', 'I', 'S', 'T', 'F', 'I', 'L', 'E'):
	case NAME8('R', 'U', 'B', 'Y', 'O', 'P', 'T', '='):
	case NAME8('R', 'U', 'B', 'Y', 'L', 'I', 'B', '='):
	case NAME8('N', 'O', 'D', 'E', '_', 'O', 'P', 'T'):
	case NAME8('J', 'A', 'V', 'A', '_', 'T', 'O', 'O'):
	case NAME8('_', 'J', 'A', 'V', 'A', '_', 'O', 'P'):
		return true;
	}
	return false;
}

/*
 * append_env: each string is read where the next one kept goes, and kept by
 * moving on. A string longer than ENV_VALUE comes in several reads; the first
 * decides.
 */
__noinline int append_env(__u32 slot, __u64 mm_addr)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);
	struct mm_struct *mm = (void *)mm_addr;
	__u64 at = BPF_CORE_READ(mm, env_start), end = BPF_CORE_READ(mm, env_end);
	struct exec_rec *e;
	struct text *t;

	if (!s)
		return 0;
	t = &s->text;
	e = (void *)t->buf;
	t->limit = t->off + ENV_BYTES - ENV_VALUE;
	if (t->limit > TEXT_MAX - ENV_VALUE)
		t->limit = TEXT_MAX - ENV_VALUE;
	s->env_skip = 0;
	for (int i = 0; i < ENV_VARS; i++) {
		__u8 *str = text_at(t);
		long n;

		if (at >= end)
			return 0;
		n = bpf_probe_read_user_str(str, ENV_VALUE, (void *)at);
		if (n <= 0) {
			event_fault(KIND_EXEC, FAULT_USER_READ);
			break;
		}
		if (!*(volatile __u32 *)&s->env_skip && env_wanted(*(__u64 *)str)) {
			if (*(volatile __u32 *)&t->off > t->limit)
				break;
			t->off += n;
		}
		/* a full buffer is a cut string, whose NUL was put there by the helper */
		s->env_skip = n == ENV_VALUE;
		at += n - (n == ENV_VALUE);
	}
	e->flags |= EXEC_ENV_CUT;
	return 0;
}

/* send_args: what of argv does not fit the exec record goes ahead of it. */
__noinline int send_args(__u32 slot, __u64 at, __u64 end, __u32 pid, __u64 start)
{
	struct scratch *s = bpf_map_lookup_elem(&proc_scratch, &slot);
	struct args_rec *a;

	if (!s)
		return 0;
	a = (void *)s->text.buf;

	for (int part = 1; part <= ARGS_PARTS; part++) {
		__u64 n;

		if (at >= end)
			return part - 1;
		n = end - at;
		if (n > ARGS_PART)
			n = ARGS_PART;
		a->pid = pid;
		a->start = start;
		a->pad = 0;
		event_header(&a->hdr, KIND_ARGS);
		a->part = part;
		a->len = n;
		if (bpf_probe_read_user(s->text.buf + sizeof(*a), n, (void *)at)) {
			event_fault(KIND_ARGS, FAULT_USER_READ);
			return part - 1;
		}
		event_output(RING_CRIT, KIND_ARGS, a, sizeof(*a) + n);
		at += n;
	}
	return ARGS_PARTS;
}

/* append_args: the head of argv, after everything else. */
static __always_inline void append_args(struct text *t, struct exec_rec *e, __u64 at, __u64 end)
{
	__u64 n = end - at;

	if (at >= end)
		return;
	if (n > ARGS_PART)
		n = ARGS_PART;
	if (bpf_probe_read_user(text_at(t), n, (void *)at)) {
		event_fault(KIND_EXEC, FAULT_USER_READ);
		e->flags |= EXEC_ARGS_FAULT;
		return;
	}
	e->args_len = n;
	t->off += n;
}

static __always_inline void fill_exec(struct scratch *s, __u32 slot, struct task_struct *task,
				      struct linux_binprm *bprm)
{
	struct text *t = &s->text;
	struct exec_rec *e = (void *)t->buf;
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct path *root = __builtin_preserve_access_index(&fs->root);
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	const char *filename = BPF_CORE_READ(bprm, filename), *interp = BPF_CORE_READ(bprm, interp);
	__u64 args = BPF_CORE_READ(mm, arg_start), args_end = BPF_CORE_READ(mm, arg_end);
	struct creds *before;
	__u32 start;

	event_header(&e->hdr, KIND_EXEC);
	task_read(&e->task, task);
	before = bpf_map_lookup_elem(&proc_before, &e->task.pid);
	if (before) {
		e->before = *before;
		e->flags |= EXEC_BEFORE;
		bpf_map_delete_elem(&proc_before, &e->task.pid);
	}
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
		e->flags |= EXEC_SECURE;
	if (!exe || !read_file(s, slot, &e->exe, exe, root))
		e->exe.status = PATH_FAULT;
	start = t->off;
	e->cwd_status =
		append_path(slot, (__u64)__builtin_preserve_access_index(&fs->pwd), (__u64)root);
	e->cwd_len = t->off - start;
	read_fds(slot, task, root);
	e->filename_len = append_str(t, filename);
	if (interp != filename) {
		e->flags |= EXEC_SCRIPT;
		e->interp_len = append_str(t, interp);
	}
	start = t->off;
	append_env(slot, (__u64)mm);
	e->env_len = t->off - start;
	e->args_bytes = args_end - args;
	if (args_end - args > ARGS_MAX)
		e->flags |= EXEC_ARGS_CUT;
	append_args(t, e, args, args_end);
}

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
	event_produced(KIND_TASK);
	bpf_seq_write(seq, e, size);
	scratch_put(s);
	return 0;
}

/* What Go needs of the types above; a pointer that stays NULL puts them into BTF. */
struct wire_types {
	struct fork_rec fork;
	struct exec_rec exec;
	struct args_rec args;
	struct exit_rec exit;
	struct cgroup_rec cgroup;
	struct seed_rec seed;
	enum event_kind kind;
	enum exec_flag exec_flag;
	enum path_status path_status;
	enum file_flag file_flag;
	enum cgroup_op cgroup_op;
};

const volatile struct wire_types *const volatile wire_types = NULL;

char LICENSE[] SEC("license") = "Dual BSD/GPL";
