/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of this sensor. */
#ifndef MERLON_FILE_RECORD_H
#define MERLON_FILE_RECORD_H

#include "event.h"
#include "actor.h"
#include "path.h"

enum file_bit {
	BIT_NO_RESULT = 1,
	BIT_WRITE = 2,
	BIT_UPPER = 4,
	BIT_MEMFD = 8,
	BIT_REMOVED = 16,
	BIT_URING = 32,
	BIT_MERGED = 64, /* fanotify */
	BIT_PARTIAL = 128,
};

struct act_rec {
	struct event_hdr hdr;
	struct event_actor actor;
	__u64 ino;
	__u64 size;
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 uid, gid;
	__u32 old_uid, old_gid;
	__u32 nlink;
	__u32 flags; /* of open(2) or renameat2(2) */
	__s32 result;
	__u16 mode; /* type included */
	__u16 old_mode;
	__u16 bits; /* enum file_bit */
	__u16 path_len;
	__u16 new_len;
	__u16 text_len; /* without NUL: symbolic link or xattr name */
	__u8 status; /* enum path_status */
	__u8 new_status;
	__u8 pad[2];
	char fs[16];
	/* then: path, new path, text */
};

struct mount_rec {
	struct event_hdr hdr;
	struct event_actor actor;
	__u64 flags;
	__u32 dev;
	__s32 result;
	__u16 bits;
	__u16 target_len;
	__u16 source_len; /* the strings without NUL */
	__u16 options_len;
	__u8 status;
	__u8 source_path; /* the source is a path, leaf first */
	__u8 pad[6];
	char fs[16];
	/* then: target, source, options */
};

/* What user space tells the programs. */
struct file_conf {
	__u64 kinds; /* 1 << enum event_kind */
	__u32 watching; /* file_watch has entries */
	__u32 pad;
};

enum watch_flag {
	WATCH_BELOW = 1, /* all below this directory */
	WATCH_NAMES = 2, /* names in this directory: see file_names */
	WATCH_SELF = 4, /* this inode */
};

struct watch_key {
	__u64 ino;
	__u32 dev;
	__u32 pad;
};

/* Where a call has the flags of the open. */
enum open_call {
	OPEN_NONE = 0, /* it opens nothing */
	OPEN_ARG2 = 1,
	OPEN_ARG3 = 2,
	OPEN_CREAT = 3, /* nowhere, they are always the same */
	OPEN_MEMORY = 4, /* in user memory */
};

#define NAME_KEY 64

struct name_key {
	struct watch_key dir;
	char name[NAME_KEY]; /* NUL-padded */
};

/* What Go needs of these types; a pointer that stays NULL puts them into BTF. */
struct wire_types {
	struct act_rec act;
	struct mount_rec mount;
	struct file_conf conf;
	struct name_key name;
	enum event_kind kind;
	enum file_bit bit;
	enum watch_flag watch;
	enum open_call open;
	enum path_status path_status;
};

const volatile struct wire_types *const volatile wire_types = NULL;

#endif
