/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session affinity: a client, which is a network namespace, stays with its backend of a service while it comes back
 * within the service's time.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "count.h"
#include "lb.h"
#include "stay.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct cw_client);
	__type(value, struct cw_flow);
} clients SEC(".maps");

/* The backend that the client had before, if the service asks for that; else one drawn now. NULL: nobody. */
static __always_inline struct cw_backend *affinity_choose(__u64 netns, const struct cw_address *dialled, __u32 protocol,
							  const struct cw_ladder *ladder, __u64 now)
{
	struct cw_client key = { .netns = netns, .dialled = *dialled, .protocol = protocol };
	struct cw_backend *backend = NULL;

	if (ladder->affinity) {
		struct cw_flow *known = bpf_map_lookup_elem(&clients, &key);

		if (known)
			backend = stay(known, ladder, now, ladder->affinity * SECOND);
		if (backend) {
			count(CW_LB_AFFINITY);
			return backend;
		}
	}
	backend = lb_choose(ladder);
	if (backend && ladder->affinity) {
		struct cw_flow fresh = { .set = ladder->set, .used = now, .backend = *backend };

		bpf_map_update_elem(&clients, &key, &fresh, BPF_ANY);
	}
	return backend;
}
