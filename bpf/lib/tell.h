/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors of our own, about packets that cannot go where they ought to: their senders are told, as any router would.
 * They are told in the name of the address they dialled, and get the part of the packet that names the flow; so many a
 * second, and no more.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "count.h"
#include "errors.h"
#include "route.h"
#include "stay.h"
#include "tuple.h"

#define TELL_HOPS 64
#define ICMP_FRAG_NEEDED 4

struct tell_v4 {
	struct iphdr ip;
	struct icmp_header icmp;
	__be32 quote[7];
};

struct tell_v6 {
	struct ipv6hdr ip;
	struct icmp_header icmp;
	__be32 quote[12];
};

static __always_inline __sum16 tell_checksum(__s64 sum)
{
	return rewrite_mend(0xffff, sum);
}

static __always_inline long tell_v4(struct __sk_buff *skb, const struct packet *p, __u8 type, __u8 code, __u32 mtu)
{
	struct tell_v4 told = {
		.ip = { .version = 4, .ihl = 5, .ttl = TELL_HOPS, .protocol = IPPROTO_ICMP,
			.tot_len = bpf_htons(sizeof(told)), .frag_off = bpf_htons(IP_DF) },
		.icmp = { .type = type, .code = code, .rest = bpf_htonl(mtu) },
	};

	if (bpf_skb_load_bytes(skb, p->ip, told.quote, sizeof(told.quote)))
		return -1;
	told.ip.saddr = p->tuple.destination.ip[3];
	told.ip.daddr = p->tuple.source.ip[3];
	told.ip.check = tell_checksum(bpf_csum_diff(NULL, 0, (__be32 *)&told.ip, sizeof(told.ip), 0));
	told.icmp.checksum = tell_checksum(
		bpf_csum_diff(NULL, 0, (__be32 *)&told.icmp, sizeof(told.icmp) + sizeof(told.quote), 0));
	return bpf_skb_change_tail(skb, p->ip + sizeof(told), 0) ?:
	       bpf_skb_store_bytes(skb, p->ip, &told, sizeof(told), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline long tell_v6(struct __sk_buff *skb, const struct packet *p, __u8 type, __u8 code, __u32 mtu)
{
	__u16 length = sizeof(struct tell_v6) - sizeof(struct ipv6hdr);
	struct tell_v6 told = {
		.ip = { .version = 6, .nexthdr = IPPROTO_ICMPV6, .hop_limit = TELL_HOPS, .payload_len = bpf_htons(length) },
		.icmp = { .type = type, .code = code, .rest = bpf_htonl(mtu) },
	};
	/* What the checksum covers besides (RFC 8200, section 8.1); the addresses lie next to each other in the header. */
	__be32 pseudo[2] = { bpf_htonl(length), bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum;

	if (bpf_skb_load_bytes(skb, p->ip, told.quote, sizeof(told.quote)))
		return -1;
	ip_copy(told.ip.saddr.in6_u.u6_addr32, p->tuple.destination.ip);
	ip_copy(told.ip.daddr.in6_u.u6_addr32, p->tuple.source.ip);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, told.ip.saddr.in6_u.u6_addr32, 32, sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&told.icmp, sizeof(told.icmp) + sizeof(told.quote), sum);
	told.icmp.checksum = tell_checksum(sum);
	return bpf_skb_change_tail(skb, p->ip + sizeof(told), 0) ?:
	       bpf_skb_store_bytes(skb, p->ip, &told, sizeof(told), BPF_F_RECOMPUTE_CSUM);
}

/* Errors a second, and at a time: what the kernel allows itself (icmp_msgs_per_sec, icmp_msgs_burst). */
#define TELL_INTERVAL (SECOND / 1000)
#define TELL_BURST 50

/* When all that was told would have been told at an even pace: a moment of bpf_ktime_get_ns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} told SEC(".maps");

/* Whether one more may be told now: a token bucket of the node (RFC 4443, section 2.4 f), kept as the time it is full at. */
static __always_inline bool tell_may(__u64 now)
{
	__u64 *even, seen, from;
	__u32 first = 0;

	even = bpf_map_lookup_elem(&told, &first);
	if (!even)
		return false;
	seen = *(volatile __u64 *)even;
	from = seen > now ? seen : now;
	/* Whoever is overtaken by another processor is not told: it happens under a flood only. */
	return from - now < TELL_BURST * TELL_INTERVAL &&
	       __sync_val_compare_and_swap(even, seen, from + TELL_INTERVAL) == seen;
}

/* Answers a packet with an error in its place. Returns what the program has to. */
static __always_inline int tell(struct __sk_buff *skb, struct packet *p, struct bpf_fib_lookup *way, __u8 type, __u8 code,
				__u32 mtu)
{
	/* Whoever sends fragments, or options, is not told: what is quoted would not name the flow. */
	__u32 plain = p->v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	if (!p->whole || p->transport - p->ip != plain)
		return TC_ACT_SHOT;
	if (!tell_may(bpf_ktime_get_ns())) {
		count(CW_EDGE_UNTOLD);
		return TC_ACT_SHOT;
	}
	if ((p->v4 ? tell_v4(skb, p, type, code, mtu) : tell_v6(skb, p, type, code, mtu)))
		return TC_ACT_SHOT;
	p->length = 0;
	if (route_find(skb, p, &p->tuple.destination, &p->tuple.source, way) != ROUTE_OUT)
		return TC_ACT_SHOT;
	return route_take(skb, p->ip, way);
}

/* The packet is larger than what fits the way on, and may not be fragmented (RFC 1191, RFC 8201). */
static __always_inline int tell_too_big(struct __sk_buff *skb, struct packet *p, struct bpf_fib_lookup *way)
{
	__u32 mtu = way->mtu_result;

	return p->v4 ? tell(skb, p, way, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu) :
		       tell(skb, p, way, ICMPV6_PKT_TOOBIG, 0, mtu);
}

/* The packet has crossed as many routers as it might. */
static __always_inline int tell_expired(struct __sk_buff *skb, struct packet *p, struct bpf_fib_lookup *way)
{
	return p->v4 ? tell(skb, p, way, ICMP_TIME_EXCEEDED, 0, 0) : tell(skb, p, way, ICMPV6_TIME_EXCEED, 0, 0);
}
