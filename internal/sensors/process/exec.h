/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Filling the exec record. */
#ifndef MERLON_PROCESS_EXEC_H
#define MERLON_PROCESS_EXEC_H

#include "scratch.h"

/* Credentials from before an exec, by tgid, until the exec is reported. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct creds);
} proc_before SEC(".maps");

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

#endif
