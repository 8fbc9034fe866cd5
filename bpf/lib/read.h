/* SPDX-License-Identifier: Apache-2.0 */
/* What policies have to know of a packet: which connection it is of, and whether it begins that. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "connection.h"
#include "errors.h"
#include "policy.h"
#include "tuple.h"

/* Not a reason: the packet is to be judged. */
#define READ_JUDGE (-1)

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
/* Neighbour discovery's types, and the hop limit that says no router was in between (RFC 4861, section 6.1.1). */
#define ND_FIRST 133
#define ND_LAST 137
#define ND_HOPS 255

/* What cannot be judged passes where nothing is to be judged. */
static __always_inline int read_failed(const struct policy *p, enum cw_reason reason)
{
	return (p->from_pod ? p->subject.egress : p->subject.ingress) ? (int)reason : CW_POLICY_ONCE;
}

/* Writes down the number of an echo at the end of who asks. */
static __always_inline void read_echo(struct cw_connection_key *key, bool pod_asks, __be16 id)
{
	key->pod_port = pod_asks ? id : 0;
	key->other_port = pod_asks ? 0 : id;
}

static __always_inline bool read_is_request(__u8 protocol, __u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);
}

static __always_inline bool read_is_reply(__u8 protocol, __u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY);
}

/* The connection that an error is about, as the pod knows it: it sent what it is told of, and was sent what it tells of. */
static __always_inline bool read_quote(struct __sk_buff *skb, const struct packet *packet, struct policy *p)
{
	struct cw_connection_key *about = &p->about;
	bool sent = !p->from_pod;
	union quote quote;
	__be16 from, to;
	__u8 type;

	__builtin_memset(about, 0, sizeof(*about));
	if (packet->v4) {
		if (bpf_skb_load_bytes(skb, error_quote_at(packet), &quote.v4, sizeof(quote.v4)) || quote.v4.ip.ihl != 5 ||
		    quote.v4.ip.frag_off & bpf_htons(IP_OFFSET))
			return false;
		about->protocol = quote.v4.ip.protocol;
		ip_from_v4(about->pod, sent ? quote.v4.ip.saddr : quote.v4.ip.daddr);
		ip_from_v4(about->other, sent ? quote.v4.ip.daddr : quote.v4.ip.saddr);
		from = quote.v4.ports[0];
		to = quote.v4.ports[1];
	} else {
		if (bpf_skb_load_bytes(skb, error_quote_at(packet), &quote.v6, sizeof(quote.v6)))
			return false;
		about->protocol = quote.v6.ip.nexthdr;
		ip_copy(about->pod, sent ? quote.v6.ip.saddr.in6_u.u6_addr32 : quote.v6.ip.daddr.in6_u.u6_addr32);
		ip_copy(about->other, sent ? quote.v6.ip.daddr.in6_u.u6_addr32 : quote.v6.ip.saddr.in6_u.u6_addr32);
		from = quote.v6.ports[0];
		to = quote.v6.ports[1];
	}
	if (about->protocol == IPPROTO_ICMP || about->protocol == IPPROTO_ICMPV6) {
		type = bpf_ntohs(from) >> 8;
		if (!read_is_request(about->protocol, type) && !read_is_reply(about->protocol, type))
			return false;
		read_echo(about, sent == read_is_request(about->protocol, type),
			  packet->v4 ? quote.v4.rest[0] : quote.v6.rest[0]);
	} else if (tuple_is_translated(about->protocol)) {
		about->pod_port = sent ? from : to;
		about->other_port = sent ? to : from;
	}
	return ip_equal(about->pod, p->key.pod);
}

static __always_inline bool read_is_related(struct __sk_buff *skb, const struct packet *packet, struct policy *p)
{
	const struct cw_connection *known;

	if (!read_quote(skb, packet, p))
		return false;
	known = connection_find(&p->about, p->now);
	return known && !(known->state & CW_TALK_DENIED);
}

/* The type of ICMP, and an echo's number: of a later fragment as the first one told. 0, or why it cannot be judged. */
static __always_inline int read_icmp_header(struct __sk_buff *skb, const struct packet *packet, struct icmp_header *header)
{
	struct cw_fragment key = { .id = packet->datagram, .protocol = packet->tuple.protocol };
	struct cw_ports *known, told;

	ip_copy(key.source, packet->tuple.source.ip);
	ip_copy(key.destination, packet->tuple.destination.ip);
	if (packet->part == PART_LATER) {
		known = bpf_map_lookup_elem(&fragments, &key);
		if (!known)
			return CW_POLICY_FRAGMENT;
		header->type = known->source;
		header->rest = known->destination;
		return 0;
	}
	if (bpf_skb_load_bytes(skb, packet->transport, header, sizeof(*header)))
		return CW_POLICY_UNREADABLE;
	header->rest = *(__be16 *)&header->rest;
	if (packet->part == PART_FIRST) {
		told.source = header->type;
		told.destination = header->rest;
		bpf_map_update_elem(&fragments, &key, &told, BPF_ANY);
	}
	return 0;
}

static __always_inline int read_icmp(struct __sk_buff *skb, const struct packet *packet, struct policy *p)
{
	__u8 protocol = packet->tuple.protocol;
	struct icmp_header header;
	int failed;

	failed = read_icmp_header(skb, packet, &header);
	if (failed)
		return read_failed(p, failed);
	p->icmp = header.type;
	p->has_ports = true;
	if (protocol == IPPROTO_ICMPV6 && header.type >= ND_FIRST && header.type <= ND_LAST && packet->hops == ND_HOPS)
		return CW_POLICY_NEIGHBOUR;
	p->talk = TALK_ONCE;
	p->begins = read_is_request(protocol, header.type);
	if (p->begins || read_is_reply(protocol, header.type)) {
		p->talk = TALK_ECHO;
		read_echo(&p->key, p->begins == p->from_pod, header.rest);
	}
	return READ_JUDGE;
}

static __always_inline int read_flow(const struct packet *packet, struct policy *p)
{
	const struct cw_address *from = &packet->tuple.source, *to = &packet->tuple.destination;

	p->key.pod_port = p->from_pod ? from->port : to->port;
	p->key.other_port = p->from_pod ? to->port : from->port;
	p->has_ports = true;
	if (packet->tuple.protocol == IPPROTO_UDP)
		return READ_JUDGE;
	p->talk = TALK_STREAM;
	p->tcp = packet->whole ? packet->tcp : TCP_ACK;
	p->begins = !tuple_is_midway(packet) && packet->whole;
	return READ_JUDGE;
}

/* Reads a packet; `p` has the subject and the direction. READ_JUDGE, or a reason. */
static __always_inline int read_packet(struct __sk_buff *skb, const struct packet *packet, int kind, struct policy *p)
{
	const struct cw_tuple *tuple = &packet->tuple;

	__builtin_memset(&p->key, 0, sizeof(p->key));
	ip_copy(p->key.pod, p->from_pod ? tuple->source.ip : tuple->destination.ip);
	ip_copy(p->key.other, p->from_pod ? tuple->destination.ip : tuple->source.ip);
	p->key.protocol = tuple->protocol;
	p->talk = TALK_DATAGRAM;
	p->tcp = p->icmp = p->begins = p->has_ports = 0;
	/* Routers do not forward those: they name neighbours (RFC 4291, section 2.5.6). A node's neighbours are judged. */
	if (!p->is_host && !packet->v4 && (p->key.other[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return CW_POLICY_NEIGHBOUR;
	switch (kind) {
	case TUPLE_FLOW:
		return read_flow(packet, p);
	case TUPLE_FRAGMENT:
		return read_failed(p, CW_POLICY_FRAGMENT);
	case TUPLE_ERROR:
		if (read_is_related(skb, packet, p))
			return CW_POLICY_RELATED;
		return read_icmp(skb, packet, p);
	default:
		break;
	}
	if (tuple->protocol == IPPROTO_ICMP || tuple->protocol == IPPROTO_ICMPV6)
		return read_icmp(skb, packet, p);
	/* Headers that could not be read, or too many of them. */
	if (!tuple->protocol || tuple_is_translated(tuple->protocol))
		return read_failed(p, CW_POLICY_UNREADABLE);
	return READ_JUDGE;
}
