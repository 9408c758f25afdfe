/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Opening, closing, watched reads, mounts. */
#ifndef MERLON_FILE_WATCH_H
#define MERLON_FILE_WATCH_H

#include "act.h"

/* include/linux/fs.h */
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000
#define FMODE_NOACCOUNT 0x20000000 /* an overlay's own open of a layer */

#define WATCH_DEPTH 48 /* directories looked at above a file that is read */

static __always_inline __u32 watch_flags(struct file_scratch *s, struct dentry *d)
{
	__u32 *flags;

	s->key.ino = BPF_CORE_READ(d, d_inode, i_ino);
	s->key.dev = BPF_CORE_READ(d, d_sb, s_dev);
	s->key.pad = 0;
	flags = bpf_map_lookup_elem(&file_watch, &s->key);
	return flags ? *flags : 0;
}

/* named_in: the file's name is one of those watched in the directory s->key. */
static __always_inline bool named_in(struct file_scratch *s, struct dentry *d)
{
	s->name.dir = s->key;
	__builtin_memset(s->name.name, 0, sizeof(s->name.name));
	if (bpf_probe_read_kernel_str(s->name.name, NAME_KEY, BPF_CORE_READ(d, d_name.name)) <= 0)
		return false;
	return bpf_map_lookup_elem(&file_names, &s->name) != NULL;
}

/*
 * watched: somebody asked for reads of this file: by its inode, its name in a
 * directory, or a directory above it, across mounts.
 */
__noinline int watched(__u32 slot, __u64 dentry, __u64 mnt)
{
	struct file_scratch *s = bpf_map_lookup_elem(&file_scratch, &slot);
	const __u64 mnt_off = bpf_core_field_offset(struct mount, mnt);
	struct dentry *d = (void *)dentry;
	struct vfsmount *v = (void *)mnt;

	if (!s)
		return 0;
	if (watch_flags(s, d) & WATCH_SELF)
		return 1;
	for (int i = 0; i < WATCH_DEPTH; i++) {
		struct dentry *up;
		__u32 flags;

		if (d == BPF_CORE_READ(v, mnt_root)) {
			struct mount *m = (void *)v - mnt_off;
			struct mount *parent = BPF_CORE_READ(m, mnt_parent);

			if (!parent || parent == m)
				return 0;
			d = BPF_CORE_READ(m, mnt_mountpoint);
			v = (void *)parent + mnt_off;
			continue;
		}
		up = BPF_CORE_READ(d, d_parent);
		if (!up || up == d)
			return 0;
		flags = watch_flags(s, up);
		if (flags & WATCH_BELOW)
			return 1;
		if (flags & WATCH_NAMES && d == (void *)dentry && named_in(s, d))
			return 1;
		d = up;
	}
	return 0;
}

/* quiet: files whose opening means nothing: pipes, sockets, /dev/null, the terminal. */
static __always_inline bool quiet(struct inode *inode)
{
	__u16 type = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	__u32 rdev;

	if (type == S_IFIFO || type == S_IFSOCK)
		return true;
	if (type != S_IFCHR)
		return false;
	rdev = BPF_CORE_READ(inode, i_rdev);
	return rdev == (1 << 20 | 3) || rdev == (5 << 20 | 0);
}

static __always_inline void from_file(struct act *a, struct file *f, struct inode *inode)
{
	a->dentry = (__u64)BPF_CORE_READ(f, f_path.dentry);
	a->mnt = (__u64)BPF_CORE_READ(f, f_path.mnt);
	a->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	a->flags = BPF_CORE_READ(f, f_flags);
}

/*
 * opened: after all checks but the security module's and the file system's own
 * (fs/open.c: do_dentry_open). A file that the same call made exists by now.
 * bits: of enum file_bit; flags: more of them than the file has.
 */
static __always_inline int opened(struct file *f, __u16 bits, __u32 flags)
{
	__u32 mode = BPF_CORE_READ(f, f_mode), slot;
	struct file_conf *c = conf();
	bool write = mode & FMODE_WRITE, created = mode & FMODE_CREATED;
	struct file_scratch *s;
	struct inode *inode;
	bool tell_create, tell_open;

	if (!c || mode & FMODE_NOACCOUNT || (!write && !created && !c->watching))
		return 0;
	if (file_self && bpf_get_current_pid_tgid() >> 32 == file_self)
		return 0;
	inode = BPF_CORE_READ(f, f_inode);
	tell_create = created && c->kinds & 1ULL << KIND_FILE_CREATE;
	tell_open = c->kinds & 1ULL << KIND_FILE_OPEN;
	if (write && (quiet(inode) || pseudo(BPF_CORE_READ(inode, i_sb))))
		write = false;
	if (!tell_create && !(tell_open && (write || c->watching)))
		return 0;
	if (tell_create && pseudo(BPF_CORE_READ(inode, i_sb)))
		tell_create = false;
	s = scratch_get(KIND_FILE_OPEN, &slot);
	if (!s)
		return 0;
	__builtin_memset(&s->act, 0, sizeof(s->act));
	from_file(&s->act, f, inode);
	s->act.flags |= flags;
	if (tell_create) {
		s->act.kind = KIND_FILE_CREATE;
		emit(slot);
	}
	if (tell_open && (write || (c->watching && watched(slot, s->act.dentry, s->act.mnt)))) {
		s->act.kind = KIND_FILE_OPEN;
		s->act.bits = bits | (write ? BIT_WRITE : 0);
		emit(slot);
	}
	scratch_put(s);
	return 0;
}

static __always_inline int closed(struct file *f)
{
	__u32 mode = BPF_CORE_READ(f, f_mode);
	struct act a = {};
	struct inode *inode;

	if (!(mode & FMODE_WRITE) || mode & FMODE_NOACCOUNT || !wanted(KIND_FILE_CLOSE))
		return 0;
	inode = BPF_CORE_READ(f, f_inode);
	if (quiet(inode) || pseudo(BPF_CORE_READ(inode, i_sb)))
		return 0;
	from_file(&a, f, inode);
	a.kind = KIND_FILE_CLOSE;
	a.bits = BIT_WRITE;
	return tell(&a);
}

static __always_inline struct mount_rec *mount_start(struct file_scratch *s, __u32 kind, __u32 slot,
						     struct vfsmount *mnt, struct dentry *d)
{
	struct mount_rec *r = (void *)s->text.buf;

	__builtin_memset(r, 0, sizeof(*r));
	event_header(&r->hdr, kind);
	actor_current(&r->actor);
	s->text.off = sizeof(*r);
	s->at.mnt = (__u64)mnt;
	s->at.dentry = (__u64)d;
	r->status = append_path(slot);
	if (r->status == PATH_FAULT)
		event_fault(kind, FAULT_KERNEL_READ);
	r->target_len = *(volatile __u32 *)&s->text.off - sizeof(*r);
	return r;
}

static __always_inline void mount_fs(struct mount_rec *r, __u32 kind, struct super_block *sb)
{
	r->dev = BPF_CORE_READ(sb, s_dev);
	if (bpf_probe_read_kernel_str(r->fs, sizeof(r->fs), BPF_CORE_READ(sb, s_type, name)) < 0)
		event_fault(kind, FAULT_KERNEL_READ);
}

static __always_inline void mount_send(struct file_scratch *s, __u32 kind)
{
	__u32 size = *(volatile __u32 *)&s->text.off;

	if (size > sizeof(s->text.buf))
		size = sizeof(s->text.buf);
	event_output(RING_BULK, kind, s->text.buf, size);
	scratch_put(s);
}

#define MOUNT_OPTIONS 257

/* mounted: by mount(2); its strings are the kernel's copies, data is a page of its own. */
static __always_inline int mounted(__u64 path, __u64 source, __u64 type, __u64 data, __u64 flags,
				   __s32 result, __u16 bits)
{
	struct path *p = (void *)path;
	struct file_scratch *s;
	struct mount_rec *r;
	__u32 slot;

	if (!wanted(KIND_MOUNT))
		return 0;
	s = scratch_get(KIND_MOUNT, &slot);
	if (!s)
		return 0;
	r = mount_start(s, KIND_MOUNT, slot, BPF_CORE_READ(p, mnt), BPF_CORE_READ(p, dentry));
	r->flags = flags;
	r->result = result;
	r->bits = bits;
	if (type && bpf_probe_read_kernel_str(r->fs, sizeof(r->fs), (void *)type) < 0)
		event_fault(KIND_MOUNT, FAULT_KERNEL_READ);
	if (source)
		r->source_len = append_str(&s->text, KIND_MOUNT, source, PATH_BYTES);
	if (data)
		r->options_len = append_str(&s->text, KIND_MOUNT, data, MOUNT_OPTIONS);
	mount_send(s, KIND_MOUNT);
	return 0;
}

static __always_inline int moved(__u64 from, __u64 to)
{
	struct path *p = (void *)from, *t = (void *)to;
	struct file_scratch *s;
	struct mount_rec *r;
	__u32 slot;

	if (!wanted(KIND_MOUNT))
		return 0;
	s = scratch_get(KIND_MOUNT, &slot);
	if (!s)
		return 0;
	r = mount_start(s, KIND_MOUNT, slot, BPF_CORE_READ(t, mnt), BPF_CORE_READ(t, dentry));
	r->bits = BIT_NO_RESULT;
	mount_fs(r, KIND_MOUNT, BPF_CORE_READ(p, mnt, mnt_sb));
	mount_send(s, KIND_MOUNT);
	return 0;
}

static __always_inline int unmounted(struct vfsmount *mnt, __u64 flags)
{
	struct file_scratch *s;
	struct mount_rec *r;
	__u32 slot;

	if (!wanted(KIND_UMOUNT))
		return 0;
	s = scratch_get(KIND_UMOUNT, &slot);
	if (!s)
		return 0;
	r = mount_start(s, KIND_UMOUNT, slot, mnt, BPF_CORE_READ(mnt, mnt_root));
	r->flags = flags & 0xffffffff;
	r->bits = BIT_NO_RESULT;
	mount_fs(r, KIND_UMOUNT, BPF_CORE_READ(mnt, mnt_sb));
	mount_send(s, KIND_UMOUNT);
	return 0;
}

#endif
