/* SPDX-License-Identifier: Apache-2.0 */
/* Which pods policies are about. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

/* By the pod's address. Whoever is not here, or open both ways, is not looked at further. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_node_address);
	__type(value, struct cw_subject);
} subjects SEC(".maps");

/* NULL: no policy is about it. */
static __always_inline const struct cw_subject *subject_at(const __be32 ip[4])
{
	const struct cw_subject *subject = bpf_map_lookup_elem(&subjects, ip);

	return subject && (subject->ingress || subject->egress) ? subject : NULL;
}
