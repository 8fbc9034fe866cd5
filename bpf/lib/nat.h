/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that were translated. Two entries each, one a direction: what a packet becomes is found by one look. An entry's
 * result, turned round, is the other's key.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "lb.h"
#include "stay.h"
#include "translated.h"
#include "tuple.h"

/* Source ports that are given to flows: below those of the node's own sockets (ip_local_port_range) and node ports. */
#define NAT_FIRST_PORT 12000
#define NAT_PORTS 18000
#define NAT_TRIES 16

/* How long a silent flow keeps its source port if others need one. TCP: RFC 5382, REQ-5; and TIME_WAIT. */
#define NAT_TCP_IDLE (7440 * SECOND)
#define NAT_TCP_CLOSED (60 * SECOND)

/* A datagram flow that was silent for so long may go elsewhere. Set before loading. */
volatile const __u64 flow_idle = 60 * SECOND;

/* A flow that is being worked on: too much for the stack. */
struct nat_flow {
	/* What the packet becomes. */
	struct cw_nat entry;
	/* The other direction. */
	struct cw_tuple back;
	struct cw_nat undone;
};

static __always_inline bool nat_same(const struct cw_address *a, const struct cw_address *b)
{
	return a->port == b->port && ip_equal(a->ip, b->ip);
}

static __always_inline bool nat_is_idle(const struct cw_nat *entry, __u8 protocol, __u64 now)
{
	__u64 limit = protocol == IPPROTO_UDP ? flow_idle : entry->closed ? NAT_TCP_CLOSED : NAT_TCP_IDLE;

	return now - entry->flow.used > limit;
}

/* The entry of the other direction's packets, as it ought to be. */
static __always_inline void nat_turn(const struct cw_tuple *key, const struct cw_nat *entry, struct nat_flow *flow)
{
	struct cw_nat *undone = &flow->undone;

	tuple_reverse(&flow->back, &entry->source, &entry->destination, key->protocol, entry->back);
	__builtin_memset(undone, 0, sizeof(*undone));
	undone->source = key->destination;
	undone->destination = key->source;
	undone->back = key->hook;
	undone->forward = !entry->forward;
	undone->fits = entry->fits;
	undone->flow.used = entry->flow.used;
}

/*
 * Notes that a flow was used, once a second, for both directions: so neither is forgotten before the other. False: the
 * other direction's place is another flow's by now.
 */
static __always_inline bool nat_touch(const struct cw_tuple *key, struct cw_nat *entry, __u64 now, struct nat_flow *flow)
{
	struct cw_nat *other;

	entry->flow.used = now;
	nat_turn(key, entry, flow);
	other = bpf_map_lookup_elem(&nat, &flow->back);
	if (other) {
		if (!nat_same(&other->source, &key->destination) || !nat_same(&other->destination, &key->source))
			return false;
		other->flow.used = now;
	} else if (entry->forward) {
		bpf_map_update_elem(&nat, &flow->back, &flow->undone, BPF_NOEXIST);
	}
	return true;
}

/* Forgets both directions. */
static __always_inline void nat_forget(const struct cw_tuple *key, struct nat_flow *flow)
{
	tuple_reverse(&flow->back, &flow->entry.source, &flow->entry.destination, key->protocol, flow->entry.back);
	bpf_map_delete_elem(&nat, &flow->back);
	bpf_map_delete_elem(&nat, key);
}

/*
 * Writes a new flow down. The source port stays as it is if `port` says so and no other flow to the backend has it; else
 * one is looked for, but not for SCTP: its checksum covers the ports. False: none is free.
 */
static __always_inline bool nat_open(const struct cw_tuple *key, struct nat_flow *flow, __be16 port, __u64 now)
{
	for (int i = 0; i < NAT_TRIES; i++) {
		struct cw_nat *other;

		if (i && key->protocol == IPPROTO_SCTP)
			return false;
		flow->entry.source.port = !i && port ? port : bpf_htons(NAT_FIRST_PORT + lb_random(NAT_PORTS));
		nat_turn(key, &flow->entry, flow);
		other = bpf_map_lookup_elem(&nat, &flow->back);
		if (other && !nat_is_idle(other, key->protocol, now) &&
		    !(nat_same(&other->source, &key->destination) && nat_same(&other->destination, &key->source)))
			continue;
		/* Another processor may have been faster, if the place was empty. */
		if (bpf_map_update_elem(&nat, &flow->back, &flow->undone, other ? BPF_ANY : BPF_NOEXIST))
			continue;
		return !bpf_map_update_elem(&nat, key, &flow->entry, BPF_ANY);
	}
	return false;
}
