/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of the privilege sensor. */
#ifndef MERLON_PRIVILEGE_RECORD_H
#define MERLON_PRIVILEGE_RECORD_H

#include "kernel.h"
#include "event.h"
#include "actor.h"
#include "cred.h"
#include "path.h"

/* The system calls we know by name; priv_calls leads from numbers to them. */
enum priv_call {
	CALL_OTHER = 0,
	CALL_SETUID = 1,
	CALL_SETREUID = 2,
	CALL_SETRESUID = 3,
	CALL_SETFSUID = 4,
	CALL_SETGID = 5,
	CALL_SETREGID = 6,
	CALL_SETRESGID = 7,
	CALL_SETFSGID = 8,
	CALL_SETGROUPS = 9,
	CALL_CAPSET = 10,
	CALL_PRCTL = 11,
	CALL_EXEC = 12,
	CALL_CLONE = 13,
	CALL_CLONE3 = 14,
	CALL_UNSHARE = 15,
	CALL_SETNS = 16,
	CALL_CHROOT = 17,
	CALL_PIVOT_ROOT = 18,
	CALL_PTRACE = 19,
	CALL_VM_WRITEV = 20,
	CALL_OPEN = 21,
	CALL_MEMFD_CREATE = 22,
	CALL_MMAP = 23,
	CALL_MPROTECT = 24,
	CALL_MODULE = 25,
	CALL_FMODULE = 26,
	CALL_DMODULE = 27,
	CALL_BPF = 28,
	CALL_KEXEC = 29,
	CALL_FKEXEC = 30,
	CALL_PERF = 31,
	CALL_KEYCTL = 32,
	CALL_KILL = 33,
	CALL_TKILL = 34,
	CALL_TGKILL = 35,
	CALL_SIGQUEUE = 36,
	CALL_TGSIGQUEUE = 37,
	CALL_PIDFD_SIGNAL = 38,
	CALL_URING = 39,
	CALL_PKEY_MPROTECT = 40,
	CALL_FORK = 41,
	CALL_COMPAT = 62, /* a 32-bit call: its number means another call */
	CALL_KERNEL = 63, /* no call at all: a thread of the kernel */
};

enum priv_bit {
	PRIV_NO_RESULT = 1, /* the hook comes before the outcome is known */
	PRIV_CAPABLE = 2, /* only the check of capability num was seen */
	PRIV_TARGET = 4, /* the target is known by more than its pid */
};

/* What every record begins with; most are nothing more. */
struct priv_rec {
	struct event_hdr hdr;
	struct event_actor actor;
	struct creds before;
	__u64 flags;
	__u64 address;
	__u64 length;
	__s64 result;
	__u32 userns; /* the actor's */
	__u32 ns;
	__u32 types; /* CLONE_NEW* */
	__u16 num; /* signal, capability, request, protection, type: of the kind */
	__u8 call; /* enum priv_call */
	__u8 bits; /* enum priv_bit */
};

struct priv_cred_rec {
	struct priv_rec p;
	struct creds after;
};

struct priv_target {
	__u64 start;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	__u32 euid;
	__u32 suid;
	__u32 pad;
	char comm[16];
};

struct priv_task_rec {
	struct priv_rec p;
	struct priv_target target;
};

struct priv_name_rec {
	struct priv_rec p;
	char name[256];
};

struct priv_bpf_rec {
	struct priv_rec p;
	__u64 helpers[4]; /* bit n: helper n is called */
	__u8 tag[8];
	char name[16];
};

#define PRIV_PATH 2048
#define PRIV_PATH_DEPTH 48

struct priv_path_rec {
	struct priv_rec p;
	__u16 len;
	__u8 status; /* enum path_status */
	__u8 pad[5];
	__u8 path[PRIV_PATH + 256]; /* components, leaf first, each followed by '/' */
};

/* By which mechanism a kind is seen: index of priv_kinds. */
enum priv_way {
	WAY_ACT = 0,
	WAY_CAPABLE = 1,
	WAY_SYSCALL = 2,
	WAY_MAX = 3,
};

/* The kinds that are asked for, bit kind - KIND_SETUID. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAY_MAX);
	__type(key, __u32);
	__type(value, __u64);
} priv_kinds SEC(".maps");

const volatile bool priv_all; /* every kind, whatever the map says */
const volatile __u8 priv_calls[512]; /* number of a system call to enum priv_call */

static __always_inline bool asked_by(__u32 way, __u32 kind)
{
	__u64 *mask;

	if (priv_all)
		return true;
	mask = bpf_map_lookup_elem(&priv_kinds, &way);
	return mask && *mask & 1ULL << (kind - KIND_SETUID);
}

static __always_inline bool asked(__u32 kind)
{
	return asked_by(WAY_ACT, kind);
}

#endif
