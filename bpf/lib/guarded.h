/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges that never leave in the clear: the pods of the clusterset. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_prefix);
	__type(value, __u8);
} guarded SEC(".maps");

static __always_inline bool is_guarded(const __be32 ip[4])
{
	struct cw_prefix key = { .length = 128 };

	ip_copy(key.ip, ip);
	return bpf_map_lookup_elem(&guarded, &key) != NULL;
}
