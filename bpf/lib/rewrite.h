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

static __always_inline long rewrite_v4_header(struct __sk_buff *skb, const struct packet *p, __be32 ends[2], __s64 change,
					      __u8 hops)
{
	__be16 old = bpf_htons(p->hops << 8 | p->tuple.protocol), new = bpf_htons(hops << 8 | p->tuple.protocol);
	__u32 check = p->ip + offsetof(struct iphdr, check);

	/* The header's own checksum hides the change from a sum over the whole packet. */
	return bpf_l3_csum_replace(skb, check, 0, change, 0) ?:
	       bpf_l3_csum_replace(skb, check, old, new, sizeof(old)) ?:
	       bpf_skb_store_bytes(skb, p->ip + offsetof(struct iphdr, ttl), &hops, sizeof(hops), 0) ?:
	       bpf_skb_store_bytes(skb, p->ip + offsetof(struct iphdr, saddr), ends, 2 * sizeof(ends[0]), 0);
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
		change = bpf_csum_diff(old, 8, new, 8, 0);
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
