/* SPDX-License-Identifier: Apache-2.0 */
/* Every exit counts its reason here. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CW_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Has the compiler keep the names of the reasons in the object, where a test compares them. */
const volatile enum cw_reason reasons = CW_REASONS;

static __always_inline void count(enum cw_reason reason)
{
	__u32 key = reason;
	__u64 *counter = bpf_map_lookup_elem(&counters, &key);

	if (counter)
		(*counter)++;
}
