/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ladder: the nearest tier that has a backend on a living node, but for what a tier lets go on to the next; and
 * inside the tier any backend with the same chance. A backend on a dead node is never chosen; refusing is the last resort.
 *
 * The functions that are not static are so on purpose: the verifier checks such a function once, not once per call.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "count.h"

/* Draws before looking at every backend of a tier. */
#define LB_DRAWS 6
/*
 * A tier is looked at in so many pieces of such a size: 4096 backends. The verifier follows every turn of the loop over a piece,
 * at every start, and the pieces only as calls.
 */
#define LB_PIECE 64
#define LB_PIECES 64
/* When a set changes, a flow looks for its backend among so many pieces of the new one: 256 backends. */
#define LB_SEARCHED 4
#define LB_NONE (~0ULL)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_frontend);
	__type(value, struct cw_ladder);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_page_key);
	__type(value, struct cw_page);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} dead SEC(".maps");

static __always_inline bool lb_is_dead(__u64 node)
{
	return node && bpf_map_lookup_elem(&dead, &node);
}

/* The backend at a place of a set, or NULL when nobody stands there. */
static __always_inline struct cw_backend *lb_at(__u64 set, __u32 index)
{
	struct cw_page_key key = { .set = set, .page = index / CW_PAGE };
	struct cw_page *page = bpf_map_lookup_elem(&backends, &key);
	struct cw_backend *backend;

	if (!page)
		return NULL;
	backend = &page->backend[index % CW_PAGE];
	return backend->port ? backend : NULL;
}

static __always_inline struct cw_backend *lb_alive_at(__u64 set, __u32 index)
{
	struct cw_backend *backend = lb_at(set, index);

	return backend && !lb_is_dead(backend->node) ? backend : NULL;
}

/* A number below the bound, each with the same chance but for one part in four milliards. */
static __always_inline __u32 lb_random(__u32 bound)
{
	return ((__u64)bpf_get_prandom_u32() * bound) >> 32;
}

/* How many of a piece (of so many at most) are alive (high half), and one of them, each with the same chance (low half). */
__noinline __u64 lb_scan_piece(__u64 set, __u32 begin, __u32 count)
{
	__u32 alive = 0, choice = 0;

	for (__u32 i = 0; i < LB_PIECE; i++) {
		if (i >= count)
			break;
		if (!lb_alive_at(set, begin + i))
			continue;
		alive++;
		if (!lb_random(alive))
			choice = begin + i;
	}
	return (__u64)alive << 32 | choice;
}

/* A living backend of a tier, when the first draw was none: some more draws, then every one. */
__noinline __u64 lb_redraw(__u64 set, __u32 begin, __u32 count)
{
	__u64 choice = LB_NONE;
	__u32 alive = 0;

	for (int i = 0; i < LB_DRAWS; i++) {
		__u32 index = begin + lb_random(count);

		if (lb_alive_at(set, index))
			return index;
	}
	for (__u32 i = 0; i < LB_PIECES; i++) {
		__u32 done = i * LB_PIECE, more;
		__u64 piece;

		if (done >= count)
			break;
		piece = lb_scan_piece(set, begin + done, count - done);
		more = piece >> 32;
		alive += more;
		if (lb_random(alive) < more)
			choice = (__u32)piece;
	}
	return choice;
}

/* The place of a backend in a piece of a set (where it begins in the high half of `piece`, and how long it is), by its address. */
__noinline __u64 lb_find_in(__u64 set, __u64 piece, __u64 high, __u64 low, __u32 port)
{
	__u32 begin = piece >> 32, count = piece;

	for (__u32 i = 0; i < LB_PIECE; i++) {
		struct cw_backend *backend;
		__u64 *ip;

		if (i >= count)
			break;
		backend = lb_at(set, begin + i);
		if (!backend)
			continue;
		ip = (__u64 *)backend->ip;
		/* One branch, not three: the verifier follows each of them in every turn. */
		if (!((ip[0] ^ high) | (ip[1] ^ low) | (backend->port ^ port)))
			return begin + i;
	}
	return LB_NONE;
}

/* The place of a backend in a set, by its address; LB_NONE when it has left. */
__noinline __u64 lb_find(__u64 set, __u32 count, __u64 high, __u64 low, __u32 port)
{
	for (__u32 i = 0; i < LB_SEARCHED; i++) {
		__u32 begin = i * LB_PIECE;
		__u64 found;

		if (begin >= count)
			break;
		found = lb_find_in(set, (__u64)begin << 32 | (count - begin), high, low, port);
		if (found != LB_NONE)
			return found;
	}
	return LB_NONE;
}

/* The rung at which a walk begins: what a nearer one cannot carry goes on. The last one takes what comes to it. */
__noinline __u32 lb_begin(const struct cw_ladder *ladder)
{
	if (!ladder)
		return 0;
	for (__u32 i = 0; i < CW_TIERS - 1; i++) {
		__u16 passes = ladder->tier[i].passes;

		if (i + 1 >= ladder->tiers || !passes || (bpf_get_prandom_u32() & 0xffff) >= passes)
			return i;
	}
	return CW_TIERS - 1;
}

/* The place of a living backend of a tier, each with the same chance; LB_NONE when there is none. */
__noinline __u64 lb_draw(__u64 set, __u32 begin, __u32 backends)
{
	__u32 index = begin + lb_random(backends);
	__u64 found;

	if (lb_alive_at(set, index))
		return index;
	found = lb_redraw(set, begin, backends);
	if (found != LB_NONE)
		count(CW_LB_REDRAWN);
	return found;
}

/* The place of a living backend of the nearest tier from this rung on that has one, or LB_NONE; counts which tier it was. */
__noinline __u64 lb_walk(const struct cw_ladder *ladder, __u32 from)
{
	__u32 end = 0;

	if (!ladder)
		return LB_NONE;
	for (__u32 i = 0; i < CW_TIERS; i++) {
		const struct cw_tier *tier = &ladder->tier[i];
		__u32 begin = end;
		__u64 found;

		if (i >= ladder->tiers)
			break;
		end += tier->count;
		if (i < from || !tier->count)
			continue;
		found = lb_draw(ladder->set, begin, tier->count);
		if (found == LB_NONE)
			continue;
		count(tier->kind <= CW_LB_ELSEWHERE ? tier->kind : CW_LB_ELSEWHERE);
		return found;
	}
	return LB_NONE;
}

/*
 * A living backend of the first tier from this rung on that has one, or NULL; counts which tier it was, or why there is none.
 * What was let go on comes back when nobody lives further on.
 */
static __always_inline struct cw_backend *lb_choose_from(const struct cw_ladder *ladder, __u32 from)
{
	__u64 found = lb_walk(ladder, from);
	struct cw_backend *backend;

	if (found == LB_NONE && from)
		found = lb_walk(ladder, 0);
	backend = found == LB_NONE ? NULL : lb_at(ladder->set, found);
	if (!backend)
		count(ladder->tiers ? CW_LB_ALL_DEAD : CW_LB_NO_BACKEND);
	return backend;
}

/* The same from the rung at which a walk begins. */
static __always_inline struct cw_backend *lb_choose(const struct cw_ladder *ladder)
{
	return lb_choose_from(ladder, lb_begin(ladder));
}
