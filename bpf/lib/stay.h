/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Staying with a backend that was drawn before: as long as that was not too long ago, its node lives and the service
 * still has it.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "lb.h"

#define SECOND 1000000000ULL

/* How many backends a ladder's set has. */
__noinline __u32 stay_set_size(const struct cw_ladder *ladder)
{
	__u32 size = 0;

	if (!ladder)
		return 0;
	for (__u32 i = 0; i < CW_TIERS; i++) {
		if (i >= ladder->tiers)
			break;
		size += ladder->tier[i].count;
	}
	return size;
}

/* The backend drawn before, if it may be kept; remembers the new set when that changed around the backend. */
static __always_inline struct cw_backend *stay(struct cw_flow *flow, const struct cw_ladder *ladder, __u64 now, __u64 idle)
{
	struct cw_backend *backend = &flow->backend;

	if (now - flow->used > idle)
		return NULL;
	if (flow->set != ladder->set) {
		__u64 *ip = (__u64 *)backend->ip;
		__u64 index = lb_find(ladder->set, stay_set_size(ladder), ip[0], ip[1], backend->port);
		struct cw_backend *found = index == LB_NONE ? NULL : lb_at(ladder->set, index);

		if (!found)
			return NULL;
		backend->node = found->node;
		flow->set = ladder->set;
	}
	if (lb_is_dead(backend->node))
		return NULL;
	if (now - flow->used > SECOND)
		flow->used = now;
	return backend;
}
