/* SPDX-License-Identifier: Apache-2.0 */
/* Where it is written what became of packets that were translated: lib/nat.h writes, others ask who an end really is. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

/* Where packets are met: on their way into the node, on their way out of its own stack. */
#define NAT_INGRESS 0
#define NAT_EGRESS 1

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct cw_tuple);
	__type(value, struct cw_nat);
} nat SEC(".maps");
