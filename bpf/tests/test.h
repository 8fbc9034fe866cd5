/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of programs, run by the kernel itself (BPF_PROG_TEST_RUN); crates/kernel/tests/bpf_units.rs drives them.
 *
 * A case has a name and up to four parts, in this order, on fresh maps:
 *   SETUP   fills maps
 *   PACKET  writes a packet and returns its length; without it, the packet is an empty Ethernet frame
 *   RUN     what is done with the packet, 4096 times; without it, the program under test sees it, once
 *   CHECK   returns 0, or the number of the line that does not hold; skb->mark is the verdict
 * The program under test is the one that has the test file's name.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../lib/address.h"
#include "../lib/count.h"

#define RUNS 4096

#define SETUP(name) SEC("classifier") int setup_##name(struct __sk_buff *skb __attribute__((unused)))
#define PACKET(name) SEC("classifier") int packet_##name(struct __sk_buff *skb)
#define RUN(name) SEC("classifier") int run_##name(struct __sk_buff *skb __attribute__((unused)))
#define CHECK(name) SEC("classifier") int check_##name(struct __sk_buff *skb __attribute__((unused)))

#define ASSERT(condition)                                                                                              \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			return __LINE__;                                                                               \
	} while (0)

/* The case is about one verdict and one reason. */
#define EXPECT(name, action, reason)                                                                                   \
	CHECK(name)                                                                                                    \
	{                                                                                                              \
		ASSERT(skb->mark == (__u32)(action));                                                                  \
		ASSERT(counted(reason) == 1);                                                                          \
		return 0;                                                                                              \
	}

#define V4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* How often a reason was counted, on all the processors that a test may run on. */
static __always_inline __u64 counted(enum cw_reason reason)
{
	__u32 key = reason;
	__u64 sum = 0;

	for (__u32 cpu = 0; cpu < 256; cpu++) {
		__u64 *counter = bpf_map_lookup_percpu_elem(&counters, &key, cpu);

		if (!counter)
			break;
		sum += *counter;
	}
	return sum;
}

static __always_inline int packet_ethernet(struct __sk_buff *skb, __u16 protocol)
{
	struct ethhdr header = { .h_proto = bpf_htons(protocol) };

	bpf_skb_store_bytes(skb, 0, &header, sizeof(header), 0);
	return sizeof(header);
}

/* Writes another EtherType; returns the offset behind it. */
static __always_inline int packet_tag(struct __sk_buff *skb, int offset, __u16 inner)
{
	__be16 tag[2] = { bpf_htons(100), bpf_htons(inner) };

	bpf_skb_store_bytes(skb, offset, tag, sizeof(tag), 0);
	return offset + sizeof(tag);
}

static __always_inline int packet_ipv4_at(struct __sk_buff *skb, int offset, __be32 source, __be32 destination)
{
	struct iphdr header = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };

	header.saddr = source;
	header.daddr = destination;
	bpf_skb_store_bytes(skb, offset, &header, sizeof(header), 0);
	return offset + sizeof(header);
}

static __always_inline int packet_ipv6_at(struct __sk_buff *skb, int offset, const __be32 source[4],
					  const __be32 destination[4])
{
	struct ipv6hdr header = { .version = 6, .nexthdr = IPPROTO_UDP, .hop_limit = 64 };

	ip_copy(header.saddr.in6_u.u6_addr32, source);
	ip_copy(header.daddr.in6_u.u6_addr32, destination);
	bpf_skb_store_bytes(skb, offset, &header, sizeof(header), 0);
	return offset + sizeof(header);
}

static __always_inline int packet_ipv4(struct __sk_buff *skb, __be32 source, __be32 destination)
{
	return packet_ipv4_at(skb, packet_ethernet(skb, ETH_P_IP), source, destination);
}

/* Addresses by their first and last 32 bits: enough to tell them apart. */
static __always_inline int packet_ipv6(struct __sk_buff *skb, __u32 from, __u32 from_last, __u32 to, __u32 to_last)
{
	__be32 source[4] = { bpf_htonl(from), 0, 0, bpf_htonl(from_last) };
	__be32 destination[4] = { bpf_htonl(to), 0, 0, bpf_htonl(to_last) };

	return packet_ipv6_at(skb, packet_ethernet(skb, ETH_P_IPV6), source, destination);
}
