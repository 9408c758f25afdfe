//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Credentials, namespaces, other processes' memory, code for the kernel. */
#include "bpfprog.h"
#include "capable.h"
#include "syscalls.h"

/* What Go needs of these types; a pointer that stays NULL puts them into BTF. */
struct wire_types {
	struct priv_cred_rec cred;
	struct priv_task_rec task;
	struct priv_name_rec name;
	struct priv_bpf_rec bpf;
	struct priv_path_rec path;
	enum event_kind kind;
	enum priv_call call;
	enum priv_bit bit;
	enum path_status status;
};

const volatile struct wire_types *const volatile wire_types = NULL;

#define TASK(x) ((struct task_struct *)(x))

/* credentials and namespaces */
ACT_ENTRY(pv_cred, "commit_creds", 1, commit((void *)A))
ACT_EXIT(pv_userns, "create_user_ns", 1, KIND_USERNS_CREATE, true, userns((void *)A, R))
ACT_EXIT(pv_unshare, "ksys_unshare", 1, KIND_UNSHARE, true, unshare(A, R))
ACT_ENTRY(pv_setns, "switch_task_namespaces", 2, setns(TASK(A), (void *)B))
ACT_ENTRY(pv_chroot, "set_fs_root", 2, new_root(KIND_CHROOT, CALL_CHROOT, (void *)B, 0))
ACT_ENTRY(pv_pivot, "security_sb_pivotroot", 2,
	  new_root(KIND_PIVOT_ROOT, CALL_PIVOT_ROOT, (void *)B, PRIV_NO_RESULT))

/* other processes */
ACT_EXIT(pv_attach, "ptrace_attach", 4, KIND_PTRACE, true,
	 on_task(KIND_PTRACE, TASK(A), CALL_PTRACE, B, 0, (__s32)R))
ACT_EXIT(pv_poke, "arch_ptrace", 4, KIND_PTRACE, changing(B),
	 on_task(KIND_PTRACE, TASK(A), CALL_PTRACE, B, C, (__s32)R))
ACT_EXIT(pv_vmw, "mm_access", 2, KIND_VM_WRITE, true, vm_access(TASK(A), R))
ACT_EXIT(pv_mem, "mem_open", 2, KIND_MEM_WRITE, true, mem_opened((void *)A, (void *)B, R))

/* memory */
ACT_EXIT(pv_memfd, "shmem_file_setup", 3, KIND_MEMFD_CREATE, true, memfd((void *)A, R))
ACT_EXIT(pv_hugefd, "hugetlb_file_setup", 5, KIND_MEMFD_CREATE, true, memfd((void *)A, R))
ACT_EXIT(pv_map, "vm_mmap_pgoff", 6, KIND_WX_MAP,
	 (B & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC), mapped(A, B, C, R))
ACT_ENTRY(pv_prot, "security_file_mprotect", 3, protected((void *)A, B))

/* the kernel */
ACT_EXIT(pv_kexec, SYS_ "kexec_load", 1, KIND_KEXEC, true,
	 plain(KIND_KEXEC, CALL_KEXEC, call_arg((void *)A, 3), R))
ACT_EXIT(pv_kexecf, SYS_ "kexec_file_load", 1, KIND_KEXEC, true,
	 plain(KIND_KEXEC, CALL_FKEXEC, call_arg((void *)A, 4), R))
ACT_EXIT(pv_perf, SYS_ "perf_event_open", 1, KIND_PERF_OPEN, true, perf_opened((void *)A, R))
ACT_EXIT(pv_keyring, "join_session_keyring", 1, KIND_KEYRING_JOIN, true,
	 named(KIND_KEYRING_JOIN, CALL_KEYCTL, (void *)A, 0, R))

/* The first argument is a pointer to a pointer, which trampolines don't hand out. */
SEC("fentry/bpf_check")
int pv_bpf_e(__u64 *ctx)
{
	void *slot = NULL;

	bpf_probe_read_kernel(&slot, sizeof(slot), ctx);
	return scan(slot);
}

/*
 * Where the result lies depends on the arguments: three words, since Linux 5.14
 * (af2ac3e13e45) four, since 6.4 (47a71c1f9af0) five.
 */
SEC("fexit/bpf_check")
int pv_bpf_x3(__u64 *ctx)
{
	return checked(ctx[3]);
}

SEC("fexit/bpf_check")
int pv_bpf_x4(__u64 *ctx)
{
	return checked(ctx[4]);
}

SEC("fexit/bpf_check")
int pv_bpf_x5(__u64 *ctx)
{
	return checked(ctx[5]);
}

SEC("kprobe/bpf_check")
int pv_bpf_k(struct pt_regs *ctx)
{
	return scan((void *)PARM1(ctx));
}

SEC("kretprobe/bpf_check")
int pv_bpf_r(struct pt_regs *ctx)
{
	return checked((__s32)RET(ctx));
}

SEC("raw_tp/module_load")
int pv_modload(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct module___pv *m = (void *)ctx->args[0];

	return named(KIND_MODULE_LOAD, call_of(me, call_regs(me)),
		     __builtin_preserve_access_index(&m->name[0]), 0, 0);
}

SEC("raw_tp/module_free")
int pv_modfree(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	struct module___pv *m = (void *)ctx->args[0];

	return named(KIND_MODULE_UNLOAD, call_of(me, call_regs(me)),
		     __builtin_preserve_access_index(&m->name[0]), 0, 0);
}

/* io_uring_create(fd, ctx, sq_entries, cq_entries, flags): Linux 5.5 to 6.18 alike */
SEC("raw_tp/io_uring_create")
int pv_uring(struct bpf_raw_tracepoint_args *ctx)
{
	return plain(KIND_URING_SETUP, CALL_URING, (__u32)ctx->args[4], 0);
}

/* signal_generate(sig, info, task, group, result) */
SEC("raw_tp/signal_generate")
int pv_signal(struct bpf_raw_tracepoint_args *ctx)
{
	return signalled(ctx->args[0], (void *)ctx->args[1], (void *)ctx->args[2]);
}

/* A process that is born into a user namespace of its own: clone(CLONE_NEWUSER). */
SEC("raw_tp/sched_process_fork")
int pv_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	struct user_namespace *ns = BPF_CORE_READ(child, cred, user_ns);
	struct priv_rec *r;

	if (ns == BPF_CORE_READ(parent, cred, user_ns) || !asked(KIND_USERNS_CREATE))
		return 0;
	r = priv_begin(RING_CRIT, KIND_USERNS_CREATE, sizeof(*r), CALL_FORK);
	if (!r)
		return 0;
	r->types = CLONE_NEWUSER;
	r->ns = BPF_CORE_READ(ns, ns.inum);
	event_submit(RING_CRIT, r);
	return 0;
}

SEC("raw_tp/cap_capable")
int pv_capable(struct bpf_raw_tracepoint_args *ctx)
{
	return capable(ctx, ctx->args[3], (__s32)ctx->args[4]);
}

SEC("raw_tp/sys_enter")
int pv_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return entered((void *)ctx->args[0]);
}

SEC("raw_tp/sys_exit")
int pv_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return left((void *)ctx->args[0], ctx->args[1]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
