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

/* The backend that the client had before, if the service asks for that and still has it; else NULL. */
static __always_inline struct cw_backend *affinity_known(const struct cw_client *client, const struct cw_ladder *ladder,
							 __u64 now)
{
	struct cw_flow *known = ladder->affinity ? bpf_map_lookup_elem(&clients, client) : NULL;
	struct cw_backend *backend = known ? stay(known, ladder, now, ladder->affinity * SECOND) : NULL;

	if (backend)
		count(CW_LB_AFFINITY);
	return backend;
}

/* Remembers the backend that was chosen, if the service asks for that. */
static __always_inline void affinity_remember(const struct cw_client *client, const struct cw_ladder *ladder,
					      const struct cw_backend *backend, __u64 now)
{
	if (backend && ladder->affinity) {
		struct cw_flow fresh = { .set = ladder->set, .used = now, .backend = *backend };

		bpf_map_update_elem(&clients, client, &fresh, BPF_ANY);
	}
}

/* The backend that the client had before, if the service asks for that; else one drawn now. NULL: nobody. */
static __always_inline struct cw_backend *affinity_choose(__u64 netns, const struct cw_address *dialled, __u32 protocol,
							  const struct cw_ladder *ladder, __u64 now)
{
	struct cw_client client = { .netns = netns, .dialled = *dialled, .protocol = protocol };
	struct cw_backend *backend = affinity_known(&client, ladder, now);

	if (backend)
		return backend;
	backend = lb_choose(ladder);
	affinity_remember(&client, ladder, backend, now);
	return backend;
}
