/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is done to other processes, to memory and to the kernel. */
#ifndef MERLON_PRIVILEGE_ACTS_H
#define MERLON_PRIVILEGE_ACTS_H

#include "creds.h"

#define PTRACE_POKETEXT 4 /* include/uapi/linux/ptrace.h */
#define PTRACE_POKEDATA 5
#define PTRACE_POKEUSR 6
#define PTRACE_SETREGS 13
#define PTRACE_SETFPREGS 15
#define PTRACE_ATTACH 16
#define PTRACE_SETREGSET 0x4205
#define PTRACE_SEIZE 0x4206
#define PROT_WRITE 2
#define PROT_EXEC 4
#define VM_WRITE 2 /* include/linux/mm.h */
#define VM_EXEC 4
#define FMODE_WRITE 2
#define PAGE_SIZE 4096 /* the least there is */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct file___pv {
	unsigned int f_mode;
};

struct hlist_node___pv {
	struct hlist_node___pv *next;
};

struct hlist_head___pv {
	struct hlist_node___pv *first;
};

struct pid___pv {
	struct hlist_head___pv tasks[4];
};

struct task_struct___links {
	struct hlist_node___pv pid_links[4];
};

struct proc_inode___pv {
	struct pid *pid;
	struct inode vfs_inode;
};

struct vm_area_struct___pv {
	unsigned long vm_start, vm_end;
	struct mm_struct *vm_mm;
	unsigned long vm_flags;
	void *anon_vma;
	struct file *vm_file;
};

struct module___pv {
	char name[56];
};

struct bpf_insn___pv {
	__u8 code;
	__u8 regs;
	__s16 off;
	__s32 imm;
};

struct bpf_prog_aux___pv {
	char name[16];
	__u32 id;
};

enum bpf_prog_type___pv {
	BPF_PROG_TYPE_UNSPEC___pv,
};

struct bpf_prog___pv {
	enum bpf_prog_type___pv type;
	__u32 len;
	__u8 tag[8];
	struct bpf_prog_aux___pv *aux;
	struct bpf_insn___pv insnsi[0];
};

struct perf_event_attr___pv {
	__u32 type;
	__u64 config;
};

struct perf_event___pv {
	struct perf_event_attr___pv attr;
};

struct kernel_siginfo___pv {
	int si_signo;
	int si_errno;
	int si_code;
};

#pragma clang attribute pop

/* on_task: an act on another process; nothing when it is the actor's own. */
static __always_inline int on_task(__u32 kind, struct task_struct *task, __u8 call, __u32 request,
				   __u64 address, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct priv_task_rec *r;

	if (!task || !asked(kind) || BPF_CORE_READ(task, tgid) == BPF_CORE_READ(me, tgid))
		return 0;
	r = priv_begin(RING_CRIT, kind, sizeof(*r), call);
	if (!r)
		return 0;
	target_read(&r->target, task);
	r->p.bits = PRIV_TARGET;
	r->p.num = request;
	r->p.address = address;
	r->p.result = failed(ret) ? ret : 0;
	event_submit(RING_CRIT, r);
	return 0;
}

static __always_inline bool changing(__u64 request)
{
	switch (request) {
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
	case PTRACE_POKEUSR:
	case PTRACE_SETREGSET:
		return true;
#if defined(__TARGET_ARCH_x86)
	case PTRACE_SETREGS:
	case PTRACE_SETFPREGS:
		return true;
#endif
	}
	return false;
}

static __always_inline bool acting(__u64 request)
{
	return request == PTRACE_ATTACH || request == PTRACE_SEIZE || changing(request);
}

/* mm_access is how process_vm_writev reaches another process's memory. */
static __always_inline int vm_access(struct task_struct *task, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();

	if (call_of(me, call_regs(me)) != CALL_VM_WRITEV)
		return 0;
	return on_task(KIND_VM_WRITE, task, CALL_VM_WRITEV, 0, 0, ret);
}

/* inode_task: the task that an inode of /proc stands for. */
static __always_inline struct task_struct *inode_task(struct inode *inode)
{
	struct proc_inode___pv *p =
		(void *)inode - bpf_core_field_offset(struct proc_inode___pv, vfs_inode);
	struct pid___pv *pid = (void *)BPF_CORE_READ(p, pid);
	struct hlist_node___pv *first;

	if (!pid)
		return NULL;
	first = BPF_CORE_READ(pid, tasks[0].first);
	if (!first)
		return NULL;
	return (void *)first - bpf_core_field_offset(struct task_struct___links, pid_links);
}

static __always_inline int mem_opened(struct inode *inode, struct file *file, __s64 ret)
{
	struct file___pv *f = (void *)file;

	if (!(BPF_CORE_READ(f, f_mode) & FMODE_WRITE))
		return 0;
	return on_task(KIND_MEM_WRITE, inode_task(inode), CALL_OPEN, 0, 0, (__s32)ret);
}

/* named: an act on something with a name in kernel memory. */
static __always_inline int named(__u32 kind, __u8 call, const char *name, __u64 flags, __s64 ret)
{
	struct priv_name_rec *r;

	if (!asked(kind))
		return 0;
	r = priv_begin(RING_CRIT, kind, sizeof(*r), call);
	if (!r)
		return 0;
	r->p.flags = flags;
	r->p.result = failed(ret) ? ret : 0;
	r->name[0] = 0;
	if (name && bpf_probe_read_kernel_str(r->name, sizeof(r->name), name) < 0)
		event_fault(kind, FAULT_KERNEL_READ);
	event_submit(RING_CRIT, r);
	return 0;
}

/* memfd_create and a file of huge pages; others make such files without a call of that name */
static __always_inline int memfd(const char *name, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct pt_regs *regs = call_regs(me);

	if (call_of(me, regs) != CALL_MEMFD_CREATE)
		return 0;
	return named(KIND_MEMFD_CREATE, CALL_MEMFD_CREATE, name, (__u32)call_arg(regs, 1), ret);
}

static __always_inline int wx(__u8 call, __u64 start, __u64 len, __u64 prot, __u64 flags, __s64 ret,
			      __u8 bits)
{
	struct priv_rec *r;

	if (!asked(KIND_WX_MAP))
		return 0;
	r = priv_begin(RING_BULK, KIND_WX_MAP, sizeof(*r), call);
	if (!r)
		return 0;
	r->address = start;
	r->length = len;
	r->num = prot & 7;
	r->flags = flags;
	r->bits = bits;
	r->result = failed(ret) ? ret : 0;
	event_submit(RING_BULK, r);
	return 0;
}

static __always_inline int mapped(__u64 len, __u64 prot, __u64 flags, __s64 ret)
{
	struct task_struct *me = (void *)bpf_get_current_task();

	if ((prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC))
		return 0;
	if (call_of(me, call_regs(me)) == CALL_EXEC)
		return 0; /* the image itself, laid out by the kernel */
	return wx(CALL_MMAP, failed(ret) ? 0 : ret, len, prot, flags, ret, 0);
}

/*
 * Memory that is made executable and is writable too, or may have been written
 * before: it is writable now, or it has pages of its own (anon_vma), which
 * come to be by writing.
 */
static __always_inline int protected(struct vm_area_struct___pv *vma, __u64 prot)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct pt_regs *regs;
	__u64 flags, start, end;
	__u8 call;

	if (!(prot & PROT_EXEC))
		return 0;
	flags = BPF_CORE_READ(vma, vm_flags);
	if (flags & VM_EXEC && !(prot & PROT_WRITE))
		return 0; /* it was executable before */
	if (!(prot & PROT_WRITE) && !(flags & VM_WRITE) && !BPF_CORE_READ(vma, anon_vma))
		return 0;
	regs = call_regs(me);
	call = call_of(me, regs);
	if (call == CALL_EXEC)
		return 0;
	start = BPF_CORE_READ(vma, vm_start);
	end = BPF_CORE_READ(vma, vm_end);
	if (call == CALL_MPROTECT || call == CALL_PKEY_MPROTECT) { /* a part of it, maybe */
		__u64 from = call_arg(regs, 0), to = from + call_arg(regs, 1);

		to = (to + PAGE_SIZE - 1) & ~(__u64)(PAGE_SIZE - 1);
		start = from > start ? from : start;
		end = to < end ? to : end;
	}
	return wx(call, start, end - start, prot, 0, 0, PRIV_NO_RESULT);
}

/* fd_file: the file behind a descriptor of the current task. */
static __always_inline struct file *fd_file(__s64 fd)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct file **slot, *file = NULL;

	if (fd < 0 || fd >= BPF_CORE_READ(me, files, fdt, max_fds))
		return NULL;
	slot = BPF_CORE_READ(me, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slot + fd);
	return file;
}

static __always_inline int perf_opened(struct pt_regs *regs, __s64 fd)
{
	struct file *file = failed(fd) ? NULL : fd_file(fd);
	struct perf_event___pv *ev;
	struct priv_rec *r;

	if (!asked(KIND_PERF_OPEN))
		return 0;
	r = priv_begin(RING_CRIT, KIND_PERF_OPEN, sizeof(*r), CALL_PERF);
	if (!r)
		return 0;
	r->result = failed(fd) ? fd : 0;
	r->flags = call_arg(regs, 4);
	r->num = 0xffff; /* unknown: a refused call's attributes are in user memory only */
	if (file) {
		ev = BPF_CORE_READ(file, private_data);
		r->num = BPF_CORE_READ(ev, attr.type);
		r->address = BPF_CORE_READ(ev, attr.config);
	}
	event_submit(RING_CRIT, r);
	return 0;
}

/* plain: an act that flags and result describe. */
static __always_inline int plain(__u32 kind, __u8 call, __u64 flags, __s64 ret)
{
	enum event_ring ring = kind == KIND_URING_SETUP ? RING_BULK : RING_CRIT;
	struct priv_rec *r;

	if (!asked(kind))
		return 0;
	r = priv_begin(ring, kind, sizeof(*r), call);
	if (!r)
		return 0;
	r->flags = flags;
	r->result = failed(ret) ? ret : 0;
	event_submit(ring, r);
	return 0;
}

/* Signals that a process sends, to another user's. */
static __always_inline int signalled(int sig, struct kernel_siginfo___pv *info,
				     struct task_struct *task)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	const struct cred *a, *b;
	struct priv_task_rec *r;
	int code;
	__u8 call;

	if ((__u64)info <= 1)
		return 0; /* SEND_SIG_NOINFO and _PRIV: the kernel's own */
	code = BPF_CORE_READ(info, si_code);
	if (code != 0 && code != -1 && code != -6)
		return 0; /* neither kill, sigqueue nor tkill */
	a = BPF_CORE_READ(me, cred);
	b = BPF_CORE_READ(task, cred);
	if (BPF_CORE_READ(a, uid.val) == BPF_CORE_READ(b, uid.val) &&
	    BPF_CORE_READ(a, euid.val) == BPF_CORE_READ(b, euid.val))
		return 0;
	call = call_of(me, call_regs(me));
	if (!asked(KIND_SIGNAL) || call == CALL_KERNEL)
		return 0;
	r = priv_begin(RING_BULK, KIND_SIGNAL, sizeof(*r), call);
	if (!r)
		return 0;
	target_read(&r->target, task);
	r->p.bits = PRIV_TARGET;
	r->p.num = sig;
	event_submit(RING_BULK, r);
	return 0;
}

#endif
