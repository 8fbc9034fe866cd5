/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct server return: the node that a client's packet reaches hands it to the backend's node unchanged, and that one
 * answers the client. The envelope in which it crosses the mesh is GRE, which every kernel can cut into segments and put
 * together again: from a node's own address (a pod cannot send in that name) to the backend's, with the backend's port as
 * its key (RFC 2784, RFC 2890). What the client dialled the packet says itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "errors.h"
#include "mss.h"
#include "mtu.h"
#include "route.h"
#include "tuple.h"
#include "work.h"

#define DIRECT_HOPS 64
/* GRE of version 0 with a key and nothing else. */
#define GRE_KEY bpf_htons(0x2000)

struct gre {
	__be16 flags;
	/* An EtherType. */
	__be16 protocol;
	/* The key. */
	__be16 port;
	__be16 zero;
};

struct envelope_v4 {
	struct iphdr ip;
	struct gre gre;
};

struct envelope_v6 {
	struct ipv6hdr ip;
	struct gre gre;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_direct);
	__type(value, __u8);
} direct SEC(".maps");

static __always_inline __u32 direct_envelope(const struct packet *p)
{
	return p->v4 ? sizeof(struct envelope_v4) : sizeof(struct envelope_v6);
}

/* One of CW_DIRECT_*, or 0. */
static __always_inline __u8 direct_of_node(__u64 node)
{
	struct cw_direct key = { .node = node };
	const __u8 *kind = bpf_map_lookup_elem(&direct, &key);

	return kind ? *kind : 0;
}

static __always_inline bool direct_is_sender(const __be32 ip[4])
{
	struct cw_direct key = {};
	const __u8 *kind;

	ip_copy(key.ip, ip);
	kind = bpf_map_lookup_elem(&direct, &key);
	return kind && *kind == CW_DIRECT_SENDER;
}

/*
 * Whether the backend of a flow that begins sees the client although that is not its policy, and how its packets get
 * there. Only for what came by the underlay: who came by the mesh is answered by the mesh, where nobody may bear the
 * service's address. `exit` is the way to the backend.
 */
static __always_inline bool direct_begin(const struct __sk_buff *skb, struct work *w, const struct cw_exit *exit)
{
	const struct cw_exit *entrance = route_exit(skb->ifindex, w->packet.v4);
	__u8 kind;

	if (exit->outside || !entrance || !entrance->outside || !w->packet.ip ||
	    ip_equal(w->packet.tuple.destination.ip, exit->ip))
		return false;
	kind = direct_of_node(w->flow.entry.flow.backend.node);
	w->flow.entry.direct = kind == CW_DIRECT_PEER;
	return kind;
}

static __always_inline long direct_wrap_v4(struct __sk_buff *skb, const struct packet *p, const __be32 from[4],
					   const struct cw_address *to)
{
	struct envelope_v4 around = {
		.ip = { .version = 4, .ihl = 5, .ttl = DIRECT_HOPS, .protocol = IPPROTO_GRE, .saddr = from[3],
			.daddr = to->ip[3], .tot_len = bpf_htons(p->length + sizeof(around)),
			.frag_off = p->divisible ? 0 : bpf_htons(IP_DF) },
		.gre = { .flags = GRE_KEY, .protocol = bpf_htons(ETH_P_IP), .port = to->port },
	};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE;

	around.ip.check = rewrite_mend(0xffff, bpf_csum_diff(NULL, 0, (__be32 *)&around.ip, sizeof(around.ip), 0));
	return bpf_skb_adjust_room(skb, sizeof(around), BPF_ADJ_ROOM_MAC, flags) ?:
	       bpf_skb_store_bytes(skb, p->ip, &around, sizeof(around), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline long direct_wrap_v6(struct __sk_buff *skb, const struct packet *p, const __be32 from[4],
					   const struct cw_address *to)
{
	struct envelope_v6 around = {
		.ip = { .version = 6, .nexthdr = IPPROTO_GRE, .hop_limit = DIRECT_HOPS,
			.payload_len = bpf_htons(p->length + sizeof(around.gre)) },
		.gre = { .flags = GRE_KEY, .protocol = bpf_htons(ETH_P_IPV6), .port = to->port },
	};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE;

	ip_copy(around.ip.saddr.in6_u.u6_addr32, from);
	ip_copy(around.ip.daddr.in6_u.u6_addr32, to->ip);
	return bpf_skb_adjust_room(skb, sizeof(around), BPF_ADJ_ROOM_MAC, flags) ?:
	       bpf_skb_store_bytes(skb, p->ip, &around, sizeof(around), BPF_F_RECOMPUTE_CSUM);
}

/* Puts a packet into an envelope from this address to its backend. Not 0: the kernel could not. */
__noinline int direct_wrap(struct __sk_buff *skb)
{
	struct work *w = work_here();
	const struct cw_exit *exit;
	struct packet *p;

	if (!w)
		return -1;
	p = &w->packet;
	exit = route_exit(0, p->v4);
	if (!exit)
		return -1;
	return p->v4 ? direct_wrap_v4(skb, p, exit->ip, &w->flow.entry.destination) :
		       direct_wrap_v6(skb, p, exit->ip, &w->flow.entry.destination);
}

/* Where a flow's envelopes go: an enum route. */
__noinline int direct_route(struct __sk_buff *skb)
{
	struct work *w = work_here();
	struct cw_address from = {};
	const struct cw_exit *exit;
	int route;

	if (!w)
		return ROUTE_NONE;
	exit = route_exit(0, w->packet.v4);
	if (!exit)
		return ROUTE_NONE;
	ip_copy(from.ip, exit->ip);
	w->packet.envelope = direct_envelope(&w->packet);
	route = route_find(skb, &w->packet, &from, &w->flow.entry.destination, &w->way);
	if (route == ROUTE_TOO_BIG)
		w->way.mtu_result -= w->packet.envelope;
	w->packet.envelope = 0;
	return route;
}

static __always_inline bool direct_read_v4(struct __sk_buff *skb, struct work *w)
{
	struct envelope_v4 around;

	if (bpf_skb_load_bytes(skb, 0, &around, sizeof(around)) || around.ip.ihl != 5 ||
	    around.ip.protocol != IPPROTO_GRE || around.ip.frag_off & bpf_htons(IP_OFFSET | IP_MORE) ||
	    around.gre.flags != GRE_KEY || around.gre.protocol != bpf_htons(ETH_P_IP))
		return false;
	ip_from_v4(w->sender.ip, around.ip.saddr);
	ip_from_v4(w->chosen.ip, around.ip.daddr);
	w->chosen.port = around.gre.port;
	return true;
}

static __always_inline bool direct_read_v6(struct __sk_buff *skb, struct work *w)
{
	struct envelope_v6 around;

	if (bpf_skb_load_bytes(skb, 0, &around, sizeof(around)) || around.ip.nexthdr != IPPROTO_GRE ||
	    around.gre.flags != GRE_KEY || around.gre.protocol != bpf_htons(ETH_P_IPV6))
		return false;
	ip_copy(w->sender.ip, around.ip.saddr.in6_u.u6_addr32);
	ip_copy(w->chosen.ip, around.ip.daddr.in6_u.u6_addr32);
	w->chosen.port = around.gre.port;
	return true;
}

/*
 * Takes a packet that came by the tunnel out of its envelope. 0: it has none of ours, and is as it was; less: the kernel
 * could not. That a node of the mesh sent it the tunnel has proved.
 */
__noinline int direct_unwrap(struct __sk_buff *skb)
{
	struct work *w = work_here();
	const struct cw_exit *entrance;

	if (!w || w->packet.ip || w->side != SIDE_OUTSIDE)
		return 0;
	entrance = route_exit(skb->ifindex, w->packet.v4);
	if (!entrance || entrance->outside)
		return 0;
	if (!(w->packet.v4 ? direct_read_v4(skb, w) : direct_read_v6(skb, w)) || !direct_is_sender(w->sender.ip))
		return 0;
	w->side = SIDE_NODE;
	return bpf_skb_adjust_room(skb, -(__s32)direct_envelope(&w->packet), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) ?
		       -1 :
		       1;
}

/* The largest packet that the sender could put into an envelope for us; 0 where the kernel does not say (before 5.12). */
__noinline int direct_fits(struct __sk_buff *skb)
{
	struct work *w = work_here();
	__u32 length, mtu;
	struct packet *p;
	int route;

	if (!w)
		return 0;
	p = &w->packet;
	length = p->length;
	/* What fits is said of what does not. */
	p->length = 0xffff;
	route = route_find(skb, p, &w->chosen, &w->sender, &w->way);
	p->length = length;
	mtu = mtu_to(w->sender.ip);
	if (!mtu || mtu > w->way.mtu_result)
		mtu = w->way.mtu_result;
	return route == ROUTE_TOO_BIG && mtu < 0xffff && mtu > direct_envelope(p) ? mtu - direct_envelope(p) : 0;
}

/*
 * Writes into the answer to a client that dials how large its segments may be, if it says more: so nothing is ever too
 * large for the envelope.
 */
__noinline int direct_limit(struct __sk_buff *skb)
{
	struct work *w = work_here();
	struct packet *p;
	__u32 headers;

	if (!w)
		return -1;
	p = &w->packet;
	headers = (p->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + 20;
	return w->flow.entry.fits > headers && mss_lower(skb, p->transport, w->flow.entry.fits - headers);
}
