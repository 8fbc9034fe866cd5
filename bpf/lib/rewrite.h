/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes other addresses and ports into a packet. Checksums are mended, never computed anew, so that what the hardware
 * or the sending socket left to be filled in is still right, and segments that travel together stay together.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "tuple.h"

static __always_inline __u32 rewrite_checksum_at(const struct packet *p)
{
	return p->transport + (p->tuple.protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
								  offsetof(struct udphdr, check));
}

/* What UDP asks for: a checksum of 0 says that there is none. */
static __always_inline __u64 rewrite_flags(const struct packet *p)
{
	return p->tuple.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* What of an IPv4 header changes: from its TTL to its end. */
struct rewrite_v4 {
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 ends[2];
};

/* Adds a change (as of bpf_csum_diff) to a checksum. */
static __always_inline __sum16 rewrite_mend(__sum16 check, __s64 change)
{
	__u64 sum = (__u16)~check + (__u64)(__u32)change;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* What bpf_csum_diff says of two addresses in the place of two others, without its call. */
static __always_inline __u32 rewrite_change(const __be32 old[2], const __be32 new[2])
{
	__u64 sum = (__u64)(__u32)~old[0] + (__u32)~old[1] + new[0] + new[1];

	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* `change` is that of the addresses to `ends`. */
static __always_inline long rewrite_v4_header(struct __sk_buff *skb, const struct packet *p, const __be32 ends[2],
					      __u32 change, __u8 hops)
{
	__u16 old = bpf_htons(p->hops << 8 | p->tuple.protocol), new = bpf_htons(hops << 8 | p->tuple.protocol);
	__u32 at = p->ip + offsetof(struct iphdr, ttl);
	struct rewrite_v4 header;

	if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)))
		return -1;
	header.check = rewrite_mend(rewrite_mend(header.check, change), (__u16)~old + new);
	header.ttl = hops;
	header.ends[0] = ends[0];
	header.ends[1] = ends[1];
	/* The header's own checksum hides the change from a sum over the whole packet. */
	return bpf_skb_store_bytes(skb, at, &header, sizeof(header), 0);
}

/* `ends` are source and destination. The header has no checksum: a sum over the whole packet has to follow. */
static __always_inline long rewrite_v6_header(struct __sk_buff *skb, const struct packet *p, __be32 ends[8], __u8 hops)
{
	__u32 limit = p->ip + offsetof(struct ipv6hdr, hop_limit), addresses = p->ip + offsetof(struct ipv6hdr, saddr);

	return bpf_skb_store_bytes(skb, limit, &hops, sizeof(hops), BPF_F_RECOMPUTE_CSUM) ?:
	       bpf_skb_store_bytes(skb, addresses, ends, 8 * sizeof(ends[0]), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline long rewrite_ports(struct __sk_buff *skb, const struct packet *p, const struct cw_nat *to)
{
	union { struct cw_ports ports; __be32 word; } old = { { p->tuple.source.port, p->tuple.destination.port } };
	union { struct cw_ports ports; __be32 word; } new = { { to->source.port, to->destination.port } };
	__u64 flags = rewrite_flags(p) | sizeof(old.word);

	return bpf_l4_csum_replace(skb, rewrite_checksum_at(p), old.word, new.word, flags) ?:
	       bpf_skb_store_bytes(skb, p->transport, &new.ports, sizeof(new.ports), 0);
}

/*
 * Makes of a packet what its flow's entry says, with these hops left. Not 0: the kernel could not. The checksum of SCTP
 * (CRC32c) covers no addresses, and its ports stay as they are.
 */
static __always_inline long rewrite(struct __sk_buff *skb, const struct packet *p, const struct cw_nat *to, __u8 hops)
{
	__be32 old[8], new[8];
	__u64 flags = rewrite_flags(p) | BPF_F_PSEUDO_HDR;
	__s64 change;
	long failed;

	if (p->v4) {
		old[0] = p->tuple.source.ip[3];
		old[1] = p->tuple.destination.ip[3];
		new[0] = to->source.ip[3];
		new[1] = to->destination.ip[3];
		change = rewrite_change(old, new);
		failed = rewrite_v4_header(skb, p, new, change, hops);
	} else {
		ip_copy(old, p->tuple.source.ip);
		ip_copy(old + 4, p->tuple.destination.ip);
		ip_copy(new, to->source.ip);
		ip_copy(new + 4, to->destination.ip);
		change = bpf_csum_diff(old, 32, new, 32, 0);
		failed = rewrite_v6_header(skb, p, new, hops);
	}
	if (failed || !p->whole || p->tuple.protocol == IPPROTO_SCTP)
		return failed;
	return bpf_l4_csum_replace(skb, rewrite_checksum_at(p), 0, change, flags) ?: rewrite_ports(skb, p, to);
}
