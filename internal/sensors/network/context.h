/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From the contexts of cgroup programs to the kernel's objects. */
#ifndef MERLON_NETWORK_CONTEXT_H
#define MERLON_NETWORK_CONTEXT_H

#include "kernel.h"

/*
 * kernel_address: what a typed pointer points at, as a number that the verifier
 * knows nothing of, so that it can be the key of a map and be read by CO-RE.
 */
static __always_inline struct sock *kernel_address(void *typed)
{
	void *volatile spilled = typed;
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), (void *)&spilled);
	return (void *)address;
}

#endif
