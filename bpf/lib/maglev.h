/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maglev: all nodes look a flow up in the same table, so it is led to the same backend by whichever of them it comes in. Only
 * first rungs have tables; where the backend found is dead some more places of the flow are looked at, in the same order by
 * every node, before one is drawn.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "count.h"
#include "lb.h"

#define MAGLEV_TRIES 4

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_table_key);
	__type(value, struct cw_table_page);
} tables SEC(".maps");

/* How many places a table has, by the number that a rung gives: the largest primes below powers of two. */
static __always_inline __u32 maglev_places(__u8 table)
{
	switch (table) {
	case 1:
		return 251;
	case 2:
		return 509;
	case 3:
		return 1021;
	case 4:
		return 2039;
	case 5:
		return 4093;
	case 6:
		return 8191;
	case 7:
		return 16381;
	case 8:
		return 32749;
	case 9:
		return 65521;
	case 10:
		return 131071;
	default:
		return 0;
	}
}

static __always_inline __u64 maglev_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static __always_inline __u64 maglev_mix_ip(__u64 hash, const __be32 ip[4])
{
	hash = maglev_mix(hash, (__u64)ip[0] << 32 | ip[1]);
	return maglev_mix(hash, (__u64)ip[2] << 32 | ip[3]);
}

/* A flow's number, the same on every node; of a client alone where all of its flows are to go to one backend. */
static __always_inline __u64 maglev_hash(const struct cw_tuple *flow, bool client)
{
	__u64 ports = (__u64)flow->source.port << 32 | flow->destination.port << 16 | flow->protocol;
	__u64 hash = maglev_mix_ip(0x6d61676c6576ULL, flow->source.ip);

	if (client)
		return maglev_mix(hash, 0);
	return maglev_mix(maglev_mix_ip(hash, flow->destination.ip), ports);
}

/* Which backend has a place of the table of so many of a set, if it is alive; else LB_NONE. */
__noinline __u64 maglev_at(__u64 set, __u32 count, __u32 place)
{
	struct cw_table_key key = { .set = set, .count = count, .page = place / CW_TABLE_PAGE };
	const struct cw_table_page *page = bpf_map_lookup_elem(&tables, &key);
	__u32 index;

	if (!page)
		return LB_NONE;
	index = page->place[place % CW_TABLE_PAGE];
	return index < count && lb_alive_at(set, index) ? index : LB_NONE;
}

/* Which of so many backends of a set a flow's number gives, by a table of so many places; LB_NONE if it finds none alive. */
__noinline __u64 maglev_find(__u64 set, __u32 count, __u32 places, __u64 hash)
{
	for (__u32 i = 0; i < MAGLEV_TRIES; i++) {
		__u64 found = maglev_at(set, count, (hash >> 32) * places >> 32);

		if (found != LB_NONE)
			return found;
		hash = maglev_mix(hash, i + 1);
	}
	return LB_NONE;
}

/*
 * The backend of a flow's number if the ladder has a table and that finds one; else NULL, and the rung at which to look for
 * one: what the first one cannot carry goes on, the same flows whichever node they come in by.
 */
static __always_inline struct cw_backend *maglev_choose(const struct cw_ladder *ladder, __u64 hash, __u32 *from)
{
	const struct cw_tier *tier = &ladder->tier[0];
	struct cw_backend *backend;
	__u64 found;

	if (ladder->tiers > 1 && (hash & 0xffff) < tier->passes) {
		*from = 1;
		return NULL;
	}
	found = maglev_find(ladder->set, tier->count, maglev_places(tier->table), hash);
	backend = found == LB_NONE ? NULL : lb_at(ladder->set, found);
	if (backend)
		count(tier->kind <= CW_LB_ELSEWHERE ? tier->kind : CW_LB_ELSEWHERE);
	return backend;
}
