/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The records of this sensor. */
#ifndef MERLON_NETWORK_RECORD_H
#define MERLON_NETWORK_RECORD_H

#include "event.h"
#include "actor.h"

enum net_flag {
	NET_IN = 1, /* accepted, or the first datagram came in */
	NET_OUT = 2,
	NET_SEEDED = 4, /* the socket was there before us */
	NET_NO_RESULT = 8,
	NET_MPTCP = 16, /* a subflow of MPTCP */
	NET_END = 32, /* of a flow: a net_end_rec */
};

struct net_rec {
	struct event_hdr hdr; /* flags: enum net_flag */
	struct event_actor actor;
	__u64 cookie;
	__u64 duration; /* ns; connect: from the SYN to its outcome. 0 is unknown */
	__u32 netns;
	__s32 result;
	__u32 value; /* listen: the backlog */
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 lport; /* host order */
	__u16 rport;
	__u16 pad;
	__u8 laddr[16]; /* a v4 address takes the first 4 bytes */
	__u8 raddr[16];
};

struct net_end_rec {
	struct net_rec net;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 packets_in;
	__u64 packets_out;
	__u32 retrans;
	__u32 rtt_us;
};

#define UNIX_PATH 108

struct unix_rec {
	struct event_hdr hdr;
	struct event_actor actor;
	__u64 cookie;
	__u32 netns;
	__s32 result;
	__u16 type;
	__u16 len; /* bytes of path; an abstract name begins with NUL */
	__u8 path[UNIX_PATH];
	__u32 pad;
};

/* What is remembered of a socket, from its first act to its end. */
enum sock_note {
	NOTE_IN = 1,
	NOTE_OUT = 2,
	NOTE_UP = 4, /* it was established */
	NOTE_TRY = 8, /* connect(2) was called and no SYN has gone yet */
	NOTE_OLD = 16, /* was there before us */
	NOTE_TOLD = 32, /* as a listener that was there before us, or as accepted */
	NOTE_UDP = 64,
};

/* What Go needs of these types; a pointer that stays NULL puts them into BTF. */
struct wire_types {
	struct net_rec net;
	struct net_end_rec end;
	struct unix_rec un;
	enum event_kind kind;
	enum net_flag flag;
	enum sock_note note;
};

const volatile struct wire_types *const volatile wire_types = NULL;

#endif
