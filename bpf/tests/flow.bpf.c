// SPDX-License-Identifier: Apache-2.0
/* What keeps the datagrams of an unconnected socket together. Backend n has the address ::n, node n + 1. */
#include "../lib/flow.h"
#include "sets.h"
#include "test.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define COOKIE 99
#define NETNS 1
#define OLD 1
#define NEW 2
#define BACKENDS 64

static __always_inline void add(__u64 set, __u32 index, __u32 who)
{
	put(set, index, who, who + 1);
}

/* Two sets: the old one in order, the new one from the end and without backend 0. */
static __always_inline int two_sets(void)
{
	for (__u32 i = 0; i < BACKENDS; i++)
		add(OLD, i, i);
	for (__u32 i = 0; i < BACKENDS - 1; i++)
		add(NEW, i, BACKENDS - 1 - i);
	return 0;
}

/* The ladder, with one rung of so many backends. */
static __always_inline struct cw_ladder *one_rung(__u64 set, __u32 count, __u32 affinity)
{
	struct cw_ladder *ladder = the_ladder();

	if (!ladder)
		return NULL;
	ladder->set = set;
	ladder->tiers = 1;
	ladder->affinity = affinity;
	ladder->tier[0].count = count;
	return ladder;
}

/* Where the socket's datagram goes now: the backend's number, or BACKENDS for none. */
static __always_inline __u32 send(__u64 set, __u32 count, __u64 now)
{
	struct cw_address vip = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(53) };
	struct cw_ladder *ladder = one_rung(set, count, 0);
	struct cw_backend *backend = ladder ? flow_choose(COOKIE, NETNS, &vip, ladder, now) : NULL;

	return backend ? backend->ip[3] : BACKENDS;
}

/* Puts the flow on a backend, as if it had been drawn at the first second. */
static __always_inline void be_with(__u32 who)
{
	struct cw_flow_key key = { .cookie = COOKIE, .address = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(53) } };
	struct cw_flow flow = { .set = OLD, .used = SECOND,
				.backend = { .ip = { 0, 0, 0, who }, .port = bpf_htons(80), .node = who + 1 } };

	bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
}

static __always_inline void kill(__u64 node)
{
	__u8 yes = 1;

	bpf_map_update_elem(&dead, &node, &yes, BPF_ANY);
}

SETUP(draws_at_first) { return two_sets(); }
CHECK(draws_at_first)
{
	ASSERT(send(OLD, BACKENDS, SECOND) < BACKENDS);
	ASSERT(counted(CW_LB_NODE) == 1);
	ASSERT(counted(CW_LB_STAYED) == 0);
	return 0;
}

SETUP(stays)
{
	be_with(9);
	return two_sets();
}
CHECK(stays)
{
	ASSERT(send(OLD, BACKENDS, 2 * SECOND) == 9);
	ASSERT(send(OLD, BACKENDS, 50 * SECOND) == 9);
	ASSERT(send(OLD, BACKENDS, 105 * SECOND) == 9);
	ASSERT(counted(CW_LB_STAYED) == 3);
	return 0;
}

/* At the same second it would stay; a minute and a bit later it is drawn anew. */
SETUP(leaves_after_silence)
{
	be_with(9);
	return two_sets();
}
CHECK(leaves_after_silence)
{
	ASSERT(send(OLD, BACKENDS, 61 * SECOND) == 9);
	ASSERT(send(OLD, BACKENDS, 122 * SECOND) < BACKENDS);
	ASSERT(counted(CW_LB_STAYED) == 1);
	ASSERT(counted(CW_LB_NODE) == 1);
	return 0;
}

SETUP(stays_when_the_set_changes_around_it)
{
	be_with(9);
	return two_sets();
}
CHECK(stays_when_the_set_changes_around_it)
{
	ASSERT(send(NEW, BACKENDS - 1, SECOND) == 9);
	ASSERT(counted(CW_LB_STAYED) == 1);
	return 0;
}

SETUP(leaves_when_its_backend_leaves)
{
	be_with(0);
	return two_sets();
}
CHECK(leaves_when_its_backend_leaves)
{
	ASSERT(send(NEW, BACKENDS - 1, SECOND) != 0);
	ASSERT(counted(CW_LB_STAYED) == 0);
	return 0;
}

SETUP(leaves_a_dead_node)
{
	be_with(9);
	kill(10);
	return two_sets();
}
CHECK(leaves_a_dead_node)
{
	ASSERT(send(OLD, BACKENDS, SECOND) != 9);
	ASSERT(counted(CW_LB_STAYED) == 0);
	return 0;
}

SETUP(nobody_left)
{
	be_with(9);
	return two_sets();
}
CHECK(nobody_left)
{
	ASSERT(send(3, 0, SECOND) == BACKENDS);
	ASSERT(counted(CW_LB_ALL_DEAD) == 1);
	return 0;
}

/* What the backend answers is shown as the service's, also when the memory of it was pushed out. */
SETUP(remembers_whom_to_show)
{
	be_with(9);
	return two_sets();
}
CHECK(remembers_whom_to_show)
{
	struct cw_flow_key key = { .cookie = COOKIE, .address = { .ip = { 0, 0, 0, 9 }, .port = bpf_htons(80) } };
	struct cw_address *vip;

	for (int i = 0; i < 2; i++) {
		ASSERT(send(OLD, BACKENDS, SECOND) == 9);
		vip = bpf_map_lookup_elem(&replies, &key);
		ASSERT(vip && vip->port == bpf_htons(53) && vip->ip[0] == 5);
		bpf_map_delete_elem(&replies, &key);
	}
	return 0;
}

/* Where a new connection of a namespace goes under session affinity of ten seconds. */
static __always_inline __u32 connect_from(__u64 netns, __u64 set, __u32 count, __u64 now)
{
	struct cw_address vip = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(80) };
	struct cw_ladder *ladder = one_rung(set, count, 10);
	struct cw_backend *backend = ladder ? affinity_choose(netns, &vip, IPPROTO_TCP, ladder, now) : NULL;

	return backend ? backend->ip[3] : BACKENDS;
}

/* Puts a namespace on a backend, as if it had been drawn at the first second. */
static __always_inline void client_with(__u64 netns, __u32 who)
{
	struct cw_client key = { .netns = netns, .protocol = IPPROTO_TCP,
				 .dialled = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(80) } };
	struct cw_flow flow = { .set = OLD, .used = SECOND,
				.backend = { .ip = { 0, 0, 0, who }, .port = bpf_htons(80), .node = who + 1 } };

	bpf_map_update_elem(&clients, &key, &flow, BPF_ANY);
}

SETUP(a_client_comes_back_in_time)
{
	client_with(1, 9);
	client_with(2, 5);
	return two_sets();
}
CHECK(a_client_comes_back_in_time)
{
	ASSERT(connect_from(1, OLD, BACKENDS, 2 * SECOND) == 9);
	ASSERT(connect_from(2, OLD, BACKENDS, 2 * SECOND) == 5);
	ASSERT(connect_from(1, NEW, BACKENDS - 1, 11 * SECOND) == 9);
	ASSERT(connect_from(1, NEW, BACKENDS - 1, 20 * SECOND) == 9);
	ASSERT(counted(CW_LB_AFFINITY) == 4);
	return 0;
}

SETUP(a_client_that_comes_late_is_new)
{
	client_with(1, 9);
	return two_sets();
}
CHECK(a_client_that_comes_late_is_new)
{
	__u32 drawn = connect_from(1, OLD, BACKENDS, 12 * SECOND);

	ASSERT(drawn < BACKENDS);
	ASSERT(counted(CW_LB_AFFINITY) == 0);
	ASSERT(connect_from(1, OLD, BACKENDS, 13 * SECOND) == drawn);
	return 0;
}

SETUP(a_client_leaves_the_dead_and_the_gone)
{
	client_with(1, 9);
	client_with(2, 0);
	kill(10);
	return two_sets();
}
CHECK(a_client_leaves_the_dead_and_the_gone)
{
	ASSERT(connect_from(1, OLD, BACKENDS, 2 * SECOND) != 9);
	ASSERT(connect_from(2, NEW, BACKENDS - 1, 2 * SECOND) != 0);
	ASSERT(counted(CW_LB_AFFINITY) == 0);
	return 0;
}

/* A socket's first datagram goes where its namespace is. */
SETUP(datagrams_begin_where_the_client_is)
{
	struct cw_client key = { .netns = NETNS, .protocol = IPPROTO_UDP,
				 .dialled = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(53) } };
	struct cw_flow flow = { .set = OLD, .used = SECOND,
				.backend = { .ip = { 0, 0, 0, 9 }, .port = bpf_htons(80), .node = 10 } };

	bpf_map_update_elem(&clients, &key, &flow, BPF_ANY);
	return two_sets();
}
CHECK(datagrams_begin_where_the_client_is)
{
	struct cw_address vip = { .ip = { 5, 5, 5, 5 }, .port = bpf_htons(53) };
	struct cw_ladder *ladder = one_rung(OLD, BACKENDS, 10);
	struct cw_backend *backend;

	ASSERT(ladder);
	backend = flow_choose(COOKIE, NETNS, &vip, ladder, 2 * SECOND);
	ASSERT(backend && backend->ip[3] == 9);
	ASSERT(counted(CW_LB_AFFINITY) == 1);
	return 0;
}
