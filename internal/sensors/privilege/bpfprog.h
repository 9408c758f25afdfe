/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* BPF programs: what they are, and which helpers they call. */
#ifndef MERLON_PRIVILEGE_BPFPROG_H
#define MERLON_PRIVILEGE_BPFPROG_H

#include "pending.h"

#define BPF_CALL 0x85 /* BPF_JMP | BPF_CALL */
#define CHUNK 8 /* instructions read at a time */
#define SCANNED 2048 /* instructions */

/*
 * scan: before the verifier replaces them, call instructions carry the number
 * of the helper (include/uapi/linux/bpf.h: src_reg 0).
 */
static __always_inline int scan(struct bpf_prog___pv **slot)
{
	struct pending *p = pend(KIND_BPF_LOAD);
	struct bpf_prog___pv *prog = NULL;
	void *insns;
	__u32 len;

	if (!p)
		return 0;
	bpf_probe_read_kernel(&prog, sizeof(prog), slot);
	p->arg[0] = (__u64)slot;
	p->arg[1] = (__u64)prog;
	len = BPF_CORE_READ(prog, len);
	insns = (void *)prog + bpf_core_field_offset(struct bpf_prog___pv, insnsi);
	/*
	 * In the map, not on the stack: Linux 6.1 gives up ("verifier backtracking
	 * bug") where the bounds of what was read to the stack matter.
	 */
	for (__u32 i = 0; i < SCANNED / CHUNK; i++) {
		if (i * CHUNK >= len)
			break;
		if (bpf_probe_read_kernel(p->saved, CHUNK * 8, insns + i * CHUNK * 8))
			break; /* can't be: programs take whole pages */
#pragma unroll
		for (int j = 0; j < CHUNK; j++) {
			__u64 insn = p->saved[j], imm = insn >> 32, word = imm >> 6;

			/* for the verifier, which forgets imm; the compiler would leave it out */
			asm volatile("%0 &= 3" : "+r"(word));
			if ((insn & 0xf0ff) == BPF_CALL && imm < 256)
				p->helpers[word] |= 1ULL << (imm & 63);
		}
	}
	return 0;
}

/* checked: the verifier's verdict; tag and name are final by then. */
static __always_inline int checked(__s64 ret)
{
	struct pending *p = take(KIND_BPF_LOAD);
	struct bpf_prog___pv *prog = NULL;
	struct priv_bpf_rec *r;

	if (!p)
		return 0;
	r = priv_begin(RING_CRIT, KIND_BPF_LOAD, sizeof(*r), CALL_BPF);
	if (!r)
		return done(KIND_BPF_LOAD);
	bpf_probe_read_kernel(&prog, sizeof(prog), (void *)p->arg[0]);
	r->p.num = BPF_CORE_READ(prog, type);
	r->p.result = (__s32)ret;
	r->helpers[0] = p->helpers[0];
	r->helpers[1] = p->helpers[1];
	r->helpers[2] = p->helpers[2];
	r->helpers[3] = p->helpers[3];
	BPF_CORE_READ_INTO(&r->tag, prog, tag);
	BPF_CORE_READ_INTO(&r->name, prog, aux, name);
	event_submit(RING_CRIT, r);
	return done(KIND_BPF_LOAD);
}

#endif
