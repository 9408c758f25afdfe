/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of this sensor. */
#ifndef MERLON_PROCESS_RECORD_H
#define MERLON_PROCESS_RECORD_H

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

/* What Go needs of these types; a pointer that stays NULL puts them into BTF. */
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

#endif
