//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Acts on files, from the kernel's security hooks: below every way to ask for
 * them, and on the kernel's own copies of names.
 *
 * Three programs an act: file_e_* (fentry) keeps what it begins, file_x_*
 * (fexit) tells it with its outcome, file_k_* (kprobe) tells it at once,
 * without. Where the hook already knows the outcome there is no file_x_*.
 */
#include "syscall.h"

/*
 * The inode operations' helpers got a first argument in Linux 5.12
 * (6521f8917082 "namei: prepare for idmapped mounts"), and vfs_rename a struct
 * for all (9fe61450972d). User space looks at the kernel's types.
 */
const volatile __u32 file_shift;
const volatile __u32 file_rdata;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct renamedata {
	struct dentry *old_dentry;
};

/* Linux 6.18: a list of mounts without a list_head */
struct super_block___mounts {
	struct mount *s_mounts;
};
#pragma clang attribute pop

/* carg: a constant index, whatever the knob: no arithmetic on the context. */
#define carg(ctx, n)                                                \
	({                                                          \
		__u64 __v;                                          \
		if (file_shift) {                                   \
			__v = *(volatile __u64 *)&(ctx)[(n) + 1];   \
			asm volatile("# shifted " #n : "+r"(__v));  \
		} else {                                            \
			__v = *(volatile __u64 *)&(ctx)[n];         \
			asm volatile("# in place " #n : "+r"(__v)); \
		}                                                   \
		__v;                                                \
	})

/* Arguments of a probed function: their places in struct pt_regs are a fixed ABI. */
#if defined(__TARGET_ARCH_x86)
#define K1 14
#define K2 13
#define K3 12
#define K4 11
#define K5 9
#else
#define K1 0
#define K2 1
#define K3 2
#define K4 3
#define K5 4
#endif

/*
 * ENTRY and PROBE: a body on both tiers. FINISH: tell what was begun, when function does it, whose argument d
 * is the dentry and whose result comes after n arguments (before Linux 5.12).
 */
#define PROBE(name, function)                                           \
	SEC("kprobe/" function)                                         \
	int file_k_##name(__u64 *ctx)                                   \
	{                                                               \
		struct act a = {};                                      \
		a.bits = BIT_NO_RESULT;                                 \
		if (name(&a, ctx[K1], ctx[K2], ctx[K3], ctx[K4], true)) \
			return tell(&a);                                \
		return 0;                                               \
	}

#define ENTRY(name, function, a1, a2, a3, a4, act_fn) \
	SEC("fentry/" function)                       \
	int file_e_##name(__u64 *ctx)                 \
	{                                             \
		struct act a = {};                    \
		if (name(&a, a1, a2, a3, a4, false))  \
			return act_fn(&a);            \
		return 0;                             \
	}

#define FINISH(name, function, dentry, n, kinds)                    \
	SEC("fexit/" function)                                      \
	int file_x_##name(__u64 *ctx)                               \
	{                                                           \
		return end(carg(ctx, dentry), kinds, carg(ctx, n)); \
	}

#define KIND(k) (1ULL << KIND_FILE_##k)

static __always_inline struct vfsmount *mnt_of(__u64 path)
{
	struct path *p = (void *)path;

	return BPF_CORE_READ(p, mnt);
}

static __always_inline struct dentry *dentry_of(__u64 path)
{
	struct path *p = (void *)path;

	return BPF_CORE_READ(p, dentry);
}

static __always_inline bool named(struct act *a, __u32 kind, __u64 dir, __u64 dentry)
{
	return before(a, kind, (void *)dentry, mnt_of(dir));
}

/* Files, directories, nodes. Creation by open(2) is told by security_file_open. */
static __always_inline bool mkdir(struct act *a, __u64 dir, __u64 dentry, __u64 mode, __u64 n,
				  bool probe)
{
	if (!named(a, KIND_FILE_CREATE, dir, dentry))
		return false;
	a->mode = S_IFDIR | (mode & 07777);
	return true;
}

static __always_inline bool mknod(struct act *a, __u64 dir, __u64 dentry, __u64 mode, __u64 dev,
				  bool probe)
{
	__u16 type = mode & S_IFMT;

	/* a plain file is likely one of open(2), which asks here as well */
	if (probe && (type == 0 || type == S_IFREG))
		return false;
	if (!named(a, KIND_FILE_CREATE, dir, dentry))
		return false;
	a->mode = (type ? type : S_IFREG) | (mode & 07777);
	return true;
}

static __always_inline bool symlink(struct act *a, __u64 dir, __u64 dentry, __u64 text, __u64 n,
				    bool probe)
{
	if (!named(a, KIND_FILE_SYMLINK, dir, dentry))
		return false;
	a->text = text;
	a->mode = S_IFLNK | 0777;
	return true;
}

static __always_inline bool unlink(struct act *a, __u64 dir, __u64 dentry, __u64 n3, __u64 n4,
				   bool probe)
{
	return named(a, KIND_FILE_DELETE, dir, dentry);
}

static __always_inline bool rmdir(struct act *a, __u64 dir, __u64 dentry, __u64 n3, __u64 n4,
				  bool probe)
{
	return named(a, KIND_FILE_DELETE, dir, dentry);
}

static __always_inline bool link(struct act *a, __u64 old, __u64 dir, __u64 dentry, __u64 n4,
				 bool probe)
{
	if (!named(a, KIND_FILE_LINK, dir, old))
		return false;
	a->dentry2 = dentry;
	a->mnt2 = a->mnt; /* no link crosses mounts: fs/namei.c, do_linkat */
	return true;
}

/* keep_name: a rename overwrites its old name. */
static __always_inline void keep_name(struct act *a, struct dentry *d)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct old_name o = {};

	o.kind = KIND_FILE_RENAME;
	o.len = BPF_CORE_READ(d, d_name.len) & 0xff;
	if (bpf_probe_read_kernel(o.name, o.len, BPF_CORE_READ(d, d_name.name)))
		event_fault(a->kind, FAULT_KERNEL_READ);
	if (bpf_map_update_elem(&file_old, &tid, &o, BPF_ANY))
		event_fault(a->kind, FAULT_MAP_UPDATE);
	a->dir = (__u64)BPF_CORE_READ(d, d_parent);
}

static __always_inline bool rename(struct act *a, __u64 dir, __u64 dentry, __u64 dir2,
				   __u64 dentry2, bool probe)
{
	if (!named(a, KIND_FILE_RENAME, dir, dentry))
		return false;
	a->dentry2 = dentry2;
	a->mnt2 = (__u64)mnt_of(dir2);
	if (!probe)
		keep_name(a, (void *)dentry);
	return true;
}

/* Attributes */
static __always_inline bool chmod(struct act *a, __u64 path, __u64 mode, __u64 n3, __u64 n4,
				  bool probe)
{
	if (!before(a, KIND_FILE_CHMOD, dentry_of(path), mnt_of(path)))
		return false;
	a->want_mode = mode;
	return true;
}

static __always_inline bool chown(struct act *a, __u64 path, __u64 uid, __u64 gid, __u64 n4,
				  bool probe)
{
	if (!before(a, KIND_FILE_CHOWN, dentry_of(path), mnt_of(path)))
		return false;
	a->want_uid = uid;
	a->want_gid = gid;
	return true;
}

static __always_inline bool truncate(struct act *a, __u64 path, __u64 n2, __u64 n3, __u64 n4,
				     bool probe)
{
	return before(a, KIND_FILE_TRUNCATE, dentry_of(path), mnt_of(path));
}

/* Linux 6.2+ (3350607dc563 "security: Create file_truncate hook from path_truncate hook") */
static __always_inline bool ftrunc(struct act *a, __u64 file, __u64 n2, __u64 n3, __u64 n4,
				   bool probe)
{
	struct file *f = (void *)file;

	return before(a, KIND_FILE_TRUNCATE, BPF_CORE_READ(f, f_path.dentry),
		      BPF_CORE_READ(f, f_path.mnt));
}

/* any_mount: extended attributes are set without a mount: one through which the file shows. */
static __always_inline struct vfsmount *any_mount(struct dentry *d)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct super_block *sb = BPF_CORE_READ(d, d_sb);
	const __u64 mnt_off = bpf_core_field_offset(struct mount, mnt);
	struct vfsmount *v = BPF_CORE_READ(task, fs, pwd.mnt);
	struct super_block___mounts *newer;
	struct list_head *first;

	if (BPF_CORE_READ(v, mnt_sb) == sb)
		return v;
	v = BPF_CORE_READ(task, fs, root.mnt);
	if (BPF_CORE_READ(v, mnt_sb) == sb)
		return v;
	if (bpf_core_field_exists(struct mount, mnt_instance)) {
		first = BPF_CORE_READ(sb, s_mounts.next);
		return (void *)first - bpf_core_field_offset(struct mount, mnt_instance) + mnt_off;
	}
	newer = (void *)sb;
	return (void *)BPF_CORE_READ(newer, s_mounts) + mnt_off;
}

static __always_inline bool xattr(struct act *a, __u64 dentry, __u64 name)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct dentry *d = (void *)dentry;
	struct act *p;

	/* an overlay sets it on its upper layer while it sets it */
	p = bpf_map_lookup_elem(&file_acts, &tid);
	if (p && p->kind == KIND_FILE_XATTR && p->want_uid == OVERLAYFS_SUPER_MAGIC &&
	    p->text == name && p->dentry != dentry)
		return false;
	if (!before(a, KIND_FILE_XATTR, d, any_mount(d)))
		return false;
	a->text = name;
	a->want_uid = BPF_CORE_READ(d, d_sb, s_magic);
	return true;
}

static __always_inline bool setxattr(struct act *a, __u64 dentry, __u64 name, __u64 n3, __u64 n4,
				     bool probe)
{
	return xattr(a, dentry, name);
}

static __always_inline bool rmxattr(struct act *a, __u64 dentry, __u64 name, __u64 n3, __u64 n4,
				    bool probe)
{
	a->bits |= BIT_REMOVED;
	return xattr(a, dentry, name);
}

ENTRY(mkdir, "security_path_mkdir", ctx[0], ctx[1], ctx[2], 0, begin)
PROBE(mkdir, "security_path_mkdir")
FINISH(mkdir, "vfs_mkdir", 1, 3, KIND(CREATE))
ENTRY(mknod, "security_path_mknod", ctx[0], ctx[1], ctx[2], ctx[3], begin)
PROBE(mknod, "security_path_mknod")
FINISH(mknod, "vfs_mknod", 1, 4, KIND(CREATE))
FINISH(create, "vfs_create", 1, 4, KIND(CREATE))
ENTRY(symlink, "security_path_symlink", ctx[0], ctx[1], ctx[2], 0, begin)
PROBE(symlink, "security_path_symlink")
FINISH(symlink, "vfs_symlink", 1, 3, KIND(SYMLINK))
ENTRY(unlink, "security_path_unlink", ctx[0], ctx[1], 0, 0, begin)
PROBE(unlink, "security_path_unlink")
FINISH(unlink, "vfs_unlink", 1, 3, KIND(DELETE))
ENTRY(rmdir, "security_path_rmdir", ctx[0], ctx[1], 0, 0, begin)
PROBE(rmdir, "security_path_rmdir")

/* Debian's Linux 5.10 has vfs_rmdir inlined into its only caller: no outcome. */
SEC("fentry/security_path_rmdir")
int file_n_rmdir(__u64 *ctx)
{
	struct act a = {};

	a.bits = BIT_NO_RESULT;
	if (rmdir(&a, ctx[0], ctx[1], 0, 0, true))
		return tell(&a);
	return 0;
}

FINISH(rmdir, "vfs_rmdir", 1, 2, KIND(DELETE))
ENTRY(link, "security_path_link", ctx[0], ctx[1], ctx[2], 0, begin)
PROBE(link, "security_path_link")

/* vfs_link's first argument is the old dentry on all kernels. */
SEC("fexit/vfs_link")
int file_x_link(__u64 *ctx)
{
	return end(ctx[0], KIND(LINK), carg(ctx, 4));
}

SEC("fentry/security_path_rename")
int file_e_rename(__u64 *ctx)
{
	struct act a = {};

	if (!rename(&a, ctx[0], ctx[1], ctx[2], ctx[3], false))
		return 0;
	a.flags = ctx[4];
	return begin(&a);
}

SEC("kprobe/security_path_rename")
int file_k_rename(__u64 *ctx)
{
	struct act a = {};

	a.bits = BIT_NO_RESULT;
	if (!rename(&a, ctx[K1], ctx[K2], ctx[K3], ctx[K4], true))
		return 0;
	a.flags = ctx[K5];
	return tell(&a);
}

/* before Linux 5.12 */
SEC("fexit/vfs_rename")
int file_x_rename(__u64 *ctx)
{
	return end(ctx[1], KIND(RENAME), ctx[6]);
}

SEC("fexit/vfs_rename")
int file_x_renamed(__u64 *ctx)
{
	struct renamedata *rd = (void *)ctx[0];

	return end((__u64)BPF_CORE_READ(rd, old_dentry), KIND(RENAME), ctx[1]);
}

ENTRY(chmod, "security_path_chmod", ctx[0], ctx[1], 0, 0, begin)
PROBE(chmod, "security_path_chmod")
ENTRY(chown, "security_path_chown", ctx[0], ctx[1], ctx[2], 0, begin)
PROBE(chown, "security_path_chown")
ENTRY(truncate, "security_path_truncate", ctx[0], 0, 0, 0, begin)
PROBE(truncate, "security_path_truncate")
ENTRY(ftrunc, "security_file_truncate", ctx[0], 0, 0, 0, begin)
PROBE(ftrunc, "security_file_truncate")
FINISH(attr, "notify_change", 0, 3, KIND(CHMOD) | KIND(CHOWN) | KIND(TRUNCATE))

ENTRY(setxattr, "vfs_setxattr", carg(ctx, 0), carg(ctx, 1), 0, 0, begin)
FINISH(setxattr, "vfs_setxattr", 0, 5, KIND(XATTR))
ENTRY(rmxattr, "vfs_removexattr", carg(ctx, 0), carg(ctx, 1), 0, 0, begin)
FINISH(rmxattr, "vfs_removexattr", 0, 2, KIND(XATTR))

SEC("kprobe/vfs_setxattr")
int file_k_setxattr(__u64 *ctx)
{
	struct act a = {};

	a.bits = BIT_NO_RESULT;
	if (file_shift ? xattr(&a, ctx[K2], ctx[K3]) : xattr(&a, ctx[K1], ctx[K2]))
		return tell(&a);
	return 0;
}

SEC("kprobe/vfs_removexattr")
int file_k_rmxattr(__u64 *ctx)
{
	struct act a = {};

	a.bits = BIT_NO_RESULT | BIT_REMOVED;
	if (file_shift ? xattr(&a, ctx[K2], ctx[K3]) : xattr(&a, ctx[K1], ctx[K2]))
		return tell(&a);
	return 0;
}

/* Opening and closing */
SEC("fentry/security_file_open")
int file_e_open(__u64 *ctx)
{
	return opened((void *)ctx[0], BIT_NO_RESULT, 0);
}

SEC("kprobe/security_file_open")
int file_k_open(__u64 *ctx)
{
	return opened((void *)ctx[K1], BIT_NO_RESULT, 0);
}

/* The last close of an open file, in whatever thread drops it. */
SEC("fentry/locks_remove_file")
int file_e_close(__u64 *ctx)
{
	return closed((void *)ctx[0]);
}

SEC("kprobe/locks_remove_file")
int file_k_close(__u64 *ctx)
{
	return closed((void *)ctx[K1]);
}

/* Mounts. File systems cut the options apart in place: they are kept before. */
SEC("fentry/security_sb_mount")
int file_e_mount(__u64 *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct old_name o = {};
	long n;

	if (!ctx[4] || !wanted(KIND_MOUNT))
		return 0;
	n = bpf_probe_read_kernel_str(o.name, sizeof(o.name), (void *)ctx[4]);
	if (n <= 0) {
		event_fault(KIND_MOUNT, FAULT_KERNEL_READ);
		return 0;
	}
	o.kind = KIND_MOUNT;
	o.len = n - 1;
	if (bpf_map_update_elem(&file_old, &tid, &o, BPF_ANY))
		event_fault(KIND_MOUNT, FAULT_MAP_UPDATE);
	return 0;
}

SEC("fexit/path_mount")
int file_x_mount(__u64 *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct old_name *o = bpf_map_lookup_elem(&file_old, &tid);
	__u64 options = 0;
	int ret;

	if (o && o->kind == KIND_MOUNT && ctx[4])
		options = (__u64)o->name;
	ret = mounted(ctx[1], ctx[0], ctx[2], options, ctx[3], ctx[5], 0);
	if (options)
		bpf_map_delete_elem(&file_old, &tid);
	return ret;
}

SEC("kprobe/security_sb_mount")
int file_k_mount(__u64 *ctx)
{
	return mounted(ctx[K2], ctx[K1], ctx[K3], ctx[K5], ctx[K4], 0, BIT_NO_RESULT);
}

/* mount(2)'s successors: fsmount(2) or open_tree(2), then move_mount(2) */
SEC("fentry/security_move_mount")
int file_e_moved(__u64 *ctx)
{
	return moved(ctx[0], ctx[1]);
}

SEC("kprobe/security_move_mount")
int file_k_moved(__u64 *ctx)
{
	return moved(ctx[K1], ctx[K2]);
}

SEC("fentry/security_sb_umount")
int file_e_umount(__u64 *ctx)
{
	return unmounted((void *)ctx[0], ctx[1]);
}

SEC("kprobe/security_sb_umount")
int file_k_umount(__u64 *ctx)
{
	return unmounted((void *)ctx[K1], ctx[K2]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
