/* SPDX-License-Identifier: Apache-2.0 */
/* What a packet dials: who may, where it leads, and whom backends are to see. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "lb.h"
#include "node_address.h"
#include "tuple.h"

/* Where packets come from. */
enum side {
	SIDE_OUTSIDE,
	SIDE_POD,
	/* In an envelope, from the node that a client's packet reached first. */
	SIDE_NODE,
};

/* What is dialled by an address of its own from outside. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_frontend);
	__type(value, struct cw_outside);
} outside SEC(".maps");

/* Who may dial it, where not everybody may. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_outside_source);
	__type(value, __u8);
} outside_sources SEC(".maps");

/* Where what was dialled leads. */
struct dialled {
	const struct cw_ladder *ladder;
	bool masquerade;
	bool otherwise_drop;
	bool restricted;
};

static __always_inline void dialled_inside(struct cw_frontend *key, enum side side, struct dialled *found)
{
	found->ladder = bpf_map_lookup_elem(&frontends, key);
	if (found->ladder || side != SIDE_POD || !bpf_map_lookup_elem(&node_addresses, key->ip))
		return;
	/* As for sockets: a port of every node is written down once, under the family's unspecified address. */
	if (!ip_is_v4(key->ip))
		key->ip[0] = key->ip[1] = key->ip[2] = 0;
	key->ip[3] = 0;
	found->ladder = bpf_map_lookup_elem(&frontends, key);
}

/* Finds what a packet dials; no ladder if that is no service. */
static __always_inline void dialled_find(const struct packet *p, enum side side, struct dialled *found)
{
	struct cw_frontend key = { .port = p->tuple.destination.port, .protocol = p->tuple.protocol };
	struct cw_outside *special = NULL;

	ip_copy(key.ip, p->tuple.destination.ip);
	found->masquerade = true;
	found->otherwise_drop = found->restricted = false;
	if (side == SIDE_OUTSIDE)
		special = bpf_map_lookup_elem(&outside, &key);
	if (!special) {
		dialled_inside(&key, side, found);
		return;
	}
	found->ladder = &special->ladder;
	found->masquerade = special->masquerade;
	found->otherwise_drop = special->otherwise;
	found->restricted = special->restricted;
}

static __always_inline bool dialled_allows(const struct packet *p)
{
	struct cw_outside_source key = {
		.length = 8 * (sizeof(struct cw_frontend) + sizeof(key.ip)),
		.frontend = { .port = p->tuple.destination.port, .protocol = p->tuple.protocol },
	};

	ip_copy(key.frontend.ip, p->tuple.destination.ip);
	ip_copy(key.ip, p->tuple.source.ip);
	return bpf_map_lookup_elem(&outside_sources, &key) != NULL;
}

/* Session affinity knows clients by a number: here it stands for an address. Sockets' are small: they never meet. */
static __always_inline __u64 dialled_by(const struct cw_address *client)
{
	__u64 high = (__u64)client->ip[0] << 32 | client->ip[1], low = (__u64)client->ip[2] << 32 | client->ip[3];

	return (high * 0x9e3779b97f4a7c15ULL + low) | 1ULL << 63;
}
