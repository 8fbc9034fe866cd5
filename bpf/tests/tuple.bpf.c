// SPDX-License-Identifier: Apache-2.0
/* Whose flow a packet belongs to: ports behind options, extension headers and in fragments; what is no flow at all. */
#include "../lib/tuple.h"
#include "test.h"

const char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define CLIENT V4(192, 0, 2, 9)
#define NODE V4(192, 0, 2, 1)

static __always_inline int packet_ports(struct __sk_buff *skb, int offset)
{
	__be16 udp[4] = { bpf_htons(5555), bpf_htons(53), bpf_htons(8), 0 };

	bpf_skb_store_bytes(skb, offset, udp, sizeof(udp), 0);
	return offset + sizeof(udp);
}

static __always_inline int packet_v4(struct __sk_buff *skb, __u8 protocol, __u8 words, __u16 fragment)
{
	struct iphdr header = { .version = 4, .ihl = words, .ttl = 64, .protocol = protocol, .id = 7,
				.frag_off = bpf_htons(fragment), .saddr = CLIENT, .daddr = NODE };

	bpf_skb_store_bytes(skb, packet_ethernet(skb, ETH_P_IP), &header, sizeof(header), 0);
	return ETH_HLEN + words * 4;
}

static __always_inline int packet_v6(struct __sk_buff *skb, __u8 next)
{
	struct ipv6hdr header = { .version = 6, .nexthdr = next, .hop_limit = 64 };

	bpf_skb_store_bytes(skb, packet_ethernet(skb, ETH_P_IPV6), &header, sizeof(header), 0);
	return ETH_HLEN + sizeof(header);
}

/* An extension header of 8 bytes, or a fragment's with this offset and number. */
static __always_inline int packet_extension(struct __sk_buff *skb, int offset, __u8 next, __u16 fragment)
{
	struct { __u8 next, zero; __be16 offset; __be32 id; } extension = { next, 0, bpf_htons(fragment), 7 };

	bpf_skb_store_bytes(skb, offset, &extension, sizeof(extension), 0);
	return offset + sizeof(extension);
}

static __always_inline enum tuple_kind read(struct __sk_buff *skb, struct packet *p)
{
	p->ip = ETH_HLEN;
	return tuple_read(skb, p, 0);
}

/* The case is about what kind of packet it is. */
#define EXPECT_KIND(name, expected)                                                                                    \
	RUN(name)                                                                                                      \
	{                                                                                                              \
		struct packet p;                                                                                       \
                                                                                                                       \
		ASSERT(read(skb, &p) == expected);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	CHECK(name) { return 0; }

/* The packet is of the flow from port 5555 to port 53, whose header is this far from the packet's beginning. */
#define EXPECT_FLOW(name, at)                                                                                          \
	RUN(name)                                                                                                      \
	{                                                                                                              \
		struct packet p;                                                                                       \
                                                                                                                       \
		ASSERT(read(skb, &p) == TUPLE_FLOW);                                                                   \
		ASSERT(p.tuple.protocol == IPPROTO_UDP);                                                               \
		ASSERT(p.tuple.source.port == bpf_htons(5555) && p.tuple.destination.port == bpf_htons(53));           \
		ASSERT(p.transport == (at));                                                                           \
		return 0;                                                                                              \
	}                                                                                                              \
	CHECK(name) { return 0; }

PACKET(v4_plain) { return packet_ports(skb, packet_v4(skb, IPPROTO_UDP, 5, IP_DF)); }
EXPECT_FLOW(v4_plain, ETH_HLEN + 20)

PACKET(v4_with_options) { return packet_ports(skb, packet_v4(skb, IPPROTO_UDP, 8, 0)); }
EXPECT_FLOW(v4_with_options, ETH_HLEN + 32)

PACKET(v4_first_fragment) { return packet_ports(skb, packet_v4(skb, IPPROTO_UDP, 5, IP_MORE)); }
EXPECT_FLOW(v4_first_fragment, ETH_HLEN + 20)

PACKET(v4_lost_fragment) { return packet_ports(skb, packet_v4(skb, IPPROTO_UDP, 5, IP_MORE | 100)); }
EXPECT_KIND(v4_lost_fragment, TUPLE_FRAGMENT)

PACKET(v4_of_another_protocol) { return packet_ports(skb, packet_v4(skb, IPPROTO_GRE, 5, 0)); }
EXPECT_KIND(v4_of_another_protocol, TUPLE_OTHER)

PACKET(v4_without_ports) { return packet_v4(skb, IPPROTO_UDP, 5, 0); }
EXPECT_KIND(v4_without_ports, TUPLE_OTHER)

/* SCTP's common header and the type of its first chunk. */
static __always_inline int packet_sctp(struct __sk_buff *skb, int offset, __u8 chunk)
{
	struct { __be16 ports[2]; __be32 tag, checksum; __u8 chunk, flags; __be16 length; } sctp = {
		{ bpf_htons(5555), bpf_htons(53) }, 0, 0, chunk, 0, bpf_htons(4)
	};

	bpf_skb_store_bytes(skb, offset, &sctp, sizeof(sctp), 0);
	return offset + sizeof(sctp);
}

/* The packet is SCTP's, from port 5555 to port 53, and says what a segment with these flags would. */
#define EXPECT_SCTP(name, flags)                                                                                       \
	RUN(name)                                                                                                      \
	{                                                                                                              \
		struct packet p;                                                                                       \
                                                                                                                       \
		ASSERT(read(skb, &p) == TUPLE_FLOW);                                                                   \
		ASSERT(p.tuple.protocol == IPPROTO_SCTP);                                                              \
		ASSERT(p.tuple.source.port == bpf_htons(5555) && p.tuple.destination.port == bpf_htons(53));           \
		ASSERT(p.tcp == (flags));                                                                              \
		return 0;                                                                                              \
	}                                                                                                              \
	CHECK(name) { return 0; }

PACKET(sctp_begins) { return packet_sctp(skb, packet_v4(skb, IPPROTO_SCTP, 5, IP_DF), SCTP_INIT); }
EXPECT_SCTP(sctp_begins, TCP_SYN)

PACKET(sctp_agrees) { return packet_sctp(skb, packet_v4(skb, IPPROTO_SCTP, 5, IP_DF), SCTP_INIT_ACK); }
EXPECT_SCTP(sctp_agrees, TCP_SYN | TCP_ACK)

PACKET(sctp_goes_on) { return packet_sctp(skb, packet_v6(skb, IPPROTO_SCTP), 0); }
EXPECT_SCTP(sctp_goes_on, TCP_ACK)

PACKET(sctp_ends) { return packet_sctp(skb, packet_v6(skb, IPPROTO_SCTP), SCTP_SHUTDOWN); }
EXPECT_SCTP(sctp_ends, TCP_FIN | TCP_ACK)

PACKET(sctp_aborts) { return packet_sctp(skb, packet_v6(skb, IPPROTO_SCTP), SCTP_ABORT); }
EXPECT_SCTP(sctp_aborts, TCP_RST)

/* No packet of SCTP is without a chunk (RFC 9260, section 3). */
PACKET(sctp_without_a_chunk) { return packet_sctp(skb, packet_v4(skb, IPPROTO_SCTP, 5, 0), SCTP_INIT) - 4; }
EXPECT_KIND(sctp_without_a_chunk, TUPLE_OTHER)

PACKET(v6_plain) { return packet_ports(skb, packet_v6(skb, IPPROTO_UDP)); }
EXPECT_FLOW(v6_plain, ETH_HLEN + 40)

PACKET(v6_behind_extensions)
{
	int at = packet_extension(skb, packet_v6(skb, IPPROTO_HOPOPTS), IPPROTO_DSTOPTS, 0);

	return packet_ports(skb, packet_extension(skb, at, IPPROTO_UDP, 0));
}
EXPECT_FLOW(v6_behind_extensions, ETH_HLEN + 56)

PACKET(v6_first_fragment)
{
	return packet_ports(skb, packet_extension(skb, packet_v6(skb, IPPROTO_FRAGMENT), IPPROTO_UDP, 1));
}
EXPECT_FLOW(v6_first_fragment, ETH_HLEN + 48)

PACKET(v6_fragment_that_is_whole)
{
	return packet_ports(skb, packet_extension(skb, packet_v6(skb, IPPROTO_FRAGMENT), IPPROTO_UDP, 0));
}
EXPECT_FLOW(v6_fragment_that_is_whole, ETH_HLEN + 48)

PACKET(v6_lost_fragment)
{
	return packet_ports(skb, packet_extension(skb, packet_v6(skb, IPPROTO_FRAGMENT), IPPROTO_UDP, 0x401));
}
EXPECT_KIND(v6_lost_fragment, TUPLE_FRAGMENT)

/* One more than is looked at. */
PACKET(v6_behind_too_many)
{
	int at = packet_v6(skb, IPPROTO_DSTOPTS);

	for (int i = 0; i < TUPLE_EXTENSIONS; i++)
		at = packet_extension(skb, at, IPPROTO_DSTOPTS, 0);
	return packet_ports(skb, packet_extension(skb, at, IPPROTO_UDP, 0));
}
EXPECT_KIND(v6_behind_too_many, TUPLE_OTHER)

PACKET(v6_behind_the_unknown)
{
	return packet_ports(skb, packet_extension(skb, packet_v6(skb, IPPROTO_ESP), IPPROTO_UDP, 0));
}
EXPECT_KIND(v6_behind_the_unknown, TUPLE_OTHER)

/* A later fragment has the ports of the first one of its datagram, and of no other's. */
SETUP(v4_later_fragment)
{
	struct cw_fragment key = { .id = 7, .protocol = IPPROTO_UDP };
	struct cw_ports ports = { bpf_htons(5555), bpf_htons(53) };

	ip_from_v4(key.source, CLIENT);
	ip_from_v4(key.destination, NODE);
	return bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY) ? __LINE__ : 0;
}
PACKET(v4_later_fragment) { return packet_v4(skb, IPPROTO_UDP, 5, 100) + 8; }
EXPECT_FLOW(v4_later_fragment, ETH_HLEN + 20)
