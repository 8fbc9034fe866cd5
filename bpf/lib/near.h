/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is behind which node of the same location: for the unencrypted ways what allowed addresses are for WireGuard. They say
 * where a packet goes by whom it is for, and whether it is believed by whom it is from.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"

/* On packets (tc_index) that go to a node of the same location as they are. */
#define NEAR_PLAIN 0xca06

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_prefix);
	__type(value, struct cw_neighbour);
} neighbours SEC(".maps");

static __always_inline const struct cw_neighbour *near_at(const __be32 ip[4])
{
	struct cw_prefix key = { .length = 128 };

	ip_copy(key.ip, ip);
	return bpf_map_lookup_elem(&neighbours, &key);
}

/* How packets to an address are sent. */
static __always_inline int near_sends(const __be32 ip[4])
{
	const struct cw_neighbour *neighbour = near_at(ip);

	return neighbour ? neighbour->sends : CW_BY_WIREGUARD;
}
