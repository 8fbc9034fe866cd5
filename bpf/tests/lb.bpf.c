// SPDX-License-Identifier: Apache-2.0
/* The ladder. Backend n of the set has the address ::n and lives on node n + 1. */
#include "../lib/lb.h"
#include "sets.h"
#include "test.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SET 7
#define MANY 4096
#define NOBODY MANY

/* How often each backend was chosen; NOBODY how often none was. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MANY + 1);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

static __always_inline __u64 times(__u32 who)
{
	__u64 *n = bpf_map_lookup_elem(&chosen, &who);

	return n ? *n : 0;
}

/* Expected RUNS / parts; five standard deviations and more to either side are allowed. */
static __always_inline bool about(__u64 n, __u32 parts)
{
	__u64 expected = RUNS / parts;

	return n > expected - expected / 4 && n < expected + expected / 4;
}

static __always_inline void add(__u32 index, __u64 node)
{
	put(SET, index, index, node);
}

static __always_inline void kill(__u64 node)
{
	__u8 yes = 1;

	bpf_map_update_elem(&dead, &node, &yes, BPF_ANY);
}

/* One more rung; the number of the rung is known when this is compiled. */
static __always_inline void rung(struct cw_ladder *ladder, __u32 at, __u32 count, __u32 kind)
{
	ladder->set = SET;
	ladder->tiers = at + 1;
	ladder->tier[at].count = count;
	ladder->tier[at].kind = kind;
}

/* A tier of so many backends, all dead but one. */
static __always_inline int only_one_lives(__u32 count, __u32 who)
{
	struct cw_ladder *ladder = the_ladder();

	if (!ladder)
		return __LINE__;
	for (__u32 i = 0; i < MANY; i++) {
		if (i >= count)
			break;
		add(i, i + 1);
		if (i != who)
			kill(i + 1);
	}
	rung(ladder, 0, count, 0);
	return 0;
}

static __always_inline int choose(void)
{
	struct cw_ladder *ladder = the_ladder();
	struct cw_backend *backend;
	__u32 who = NOBODY;
	__u64 *n;

	if (!ladder)
		return __LINE__;
	backend = lb_choose(ladder);
	if (backend)
		who = backend->ip[3];
	n = bpf_map_lookup_elem(&chosen, &who);
	if (n)
		(*n)++;
	return 0;
}

#define ALWAYS(name, who, reason)                                                                                      \
	RUN(name) { return choose(); }                                                                                 \
	CHECK(name)                                                                                                    \
	{                                                                                                              \
		ASSERT(times(who) == RUNS);                                                                            \
		ASSERT(counted(reason) == RUNS);                                                                       \
		return 0;                                                                                              \
	}

SETUP(nearest_tier_first)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(0, 1);
	add(1, 2);
	add(2, 3);
	rung(ladder, 0, 1, 1);
	rung(ladder, 1, 2, 4);
	return 0;
}
ALWAYS(nearest_tier_first, 0, CW_LB_ZONE)

SETUP(dead_tier_is_passed_over)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	for (__u32 i = 0; i < 4; i++)
		add(i, i + 1);
	kill(1);
	kill(2);
	rung(ladder, 0, 1, 0);
	rung(ladder, 1, 1, 2);
	rung(ladder, 2, 1, 3);
	rung(ladder, 3, 1, 4);
	return 0;
}
ALWAYS(dead_tier_is_passed_over, 2, CW_LB_CLUSTER)

SETUP(empty_tier_is_passed_over)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(0, 1);
	rung(ladder, 0, 0, 0);
	rung(ladder, 1, 1, 4);
	return 0;
}
ALWAYS(empty_tier_is_passed_over, 0, CW_LB_ELSEWHERE)

SETUP(sixteenth_tier)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	for (__u32 i = 0; i < CW_TIERS; i++) {
		add(i, i + 1);
		if (i != CW_TIERS - 1)
			kill(i + 1);
		rung(ladder, i, 1, 4);
	}
	return 0;
}
ALWAYS(sixteenth_tier, CW_TIERS - 1, CW_LB_ELSEWHERE)

SETUP(no_tier) { return 0; }
ALWAYS(no_tier, NOBODY, CW_LB_NO_BACKEND)

SETUP(set_is_missing)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	rung(ladder, 0, 3, 0);
	return 0;
}
ALWAYS(set_is_missing, NOBODY, CW_LB_ALL_DEAD)

SETUP(half_a_set_is_missing)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(1, 1);
	rung(ladder, 0, 2, 0);
	return 0;
}
ALWAYS(half_a_set_is_missing, 1, CW_LB_NODE)

/* A page that is there, and a place on it where nobody is. */
SETUP(a_place_is_empty)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(4, 1);
	rung(ladder, 0, 4, 0);
	rung(ladder, 1, 2, 4);
	return 0;
}
ALWAYS(a_place_is_empty, 4, CW_LB_ELSEWHERE)

SETUP(no_node_is_never_dead)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(0, 0);
	kill(0);
	rung(ladder, 0, 1, 0);
	return 0;
}
ALWAYS(no_node_is_never_dead, 0, CW_LB_NODE)

SETUP(all_of_256_dead) { return only_one_lives(256, NOBODY); }
ALWAYS(all_of_256_dead, NOBODY, CW_LB_ALL_DEAD)

SETUP(first_of_256_lives) { return only_one_lives(256, 0); }
ALWAYS(first_of_256_lives, 0, CW_LB_NODE)

SETUP(last_of_256_lives) { return only_one_lives(256, 255); }
ALWAYS(last_of_256_lives, 255, CW_LB_NODE)

SETUP(first_of_second_piece_lives) { return only_one_lives(LB_PIECE + 1, LB_PIECE); }
ALWAYS(first_of_second_piece_lives, LB_PIECE, CW_LB_NODE)

SETUP(last_of_4096_lives) { return only_one_lives(MANY, MANY - 1); }
ALWAYS(last_of_4096_lives, MANY - 1, CW_LB_NODE)

SETUP(fair)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	for (__u32 i = 0; i < 4; i++)
		add(i, i + 1);
	rung(ladder, 0, 4, 0);
	return 0;
}
RUN(fair) { return choose(); }
CHECK(fair)
{
	for (__u32 i = 0; i < 4; i++)
		ASSERT(about(times(i), 4));
	ASSERT(counted(CW_LB_REDRAWN) == 0);
	return 0;
}

/* The living share what was the dead's; neighbours of the dead get no more than others. */
SETUP(fair_among_the_living)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	for (__u32 i = 0; i < 8; i++)
		add(i, i + 1);
	kill(1);
	kill(2);
	kill(3);
	kill(4);
	rung(ladder, 0, 8, 0);
	return 0;
}
RUN(fair_among_the_living) { return choose(); }
CHECK(fair_among_the_living)
{
	for (__u32 i = 4; i < 8; i++)
		ASSERT(about(times(i), 4));
	ASSERT(about(counted(CW_LB_REDRAWN), 2));
	return 0;
}

/* So few live that drawing does not find them: those found by looking have the same chance, across pieces too. */
SETUP(fair_when_looking)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	for (__u32 i = 0; i < 2048; i++) {
		add(i, i + 1);
		if (i != 0 && i != 1 && i != 300 && i != 2047)
			kill(i + 1);
	}
	rung(ladder, 0, 2048, 0);
	return 0;
}
RUN(fair_when_looking) { return choose(); }
CHECK(fair_when_looking)
{
	ASSERT(about(times(0), 4));
	ASSERT(about(times(1), 4));
	ASSERT(about(times(300), 4));
	ASSERT(about(times(2047), 4));
	return 0;
}

/* Twice the weight is standing twice. */
SETUP(weight)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(0, 1);
	put(SET, 1, 0, 1);
	add(2, 2);
	add(3, 3);
	rung(ladder, 0, 4, 0);
	return 0;
}
RUN(weight) { return choose(); }
CHECK(weight)
{
	ASSERT(about(times(0), 2));
	ASSERT(about(times(2), 4));
	ASSERT(about(times(3), 4));
	return 0;
}

/* Three rungs of one backend; the first lets half of it go on, the second half of that. */
static __always_inline int spilling(void)
{
	struct cw_ladder *ladder = the_ladder();

	if (!ladder)
		return __LINE__;
	for (__u32 i = 0; i < 3; i++)
		add(i, i + 1);
	rung(ladder, 0, 1, 0);
	rung(ladder, 1, 1, 3);
	rung(ladder, 2, 1, 4);
	ladder->tier[0].passes = 1 << 15;
	ladder->tier[1].passes = 1 << 15;
	return 0;
}

SETUP(what_a_rung_cannot_carry_goes_on) { return spilling(); }
RUN(what_a_rung_cannot_carry_goes_on) { return choose(); }
CHECK(what_a_rung_cannot_carry_goes_on)
{
	ASSERT(about(times(0), 2));
	ASSERT(about(times(1), 4));
	ASSERT(about(times(2), 4));
	return 0;
}

SETUP(and_comes_back_if_nobody_is_there)
{
	kill(2);
	kill(3);
	return spilling();
}
ALWAYS(and_comes_back_if_nobody_is_there, 0, CW_LB_NODE)

SETUP(the_next_one_takes_it_over_the_dead)
{
	kill(2);
	return spilling();
}
RUN(the_next_one_takes_it_over_the_dead) { return choose(); }
CHECK(the_next_one_takes_it_over_the_dead)
{
	ASSERT(about(times(0), 2));
	ASSERT(about(times(2), 2));
	return 0;
}

/* The last rung keeps everything, whatever it says. */
SETUP(the_last_rung_takes_all)
{
	struct cw_ladder *ladder = the_ladder();

	ASSERT(ladder);
	add(0, 1);
	rung(ladder, 0, 1, 0);
	ladder->tier[0].passes = 0xffff;
	return 0;
}
ALWAYS(the_last_rung_takes_all, 0, CW_LB_NODE)
