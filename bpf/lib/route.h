/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out of the node. Packets that bear one of the node's own addresses as their source would not pass the stack's
 * ingress (it takes them for forged), so they are put on the next device here, by the stack's own routes and neighbours.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "mtu.h"
#include "tuple.h"

#define ROUTE_AF_INET 2
#define ROUTE_AF_INET6 10
/* What every network carries (RFC 791, section 3.1). */
#define ROUTE_LEAST 576

enum route {
	/* By a device of the node. */
	ROUTE_OUT,
	/* To the node itself; or nobody knows, which is for the stack to say. */
	ROUTE_STACK,
	/* There is one, but the packet is too large for it. */
	ROUTE_TOO_BIG,
	/* There is none. */
	ROUTE_NONE,
};

/* The node's own addresses, by where a packet leaves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct cw_exit_key);
	__type(value, struct cw_exit);
} exits SEC(".maps");

/* Which of the node's addresses the backend is to see; NULL if there is none. */
static __always_inline const struct cw_exit *route_exit(__u32 ifindex, bool v4)
{
	struct cw_exit_key key = { .ifindex = ifindex, .family = v4 ? 4 : 6 };
	const struct cw_exit *exit = bpf_map_lookup_elem(&exits, &key);

	if (exit)
		return exit;
	key.ifindex = 0;
	return bpf_map_lookup_elem(&exits, &key);
}

/* Bytes that have to fit the next link: the packet's, or of each of its segments. */
static __always_inline __u32 route_length(struct __sk_buff *skb, const struct packet *p)
{
	__u32 header = p->transport - p->ip;
	__u8 words;

	header += p->envelope;
	if (!skb->gso_size)
		return p->length + p->envelope;
	/* Its segments have a size each, and were made to fit what the sender knows of the way. */
	if (p->tuple.protocol == IPPROTO_SCTP)
		return header;
	if (p->tuple.protocol != IPPROTO_TCP)
		return header + 8 + skb->gso_size;
	/* The upper half of the byte: TCP's header in words. */
	if (bpf_skb_load_bytes(skb, p->transport + 12, &words, sizeof(words)))
		return p->length;
	return header + (words >> 4) * 4 + skb->gso_size;
}

/* Whether a packet is too large for the way through the mesh that was found: a route's own MTU the kernel does not look at. */
static __always_inline bool route_is_narrow(const struct packet *p, __u32 length, const __be32 to[4],
					    struct bpf_fib_lookup *way)
{
	const struct cw_exit *exit;
	__u32 mtu;

	if (p->divisible || length <= ROUTE_LEAST)
		return false;
	exit = route_exit(way->ifindex, p->v4);
	mtu = exit && exit->outside ? 0 : mtu_to(to);
	if (!mtu || length <= mtu)
		return false;
	way->mtu_result = mtu;
	return true;
}

/*
 * Finds the way to an address. With ROUTE_TOO_BIG, `way->mtu_result` is what fits, and the rest of the way is there for
 * packets that may be fragmented.
 */
static __always_inline enum route route_find(struct __sk_buff *skb, const struct packet *p,
					     const struct cw_address *source, const struct cw_address *destination,
					     struct bpf_fib_lookup *way)
{
	__u32 length = route_length(skb, p);
	long result;

	__builtin_memset(way, 0, sizeof(*way));
	way->ifindex = skb->ifindex;
	way->l4_protocol = p->tuple.protocol;
	way->sport = source->port;
	way->dport = destination->port;
	/* What may be fragmented is compared with the next device only. */
	if (!p->divisible)
		way->tot_len = length < 0xffff ? length : 0xffff;
	if (p->v4) {
		way->family = ROUTE_AF_INET;
		way->ipv4_src = source->ip[3];
		way->ipv4_dst = destination->ip[3];
	} else {
		way->family = ROUTE_AF_INET6;
		ip_copy(way->ipv6_src, source->ip);
		ip_copy(way->ipv6_dst, destination->ip);
	}
	result = bpf_fib_lookup(skb, way, sizeof(*way), 0);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return route_is_narrow(p, length, destination->ip, way) ? ROUTE_TOO_BIG : ROUTE_OUT;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return ROUTE_STACK;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return ROUTE_TOO_BIG;
	default:
		return ROUTE_NONE;
	}
}

/* On packets that were put on a device here (tc_index): nothing of them is left to do for who looks at what leaves by it. */
#define ROUTE_TAKEN 0xca05

/* Sends the packet along a way that was found. Returns what the program has to. */
static __always_inline int route_take(struct __sk_buff *skb, __u32 ip, const struct bpf_fib_lookup *way)
{
	struct bpf_redir_neigh next = { .nh_family = way->family };

	if (way->family == ROUTE_AF_INET)
		next.ipv4_nh = way->ipv4_dst;
	else
		ip_copy(next.ipv6_nh, way->ipv6_dst);
	if (!ip) {
		/* It came without an Ethernet header (out of the tunnel); where it goes one may be needed. */
		struct ethhdr header = { .h_proto = skb->protocol };

		if (bpf_skb_change_head(skb, sizeof(header), 0) ||
		    bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0))
			return TC_ACT_SHOT;
	}
	skb->tc_index = ROUTE_TAKEN;
	return bpf_redirect_neigh(way->ifindex, &next, sizeof(next), 0);
}
