/* SPDX-License-Identifier: Apache-2.0 */
/* One packet that is being worked on, and the steps that are taken with it. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "errors.h"
#include "nat.h"
#include "rewrite.h"
#include "route.h"
#include "tuple.h"

/* What one packet needs; too much for the stack, which is 512 bytes. Nothing is kept in it from one packet to another. */
struct work {
	/* An enum side. */
	__u32 side;
	struct packet packet;
	struct nat_flow flow;
	struct bpf_fib_lookup way;
	struct error error;
	/* Of a packet that came in an envelope: which node had it first, and which backend that chose. */
	struct cw_address sender, chosen;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

static __always_inline struct work *work_here(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&works, &first);
}

/*
 * The steps. Functions that are not static: the verifier checks such a one once, not once per way that leads to it.
 */

/* Reads the packet: an enum tuple_kind. */
__noinline int packet_read(struct __sk_buff *skb, __u32 ip, __u32 hook)
{
	struct work *w = work_here();

	if (!w)
		return TUPLE_OTHER;
	w->packet.ip = ip;
	return tuple_read(skb, &w->packet, hook);
}

/* Makes of the packet what its flow's entry says. Not 0: the kernel could not. */
__noinline int packet_rewrite(struct __sk_buff *skb, __u32 hops)
{
	struct work *w = work_here();

	return !w || rewrite(skb, &w->packet, &w->flow.entry, hops);
}

/* Where the packet would go, once rewritten: an enum route. */
__noinline int packet_route(struct __sk_buff *skb)
{
	struct work *w = work_here();

	return w ? route_find(skb, &w->packet, &w->flow.entry.source, &w->flow.entry.destination, &w->way) : ROUTE_NONE;
}

/* Reads what an ICMP error is about. 0: nothing that is translated. */
__noinline int packet_read_error(struct __sk_buff *skb)
{
	struct work *w = work_here();

	return w && error_read(skb, &w->packet, &w->error);
}

/* Makes of an ICMP error what its flow's entry says. Not 0: the kernel could not. */
__noinline int packet_rewrite_error(struct __sk_buff *skb, __u32 hops, __u32 sender_stays)
{
	struct work *w = work_here();

	return !w || error_rewrite(skb, &w->packet, &w->flow.entry, &w->error, hops, sender_stays);
}
