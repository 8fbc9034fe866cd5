/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large packets may be on their way through the mesh. The routes say the same; but what the kernel tells programs of a
 * route (bpf_fib_lookup) is its device's MTU.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"

/* All of the mesh, and ranges in it that less gets through to. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_prefix);
	__type(value, __u32);
} mtus SEC(".maps");

/* Bytes of the largest packet that gets to an address, if the mesh leads there; 0: nobody knows. */
static __always_inline __u32 mtu_to(const __be32 ip[4])
{
	struct cw_prefix key = { .length = 128 };
	const __u32 *mtu;

	ip_copy(key.ip, ip);
	mtu = bpf_map_lookup_elem(&mtus, &key);
	return mtu ? *mtu : 0;
}
