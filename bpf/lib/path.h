/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Files and their paths. */
#ifndef MERLON_PATH_H
#define MERLON_PATH_H

#include "kernel.h"

#define PATH_DEPTH 96 /* components and mounts walked */
#define PATH_BYTES 4096

/* Why a path is not a whole absolute path. */
enum path_status {
	PATH_OK = 0,
	PATH_OUTSIDE = 1, /* not reachable from the root it was looked up from */
	PATH_DEEP = 2, /* more than PATH_DEPTH steps or PATH_BYTES bytes */
	PATH_FAULT = 3,
};

enum file_flag {
	FILE_DELETED = 1,
	FILE_MEMFD = 2,
	FILE_UPPER = 4, /* in the upper layer of an overlay */
};

struct file_rec {
	__u64 ino;
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 uid, gid;
	__u32 nlink;
	__u16 mode;
	__u8 flags; /* enum file_flag */
	__u8 status; /* enum path_status */
	__u16 path_len;
	__u16 pad;
	char fs[16];
};

/*
 * Text of variable length is appended to one area of scratch. The write offset
 * lives in the area itself: loaded from memory it is unknown to the verifier in
 * every round of a loop, so that the rounds look alike and are pruned.
 */
#define TEXT_MAX 32768 /* appends start below this */
#define TEXT_SLACK 24576 /* longest single append */

struct text {
	__u32 off;
	__u32 limit; /* where the path at hand must end */
	__u8 buf[TEXT_MAX + TEXT_SLACK];
};

static __always_inline __u8 *text_at(struct text *t)
{
	__u32 off = *(volatile __u32 *)&t->off;

	return &t->buf[off & (TEXT_MAX - 1)];
}

/*
 * path_walk: append the components of (mnt, dentry), leaf first, each followed
 * by '/', up to root. User space puts them in order.
 */
static __always_inline __u8 path_walk(struct text *t, struct path *at, struct path *root)
{
	struct dentry *d = BPF_CORE_READ(at, dentry), *root_d = BPF_CORE_READ(root, dentry);
	struct vfsmount *v = BPF_CORE_READ(at, mnt), *root_v = BPF_CORE_READ(root, mnt);
	const __u64 mnt_off = bpf_core_field_offset(struct mount, mnt);
	__u32 end = t->off + PATH_BYTES - 256;

	if (!d || !v)
		return PATH_FAULT;
	if (end > TEXT_MAX - 256)
		end = TEXT_MAX - 256;
	t->limit = end;
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *up;
		const __u8 *name;
		__u32 len, off;

		if (d == root_d && v == root_v)
			return PATH_OK;
		if (d == BPF_CORE_READ(v, mnt_root)) {
			struct mount *m = (void *)v - mnt_off;
			struct mount *parent = BPF_CORE_READ(m, mnt_parent);

			if (parent == m)
				return PATH_OUTSIDE; /* top of a tree that isn't the root's */
			if (!parent)
				return PATH_FAULT;
			d = BPF_CORE_READ(m, mnt_mountpoint);
			v = (void *)parent + mnt_off;
			continue;
		}
		off = *(volatile __u32 *)&t->off;
		if (off > t->limit)
			return PATH_DEEP;
		len = BPF_CORE_READ(d, d_name.len) & 0xff;
		name = BPF_CORE_READ(d, d_name.name);
		if (bpf_probe_read_kernel(text_at(t), len, name))
			return PATH_FAULT;
		t->buf[(off + len) & (TEXT_MAX - 1)] = '/';
		t->off = off + len + 1;
		up = BPF_CORE_READ(d, d_parent);
		if (!up)
			return PATH_FAULT;
		if (up == d)
			return PATH_OUTSIDE; /* a dentry without a place in the tree: memfd, pipe */
		d = up;
	}
	return PATH_DEEP;
}

/*
 * file_upper: overlayfs keeps the upper dentry right behind the VFS inode in
 * struct ovl_inode (fs/overlayfs/ovl_entry.h, unchanged since Linux 4.13); its
 * type is in the module's BTF only, so the place is computed.
 */
static __always_inline bool file_upper(struct inode *inode)
{
	void *upper = NULL;

	bpf_probe_read_kernel(&upper, sizeof(upper),
			      (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

/* file_read: fill *r but for status and path_len; false when f can't be read. */
static __always_inline bool file_read(struct file_rec *r, struct file *f)
{
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct dentry *d = BPF_CORE_READ(f, f_path.dentry);
	struct vfsmount *v = BPF_CORE_READ(f, f_path.mnt);
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	struct hlist_bl_node **hashed;
	bool root;

	if (!inode || !d)
		return false;
	r->ino = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(sb, s_dev);
	r->uid = BPF_CORE_READ(inode, i_uid.val);
	r->gid = BPF_CORE_READ(inode, i_gid.val);
	r->nlink = BPF_CORE_READ(inode, i_nlink);
	r->mode = BPF_CORE_READ(inode, i_mode);
	r->flags = 0;
	if (bpf_probe_read_kernel_str(r->fs, sizeof(r->fs), BPF_CORE_READ(sb, s_type, name)) < 0)
		return false;

	root = BPF_CORE_READ(d, d_parent) == d;
	hashed = BPF_CORE_READ(d, d_hash.pprev);
	if (!r->nlink || (!hashed && !root))
		r->flags |= FILE_DELETED;
	if (root && d != BPF_CORE_READ(v, mnt_root)) {
		char name[8] = {};

		bpf_probe_read_kernel(name, 6, BPF_CORE_READ(d, d_name.name));
		if (*(__u64 *)name == 0x3a64666d656dULL) /* "memfd:" */
			r->flags |= FILE_MEMFD;
	}
	if (BPF_CORE_READ(sb, s_magic) == OVERLAYFS_SUPER_MAGIC && file_upper(inode))
		r->flags |= FILE_UPPER;
	return true;
}

#endif
