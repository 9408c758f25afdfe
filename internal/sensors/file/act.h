/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From an act to its record: the same on every tier. */
#ifndef MERLON_FILE_ACT_H
#define MERLON_FILE_ACT_H

#include "scratch.h"

/* The agent itself, whose acts are not told; 0 tells all. */
const volatile __u32 file_self;

/* include/linux/sched.h: a worker thread of io_uring */
#define PF_IO_WORKER 0x00000010

static __always_inline struct file_conf *conf(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&file_config, &zero);
}

static __always_inline bool wanted(__u32 kind)
{
	struct file_conf *c = conf();

	if (file_self && bpf_get_current_pid_tgid() >> 32 == file_self)
		return false;
	return c && c->kinds & 1ULL << kind;
}

/* pseudo: file systems that hold no files of anybody (include/uapi/linux/magic.h). */
static __always_inline bool pseudo(struct super_block *sb)
{
	switch (BPF_CORE_READ(sb, s_magic)) {
	case 0x9fa0: /* proc */
	case 0x62656572: /* sysfs */
	case 0x27e0eb: /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x50495045: /* pipefs */
	case 0x534f434b: /* sockfs */
	case 0x09041934: /* anon_inode */
	case 0x1cd1: /* devpts */
	case 0xcafe4a11: /* bpf */
	case 0x74726163: /* tracefs */
	case 0x64626720: /* debugfs */
	case 0x73636673: /* securityfs */
	case 0x6e736673: /* nsfs */
	case 0x50494446: /* pidfs */
	case 0xf97cff8c: /* selinuxfs */
		return true;
	}
	return false;
}

/* before: what the file is like before the act; false when nobody wants to know. */
static __always_inline bool before(struct act *a, __u32 kind, struct dentry *d,
				   struct vfsmount *mnt)
{
	struct super_block *sb = BPF_CORE_READ(d, d_sb);
	struct inode *inode = BPF_CORE_READ(d, d_inode);

	if (!wanted(kind) || pseudo(sb))
		return false;
	a->kind = kind;
	a->dentry = (__u64)d;
	a->mnt = (__u64)mnt;
	a->dev = BPF_CORE_READ(sb, s_dev);
	if (!inode)
		return true;
	a->ino = BPF_CORE_READ(inode, i_ino);
	a->size = BPF_CORE_READ(inode, i_size);
	a->uid = BPF_CORE_READ(inode, i_uid.val);
	a->gid = BPF_CORE_READ(inode, i_gid.val);
	a->nlink = BPF_CORE_READ(inode, i_nlink);
	a->mode = BPF_CORE_READ(inode, i_mode);
	return true;
}

/* attributes: what the file is like now, or was for what is gone. */
static __always_inline void attributes(struct act_rec *r, struct act *a, struct dentry *d)
{
	struct super_block *sb = BPF_CORE_READ(d, d_sb);
	struct inode *inode = BPF_CORE_READ(d, d_inode);

	r->dev = a->dev;
	if (bpf_probe_read_kernel_str(r->fs, sizeof(r->fs), BPF_CORE_READ(sb, s_type, name)) < 0)
		event_fault(a->kind, FAULT_KERNEL_READ);
	if (inode && BPF_CORE_READ(sb, s_magic) == OVERLAYFS_SUPER_MAGIC && file_upper(inode))
		r->bits |= BIT_UPPER;
	r->ino = a->ino;
	r->size = a->size;
	r->uid = a->uid;
	r->gid = a->gid;
	r->nlink = a->nlink;
	r->mode = a->mode;
	if (!inode || a->kind == KIND_FILE_DELETE)
		return;
	r->ino = BPF_CORE_READ(inode, i_ino);
	r->size = BPF_CORE_READ(inode, i_size);
	r->uid = BPF_CORE_READ(inode, i_uid.val);
	r->gid = BPF_CORE_READ(inode, i_gid.val);
	r->nlink = BPF_CORE_READ(inode, i_nlink);
	r->mode = BPF_CORE_READ(inode, i_mode);
}

/* changed: of a change of mode or owner the wish, unless it is known to have come true. */
static __always_inline void changed(struct act_rec *r, struct act *a)
{
	bool done = !a->result && !(a->bits & BIT_NO_RESULT);

	if (a->kind == KIND_FILE_CHMOD) {
		r->old_mode = a->mode;
		if (!done)
			r->mode = (a->mode & S_IFMT) | (a->want_mode & 07777);
	}
	if (a->kind == KIND_FILE_CHOWN) {
		r->old_uid = a->uid;
		r->old_gid = a->gid;
		if (!done && a->want_uid != -1)
			r->uid = a->want_uid;
		if (!done && a->want_gid != -1)
			r->gid = a->want_gid;
	}
}

/* old_path: append the path of the act's file; where a rename happened, from what was kept. */
static __always_inline __u8 old_path(struct file_scratch *s, struct act *a, __u32 slot)
{
	s->at.mnt = a->mnt;
	s->at.dentry = a->dentry;
	if (a->dir) {
		__u32 tid = bpf_get_current_pid_tgid();
		struct old_name *o = bpf_map_lookup_elem(&file_old, &tid);
		__u32 len;

		if (!o || o->kind != KIND_FILE_RENAME)
			return PATH_FAULT;
		len = o->len & 0xff;
		if (bpf_probe_read_kernel(text_at(&s->text), len, o->name))
			return PATH_FAULT;
		s->text.off += len;
		*text_at(&s->text) = '/';
		s->text.off++;
		s->at.dentry = a->dir;
		bpf_map_delete_elem(&file_old, &tid);
	}
	return append_path(slot);
}

/* memfd: a name without a place in the tree, as memfd_create(2) makes them. */
static __always_inline bool memfd(struct dentry *d)
{
	char name[8] = {};

	if (BPF_CORE_READ(d, d_parent) != d)
		return false;
	bpf_probe_read_kernel(name, 6, BPF_CORE_READ(d, d_name.name));
	return *(__u64 *)name == 0x3a64666d656dULL; /* "memfd:" */
}

/* emit: make a record of s->act and send it. */
__noinline int emit(__u32 slot)
{
	struct file_scratch *s = bpf_map_lookup_elem(&file_scratch, &slot);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct act_rec *r;
	struct act *a;
	__u32 start, size;

	if (!s)
		return 0;
	a = &s->act;
	r = (void *)s->text.buf;
	__builtin_memset(r, 0, sizeof(*r));
	event_header(&r->hdr, a->kind);
	actor_read(&r->actor, task);
	r->flags = a->flags;
	r->result = a->result;
	r->bits = a->bits;
	if (BPF_CORE_READ(task, flags) & PF_IO_WORKER)
		r->bits |= BIT_URING;
	attributes(r, a, (void *)a->dentry);
	changed(r, a);
	if (memfd((void *)a->dentry))
		r->bits |= BIT_MEMFD;

	s->text.off = sizeof(*r);
	r->status = old_path(s, a, slot);
	if (r->status == PATH_FAULT)
		event_fault(a->kind, FAULT_KERNEL_READ);
	start = *(volatile __u32 *)&s->text.off;
	r->path_len = start - sizeof(*r);
	if (a->dentry2) {
		s->at.mnt = a->mnt2;
		s->at.dentry = a->dentry2;
		r->new_status = append_path(slot);
		r->new_len = *(volatile __u32 *)&s->text.off - start;
	}
	if (a->text)
		r->text_len = append_str(&s->text, a->kind, a->text, PATH_BYTES);
	size = *(volatile __u32 *)&s->text.off;
	if (size > sizeof(s->text.buf))
		size = sizeof(s->text.buf);
	event_output(RING_BULK, a->kind, r, size);
	return 0;
}

/* tell: make a record of *a now. */
static __always_inline int tell(struct act *a)
{
	struct file_scratch *s;
	__u32 slot;

	s = scratch_get(a->kind, &slot);
	if (!s)
		return 0;
	s->act = *a;
	emit(slot);
	scratch_put(s);
	return 0;
}

/* begin: keep *a until its outcome is known. */
static __always_inline int begin(struct act *a)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&file_acts, &tid, a, BPF_ANY))
		event_fault(a->kind, FAULT_MAP_UPDATE);
	return 0;
}

/*
 * end: tell the act that this thread began on dentry, when it is of one of
 * these kinds. Nested acts on other dentries (an overlay's on its upper layer)
 * are not what was begun.
 */
static __always_inline int end(__u64 dentry, __u64 kinds, __u64 ret)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct act *p = bpf_map_lookup_elem(&file_acts, &tid);
	struct act a;

	if (!p || p->dentry != dentry || !(kinds & 1ULL << (p->kind & 63)))
		return 0;
	a = *p;
	bpf_map_delete_elem(&file_acts, &tid);
	/* an int, or since Linux 6.15 vfs_mkdir's pointer (c54b386969a5) */
	a.result = 0;
	if ((ret >> 32 == 0 || ret >> 32 == 0xffffffff) && (__s32)ret < 0 && (__s32)ret >= -4095)
		a.result = ret;
	if (a.kind == KIND_FILE_RENAME && !a.result)
		a.dentry2 = a.dentry; /* it has moved there */
	return tell(&a);
}

#endif
