//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The shared maps of bpf/lib/event.h and nothing else: internal/kernel creates
 * them once from this object and injects them, by name, into every other one.
 */
#include "actor.h"
#include "event.h"

/* Put the enumerations into BTF, so that Go takes its names from there. */
const volatile enum event_kind unused_kind;
const volatile enum loss_reason unused_loss;
const volatile enum fault_reason unused_fault;
const volatile struct event_hdr unused_hdr;
const volatile struct event_actor unused_actor;

char _license[] SEC("license") = "Dual BSD/GPL";
