/* SPDX-License-Identifier: Apache-2.0 */
/* Where node ports are dialled, by sockets and by pods' packets: for others `outside` has each of them. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_node_address);
	__type(value, __u8);
} node_addresses SEC(".maps");
