/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Scratch space in which records are built, and what is remembered of acts. */
#ifndef MERLON_FILE_SCRATCH_H
#define MERLON_FILE_SCRATCH_H

#include "record.h"

/*
 * An act on a file, from its hook to its record. Acts whose outcome another
 * hook tells wait in file_acts. Addresses are numbers: the objects live as long
 * as the act does.
 */
struct act {
	__u64 dentry; /* acted upon; for rename and link the old name */
	__u64 mnt;
	__u64 dir; /* rename, when told afterwards: where the old name was */
	__u64 dentry2; /* rename, link: the new name */
	__u64 mnt2;
	__u64 text; /* symlink: its contents; xattr: name */
	__u64 ino;
	__u64 size;
	__u32 kind;
	__u32 flags;
	__s32 result;
	__u32 dev;
	__u32 uid, gid, nlink; /* before */
	__u32 want_uid, want_gid;
	__u16 mode; /* before */
	__u16 want_mode;
	__u16 bits;
	__u16 pad;
	__u32 pad2;
};

/* place: struct path (include/linux/path.h, the same since 2.6.20), as numbers. */
struct place {
	__u64 mnt;
	__u64 dentry;
};

struct file_scratch {
	__u32 busy;
	__u32 pad;
	struct act act;
	struct place at;
	struct watch_key key;
	struct name_key name;
	struct text text;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* user space: twice the number of possible CPUs */
	__type(key, __u32);
	__type(value, struct file_scratch);
} file_scratch SEC(".maps");

/* Acts under way, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct act);
} file_acts SEC(".maps");

/* Text that an act under way overwrites: a rename's old name, a mount's options. */
struct old_name {
	__u32 kind;
	__u32 len;
	__u8 name[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct old_name);
} file_old SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct file_conf);
} file_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct watch_key);
	__type(value, __u32); /* enum watch_flag */
} file_watch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name_key);
	__type(value, __u32);
} file_names SEC(".maps");

/*
 * scratch_get: claim one of the two scratches of this CPU. Programs on
 * trampolines may be preempted, and Linux 5.10 has no atomic exchange for BPF:
 * whoever adds one and then reads one has it.
 */
static __always_inline struct file_scratch *scratch_get(__u32 kind, __u32 *slot)
{
	__u32 at = bpf_get_smp_processor_id() * 2;

	for (int i = 0; i < 2; i++, at++) {
		struct file_scratch *s = bpf_map_lookup_elem(&file_scratch, &at);

		if (!s)
			break;
		__sync_fetch_and_add(&s->busy, 1);
		if (*(volatile __u32 *)&s->busy == 1) {
			*slot = at;
			return s;
		}
		__sync_fetch_and_add(&s->busy, -1);
	}
	event_produced(kind);
	event_lost(kind, LOSS_SCRATCH);
	return NULL;
}

static __always_inline void scratch_put(struct file_scratch *s)
{
	__sync_fetch_and_add(&s->busy, -1);
}

/*
 * append_path: append the path at s->at as the current task sees it; returns
 * its status. A global function: the verifier looks at it once. Linux 5.10 lets
 * it take scalars only.
 */
__noinline int append_path(__u32 slot)
{
	struct file_scratch *s = bpf_map_lookup_elem(&file_scratch, &slot);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	if (!s || !fs)
		return PATH_FAULT;
	return path_walk(&s->text, (struct path *)&s->at,
			 __builtin_preserve_access_index(&fs->root));
}

/* append_str: append a kernel string of at most max bytes; returns its length without NUL. */
static __always_inline __u16 append_str(struct text *t, __u32 kind, __u64 str, __u32 max)
{
	long n;

	if (*(volatile __u32 *)&t->off > TEXT_MAX - 1)
		return 0;
	n = bpf_probe_read_kernel_str(text_at(t), max, (void *)str);
	if (n <= 0) {
		event_fault(kind, FAULT_KERNEL_READ);
		return 0;
	}
	t->off += n - 1;
	return n - 1;
}

#endif
