/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for sockets that send to many addresses without connecting: datagrams from one socket to one virtual
 * address stay with one backend while they keep coming, its node lives and the service still has it; and what comes
 * back is shown to come from the virtual address.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "affinity.h"
#include "lb.h"
#include "stay.h"

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

/*
 * Where a datagram of a socket goes: where the last one went, else where its network namespace's last socket went if the
 * service asks for that, else to a backend drawn now. NULL: nowhere.
 */
static __always_inline struct cw_backend *flow_choose(__u64 cookie, __u64 netns, const struct cw_address *vip,
						      const struct cw_ladder *ladder, __u64 now)
{
	struct cw_flow_key key = { .cookie = cookie, .address = *vip };
	struct cw_flow *flow = bpf_map_lookup_elem(&flows, &key);
	struct cw_backend *backend = flow ? stay(flow, ladder, now, flow_idle) : NULL;

	if (backend) {
		count(CW_LB_STAYED);
	} else {
		backend = affinity_choose(netns, vip, IPPROTO_UDP, ladder, now);
		if (!backend)
			return NULL;
		struct cw_flow fresh = { .set = ladder->set, .used = now, .backend = *backend };

		bpf_map_update_elem(&flows, &key, &fresh, BPF_ANY);
	}
	flow_remember_reply(cookie, vip, backend);
	return backend;
}
