/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose flow a packet belongs to, and where in the packet that is written. TCP, UDP and SCTP, over IPv4 and IPv6,
 * fragments too; and ICMP errors about them.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"

/* More extension headers than that nobody sends (RFC 8200 knows six, each once). */
#define TUPLE_EXTENSIONS 6

#define IP_OFFSET 0x1fff
#define IP_MORE 0x2000
#define IP_DF 0x4000

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* SCTP's chunks that begin and end associations, and where the first chunk's type is (RFC 9260, sections 3.1 and 3.2). */
#define SCTP_FIRST_CHUNK 12
#define SCTP_INIT 1
#define SCTP_INIT_ACK 2
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN 7
#define SCTP_SHUTDOWN_COMPLETE 14

/* <linux/icmp.h> cannot be had without the C library's headers. */
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

/* What both kinds of ICMP begin with. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

enum tuple_kind {
	/* One whose flow is known. */
	TUPLE_FLOW,
	/* An ICMP error; who it is about is still to be read. */
	TUPLE_ERROR,
	/* A fragment whose datagram's first one was not seen. */
	TUPLE_FRAGMENT,
	/* Something else. */
	TUPLE_OTHER,
};

/* Whether a packet is all of its datagram. */
enum tuple_part { PART_WHOLE, PART_FIRST, PART_LATER };

/* A packet. Offsets are bytes from its beginning. */
struct packet {
	struct cw_tuple tuple;
	/* Where the IP header is; to be set by whoever knows the device. */
	__u32 ip;
	/* Where the transport's header is. */
	__u32 transport;
	/* Bytes of the packet, from its IP header on. */
	__u32 length;
	/* Bytes of the envelope in which it is to travel. */
	__u32 envelope;
	__u8 v4;
	/* TTL or hop limit. */
	__u8 hops;
	/* Flags of TCP; of SCTP those that say the same; 0 for UDP. */
	__u8 tcp;
	/* Whether the transport's header is in it: it is not in later fragments. */
	__u8 whole;
	/* Whether routers may fragment it. */
	__u8 divisible;
	/* Of what has no ports: an enum tuple_part, whether it is a part of a datagram, and of which. */
	__u8 part;
	__be32 datagram;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct cw_fragment);
	__type(value, struct cw_ports);
} fragments SEC(".maps");

static __always_inline bool tuple_is_translated(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Whether it is a segment of TCP, or a packet of SCTP, that begins no connection. */
static __always_inline bool tuple_is_midway(const struct packet *p)
{
	return p->tuple.protocol != IPPROTO_UDP && (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN;
}

/* Turns a flow round: the packets that answer it. */
static __always_inline void tuple_reverse(struct cw_tuple *to, const struct cw_address *source,
					  const struct cw_address *destination, __u8 protocol, __u8 hook)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->source = *destination;
	to->destination = *source;
	to->protocol = protocol;
	to->hook = hook;
}

/* What a segment with a chunk of SCTP would be in TCP. Those that matter come first in their packets, or alone. */
static __always_inline __u8 tuple_chunk_flags(__u8 chunk)
{
	switch (chunk) {
	case SCTP_INIT:
		return TCP_SYN;
	case SCTP_INIT_ACK:
		return TCP_SYN | TCP_ACK;
	case SCTP_ABORT:
	case SCTP_SHUTDOWN_COMPLETE:
		return TCP_RST;
	case SCTP_SHUTDOWN:
		return TCP_FIN | TCP_ACK;
	default:
		return TCP_ACK;
	}
}

static __always_inline enum tuple_kind tuple_ports(struct __sk_buff *skb, struct packet *p)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, p->transport, ports, sizeof(ports)))
		return TUPLE_OTHER;
	p->tuple.source.port = ports[0];
	p->tuple.destination.port = ports[1];
	if (p->tuple.protocol == IPPROTO_TCP && bpf_skb_load_bytes(skb, p->transport + 13, &p->tcp, sizeof(p->tcp)))
		return TUPLE_OTHER;
	if (p->tuple.protocol == IPPROTO_SCTP) {
		if (bpf_skb_load_bytes(skb, p->transport + SCTP_FIRST_CHUNK, &p->tcp, sizeof(p->tcp)))
			return TUPLE_OTHER;
		p->tcp = tuple_chunk_flags(p->tcp);
	}
	return TUPLE_FLOW;
}

/* The ports of a fragment: the first one of a datagram has them, the others are told by it. */
static __always_inline enum tuple_kind tuple_fragment(struct __sk_buff *skb, struct packet *p, __be32 id, bool first)
{
	struct cw_fragment key = { .id = id, .protocol = p->tuple.protocol };
	struct cw_ports *known, ports;
	enum tuple_kind kind;

	ip_copy(key.source, p->tuple.source.ip);
	ip_copy(key.destination, p->tuple.destination.ip);
	if (first) {
		kind = tuple_ports(skb, p);
		ports.source = p->tuple.source.port;
		ports.destination = p->tuple.destination.port;
		if (kind == TUPLE_FLOW)
			bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return kind;
	}
	p->whole = false;
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known)
		return TUPLE_FRAGMENT;
	p->tuple.source.port = known->source;
	p->tuple.destination.port = known->destination;
	return TUPLE_FLOW;
}

static __always_inline enum tuple_kind tuple_read_v4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr header;
	__u16 fragment;
	__u8 type;

	if (bpf_skb_load_bytes(skb, p->ip, &header, sizeof(header)) || header.version != 4 || header.ihl < 5)
		return TUPLE_OTHER;
	ip_from_v4(p->tuple.source.ip, header.saddr);
	ip_from_v4(p->tuple.destination.ip, header.daddr);
	fragment = bpf_ntohs(header.frag_off);
	p->transport = p->ip + header.ihl * 4;
	p->length = bpf_ntohs(header.tot_len);
	p->hops = header.ttl;
	p->divisible = !(fragment & IP_DF);
	p->tuple.protocol = header.protocol;
	if (tuple_is_translated(header.protocol)) {
		if (fragment & (IP_OFFSET | IP_MORE))
			return tuple_fragment(skb, p, header.id, !(fragment & IP_OFFSET));
		return tuple_ports(skb, p);
	}
	if (fragment & (IP_OFFSET | IP_MORE)) {
		p->part = fragment & IP_OFFSET ? PART_LATER : PART_FIRST;
		p->datagram = header.id;
	}
	if (header.protocol != IPPROTO_ICMP || p->part ||
	    bpf_skb_load_bytes(skb, p->transport, &type, sizeof(type)))
		return TUPLE_OTHER;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB ? TUPLE_ERROR :
												       TUPLE_OTHER;
}

static __always_inline enum tuple_kind tuple_read_v6(struct __sk_buff *skb, struct packet *p)
{
	struct { __u8 next, length; __be16 offset; __be32 id; } extension;
	struct ipv6hdr header;
	__u8 type;

	if (bpf_skb_load_bytes(skb, p->ip, &header, sizeof(header)) || header.version != 6)
		return TUPLE_OTHER;
	ip_copy(p->tuple.source.ip, header.saddr.in6_u.u6_addr32);
	ip_copy(p->tuple.destination.ip, header.daddr.in6_u.u6_addr32);
	p->transport = p->ip + sizeof(header);
	p->length = sizeof(header) + bpf_ntohs(header.payload_len);
	p->hops = header.hop_limit;
	p->divisible = false;
	for (int i = 0; i <= TUPLE_EXTENSIONS; i++) {
		__u8 next = header.nexthdr;

		if (tuple_is_translated(next)) {
			p->tuple.protocol = next;
			return tuple_ports(skb, p);
		}
		if (next == IPPROTO_ICMPV6) {
			p->tuple.protocol = next;
			if (bpf_skb_load_bytes(skb, p->transport, &type, sizeof(type)))
				return TUPLE_OTHER;
			return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB ? TUPLE_ERROR : TUPLE_OTHER;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT) {
			p->tuple.protocol = next;
			return TUPLE_OTHER;
		}
		if (bpf_skb_load_bytes(skb, p->transport, &extension, sizeof(extension)))
			return TUPLE_OTHER;
		header.nexthdr = extension.next;
		if (next == IPPROTO_FRAGMENT) {
			p->transport += sizeof(extension);
			p->tuple.protocol = extension.next;
			/* The lowest bit: more fragments. Neither that nor an offset: a whole datagram (RFC 6946). */
			if (!(extension.offset & bpf_htons(0xfff9)))
				continue;
			if (!tuple_is_translated(extension.next)) {
				p->part = extension.offset & bpf_htons(0xfff8) ? PART_LATER : PART_FIRST;
				p->datagram = extension.id;
				return TUPLE_OTHER;
			}
			return tuple_fragment(skb, p, extension.id, !(extension.offset & bpf_htons(0xfff8)));
		}
		p->transport += (extension.length + 1) * 8;
	}
	return TUPLE_OTHER;
}

/* Reads a packet whose IP header is at p->ip. */
static __always_inline enum tuple_kind tuple_read(struct __sk_buff *skb, struct packet *p, __u8 hook)
{
	__builtin_memset(&p->tuple, 0, sizeof(p->tuple));
	p->tuple.hook = hook;
	p->tcp = 0;
	p->envelope = 0;
	p->whole = true;
	p->part = PART_WHOLE;
	p->v4 = skb->protocol == bpf_htons(ETH_P_IP);
	if (p->v4)
		return tuple_read_v4(skb, p);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? tuple_read_v6(skb, p) : TUPLE_OTHER;
}
