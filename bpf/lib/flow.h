/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for sockets that send to many addresses without connecting: datagrams from one socket to one virtual
 * address stay with one backend while they keep coming, its node lives and the service still has it; and what comes
 * back is shown to come from the virtual address.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "lb.h"

#define SECOND 1000000000ULL

/* A flow that was silent for so long may go elsewhere. Set before loading. */
volatile const __u64 flow_idle = 60 * SECOND;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct cw_flow_key);
	__type(value, struct cw_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct cw_flow_key);
	__type(value, struct cw_address);
} replies SEC(".maps");

/* How many backends a ladder's set has. */
static __always_inline __u32 flow_set_size(const struct cw_ladder *ladder)
{
	__u32 last = ladder->tiers - 1;

	if (last >= CW_TIERS)
		return 0;
	return ladder->tier[last].begin + ladder->tier[last].count;
}

/* The backend of a flow, if the flow may stay with it; remembers the new set when it changed around the backend. */
static __always_inline struct cw_backend *flow_backend(struct cw_flow *flow, const struct cw_ladder *ladder, __u64 now)
{
	struct cw_backend *backend = &flow->backend;

	if (now - flow->used > flow_idle)
		return NULL;
	if (flow->set != ladder->set) {
		__u64 *ip = (__u64 *)backend->ip;
		__u64 index = lb_find(ladder->set, flow_set_size(ladder), ip[0], ip[1], backend->port);
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

/* Remembers whom to show as the sender of what the backend answers. */
static __always_inline void flow_remember_reply(__u64 cookie, const struct cw_address *vip,
						const struct cw_backend *backend)
{
	struct cw_flow_key key = { .cookie = cookie };
	struct cw_address *known;

	ip_copy(key.address.ip, backend->ip);
	key.address.port = backend->port;
	known = bpf_map_lookup_elem(&replies, &key);
	if (!known || known->port != vip->port || !ip_equal(known->ip, vip->ip))
		bpf_map_update_elem(&replies, &key, vip, BPF_ANY);
}

/* Where a datagram goes: where the last one went, or to a backend drawn now. NULL: nowhere. */
static __always_inline struct cw_backend *flow_choose(__u64 cookie, const struct cw_address *vip,
						      const struct cw_ladder *ladder, __u64 now)
{
	struct cw_flow_key key = { .cookie = cookie, .address = *vip };
	struct cw_flow *flow = bpf_map_lookup_elem(&flows, &key);
	struct cw_backend *backend = flow ? flow_backend(flow, ladder, now) : NULL;

	if (backend) {
		count(CW_LB_STAYED);
	} else {
		backend = lb_choose(ladder);
		if (!backend)
			return NULL;
		struct cw_flow fresh = { .set = ladder->set, .used = now, .backend = *backend };

		bpf_map_update_elem(&flows, &key, &fresh, BPF_ANY);
	}
	flow_remember_reply(cookie, vip, backend);
	return backend;
}
