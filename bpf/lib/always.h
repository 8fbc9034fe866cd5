/* SPDX-License-Identifier: Apache-2.0 */
/* What no policy takes from a node itself: the ports and addresses without which nobody could reach it to mend a policy. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_always);
	__type(value, __u8);
} always_allowed SEC(".maps");
