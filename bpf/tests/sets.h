/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of backends, and a ladder, for tests. */
#pragma once

#include "../lib/lb.h"
#include "test.h"

/* The ladder of the case. Not on the stack: the programs under test need that. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cw_ladder);
} ladders SEC(".maps");

static __always_inline struct cw_ladder *the_ladder(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ladders, &zero);
}

/* Puts the backend ::who at a place. To be checked by the verifier once, like what it tests. */
__noinline int put(__u64 set, __u32 index, __u32 who, __u64 node)
{
	struct cw_page_key key = { .set = set, .page = index / CW_PAGE };
	struct cw_backend *backend;
	struct cw_page empty = {};
	struct cw_page *page;

	bpf_map_update_elem(&backends, &key, &empty, BPF_NOEXIST);
	page = bpf_map_lookup_elem(&backends, &key);
	if (!page)
		return __LINE__;
	backend = &page->backend[index % CW_PAGE];
	backend->ip[3] = who;
	backend->port = bpf_htons(80);
	backend->node = node;
	return 0;
}
