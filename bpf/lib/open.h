/* SPDX-License-Identifier: Apache-2.0 */
/* Flows of the edge: which one a packet belongs to, and where one that begins is to go. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "affinity.h"
#include "dialled.h"
#include "direct.h"
#include "maglev.h"
#include "nat.h"
#include "route.h"
#include "tuple.h"
#include "work.h"

/*
 * 1: some services have tables that all nodes agree on, so a segment in the middle of a connection may be one that came in by
 * another node until now. Set before loading: else such segments are not asked about at all.
 */
const volatile __u8 have_tables = 0;

/*
 * Settles whom the backend is to see, and writes the flow down: CW_EDGE_OPENED, or why not. To begin with the entry says
 * that it sees the client.
 */
__noinline int open_towards(struct __sk_buff *skb, __u32 side, __u32 masquerade, __u64 now)
{
	struct work *w = work_here();
	const struct cw_exit *exit;
	struct cw_nat *entry;
	__u8 divisible;
	bool is_sctp;
	int route;

	if (!w)
		return CW_EDGE_FAILED;
	entry = &w->flow.entry;
	/* The way of the flow, whether or not its first packet fits it. */
	divisible = w->packet.divisible;
	w->packet.divisible = true;
	route = packet_route(skb);
	w->packet.divisible = divisible;
	if (route == ROUTE_NONE)
		return CW_EDGE_NO_ROUTE;
	if (route == ROUTE_STACK) {
		/* Ours: the stack would not believe a packet that comes from itself. */
		entry->back = NAT_EGRESS;
		masquerade = false;
	} else {
		exit = route_exit(w->way.ifindex, w->packet.v4);
		if (side == SIDE_POD)
			masquerade = ip_equal(entry->source.ip, entry->destination.ip) || (exit && exit->outside);
		else if (masquerade && exit)
			masquerade = !direct_begin(skb, w, exit);
		if (masquerade) {
			if (!exit)
				return CW_EDGE_NO_SOURCE;
			ip_copy(entry->source.ip, exit->ip);
		}
	}
	/* Another node's name the backend would not know. */
	if (masquerade && tuple_is_midway(&w->packet))
		return CW_EDGE_PASSED;
	is_sctp = w->packet.tuple.protocol == IPPROTO_SCTP;
	if (nat_open(&w->packet.tuple, &w->flow, masquerade && !is_sctp ? 0 : entry->source.port, now))
		return CW_EDGE_OPENED;
	return is_sctp ? CW_EDGE_SCTP_TAKEN : CW_EDGE_NO_PORT;
}

/* The same for a packet in an envelope: the node that it reached first has chosen. */
__noinline int open_arrived(struct __sk_buff *skb, __u64 now)
{
	struct work *w = work_here();
	const struct cw_exit *exit;
	struct cw_nat *entry;
	struct packet *p;
	__u8 divisible;
	bool returns, here;

	if (!w)
		return CW_EDGE_FAILED;
	p = &w->packet;
	entry = &w->flow.entry;
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->forward = true;
	entry->source = p->tuple.source;
	entry->destination = w->chosen;
	entry->flow.used = now;
	ip_copy(entry->flow.backend.ip, w->chosen.ip);
	entry->flow.backend.port = w->chosen.port;
	divisible = p->divisible;
	p->divisible = false;
	if (p->tcp & TCP_SYN)
		entry->fits = direct_fits(skb);
	p->divisible = true;
	/* It answers by the underlay or not at all: the mesh does not carry the service's address. */
	returns = route_find(skb, p, &p->tuple.destination, &p->tuple.source, &w->way) == ROUTE_OUT;
	exit = route_exit(w->way.ifindex, p->v4);
	returns = returns && exit && exit->outside;
	here = packet_route(skb) == ROUTE_OUT && w->way.ifindex != skb->ifindex;
	exit = route_exit(w->way.ifindex, p->v4);
	p->divisible = divisible;
	if (!here || !exit || exit->outside)
		return CW_EDGE_STRAY;
	if (!returns)
		return CW_EDGE_NO_ROUTE;
	return nat_open(&p->tuple, &w->flow, entry->source.port, now) ? CW_EDGE_OPENED : CW_EDGE_NO_PORT;
}

/* The backend for a flow that begins: as for sockets, or by the table on which all nodes agree. NULL: nobody. */
static __always_inline struct cw_backend *choose(const struct packet *p, const struct cw_ladder *ladder, __u64 now)
{
	struct cw_client client = { .netns = dialled_by(&p->tuple.source), .dialled = p->tuple.destination,
				    .protocol = p->tuple.protocol };
	struct cw_backend *backend = affinity_known(&client, ladder, now);
	__u32 from;

	if (backend)
		return backend;
	from = lb_begin(ladder);
	if (ladder->tier[0].table)
		backend = maglev_choose(ladder, maglev_hash(&p->tuple, ladder->affinity), &from);
	if (!backend)
		backend = lb_choose_from(ladder, from);
	affinity_remember(&client, ladder, backend, now);
	return backend;
}

/* Chooses a backend for a packet that no flow has: CW_EDGE_OPENED, or why not. */
__noinline int open(struct __sk_buff *skb, __u32 side, __u64 now)
{
	struct work *w = work_here();
	struct cw_backend *backend;
	struct dialled found;
	struct packet *p;
	bool midway;

	if (!w)
		return CW_EDGE_FAILED;
	p = &w->packet;
	/* A segment that begins nothing is for the stack to answer; so is a fragment that came before its first one. */
	midway = tuple_is_midway(p);
	if (!p->whole || (midway && (!have_tables || side != SIDE_OUTSIDE || p->tcp & TCP_RST)))
		return CW_EDGE_PASSED;
	dialled_find(p, side, &found);
	if (!found.ladder || (midway && !found.ladder->tier[0].table))
		return CW_EDGE_PASSED;
	if (found.restricted && !dialled_allows(p))
		return CW_EDGE_DENIED;
	backend = choose(p, found.ladder, now);
	if (!backend)
		return found.otherwise_drop ? CW_EDGE_NO_BACKEND : CW_EDGE_REFUSED;
	if (ip_is_v4(backend->ip) != (bool)p->v4)
		return CW_EDGE_FAMILY;
	if (p->tuple.protocol == IPPROTO_SCTP && backend->port != p->tuple.destination.port)
		return CW_EDGE_SCTP_PORT;
	__builtin_memset(&w->flow.entry, 0, sizeof(w->flow.entry));
	w->flow.entry.forward = true;
	w->flow.entry.source = p->tuple.source;
	ip_copy(w->flow.entry.destination.ip, backend->ip);
	w->flow.entry.destination.port = backend->port;
	w->flow.entry.flow.set = found.ladder->set;
	w->flow.entry.flow.used = now;
	w->flow.entry.flow.backend = *backend;
	return open_towards(skb, side, found.masquerade, now);
}

/*
 * Whether a flow goes on where it went. A connection of TCP or SCTP does, whatever becomes of the service; datagrams, and
 * whoever dials again from the same port, only while the service has the backend and its node lives.
 */
static __always_inline bool goes_on(struct work *w, struct cw_nat *known, __u32 side, __u64 now)
{
	const struct packet *p = &w->packet;
	struct dialled found;

	/* The node that it reached first decides. */
	if (side == SIDE_NODE)
		return known->forward && !known->direct && nat_same(&known->destination, &w->chosen);
	if (!known->forward || !p->whole || (p->tuple.protocol != IPPROTO_UDP && !(p->tcp & TCP_SYN)))
		return true;
	dialled_find(p, side, &found);
	return found.ladder && stay(&known->flow, found.ladder, now, flow_idle);
}

/* Finds what the packet's flow says becomes of it. 0: there is no such flow. */
__noinline int known_flow(__u32 side, __u64 now)
{
	struct work *w = work_here();
	struct cw_nat *known;
	struct packet *p;
	__u64 before;

	if (!w)
		return false;
	p = &w->packet;
	known = bpf_map_lookup_elem(&nat, &p->tuple);
	if (!known)
		return false;
	before = known->flow.used;
	w->flow.entry = *known;
	if (!goes_on(w, known, side, now)) {
		nat_forget(&p->tuple, &w->flow);
		return false;
	}
	if (p->tcp & (TCP_SYN | TCP_FIN | TCP_RST))
		known->closed = !(p->tcp & TCP_SYN);
	if (now - before > SECOND && !nat_touch(&p->tuple, known, now, &w->flow)) {
		bpf_map_delete_elem(&nat, &p->tuple);
		return false;
	}
	return true;
}
