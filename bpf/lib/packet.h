/* SPDX-License-Identifier: Apache-2.0 */
/* Who sends a packet to whom, whatever device it is on. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "address.h"

/* Tags inside the frame; the usual ones travel beside it and need no walk. */
#define VLAN_TAGS 2

enum packet_kind { PACKET_IP, PACKET_ARP, PACKET_OTHER, PACKET_TRUNCATED };

struct packet_ends {
	__be32 source[4];
	__be32 destination[4];
};

static __always_inline enum packet_kind packet_v4(struct __sk_buff *skb, __u32 offset, __u32 from,
						  struct packet_ends *ends)
{
	struct iphdr header;

	if (bpf_skb_load_bytes_relative(skb, offset, &header, sizeof(header), from) || header.version != 4)
		return PACKET_TRUNCATED;
	ip_from_v4(ends->source, header.saddr);
	ip_from_v4(ends->destination, header.daddr);
	return PACKET_IP;
}

static __always_inline enum packet_kind packet_v6(struct __sk_buff *skb, __u32 offset, __u32 from,
						  struct packet_ends *ends)
{
	struct ipv6hdr header;

	if (bpf_skb_load_bytes_relative(skb, offset, &header, sizeof(header), from) || header.version != 6)
		return PACKET_TRUNCATED;
	ip_copy(ends->source, header.saddr.in6_u.u6_addr32);
	ip_copy(ends->destination, header.daddr.in6_u.u6_addr32);
	return PACKET_IP;
}

/* What lies behind tags that are part of the frame. */
static __always_inline enum packet_kind packet_tagged(struct __sk_buff *skb, struct packet_ends *ends)
{
	__u32 offset = 2 * ETH_ALEN;
	__be16 protocol;

	for (int tag = 0; tag <= VLAN_TAGS; tag++) {
		if (bpf_skb_load_bytes_relative(skb, offset, &protocol, sizeof(protocol), BPF_HDR_START_MAC))
			return PACKET_TRUNCATED;
		offset += sizeof(protocol);
		if (protocol == bpf_htons(ETH_P_IP))
			return packet_v4(skb, offset, BPF_HDR_START_MAC, ends);
		if (protocol == bpf_htons(ETH_P_IPV6))
			return packet_v6(skb, offset, BPF_HDR_START_MAC, ends);
		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			return PACKET_OTHER;
		offset += sizeof(__be16);
	}
	return PACKET_TRUNCATED;
}

/* Reads both ends of an IP packet. */
static __always_inline enum packet_kind packet_parse(struct __sk_buff *skb, struct packet_ends *ends)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return packet_v4(skb, 0, BPF_HDR_START_NET, ends);
	case bpf_htons(ETH_P_IPV6):
		return packet_v6(skb, 0, BPF_HDR_START_NET, ends);
	case bpf_htons(ETH_P_ARP):
		return PACKET_ARP;
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return packet_tagged(skb, ends);
	default:
		return PACKET_OTHER;
	}
}
