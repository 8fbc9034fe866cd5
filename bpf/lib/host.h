/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies about a node itself: judged as a pod is, by the node's own addresses. But some of what it says always passes,
 * whatever policies say and even where its rules found no room: see host_is_always.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "always.h"
#include "connection.h"
#include "count.h"
#include "police.h"
#include "policy.h"
#include "subject.h"
#include "tuple.h"

/* Ports of DHCP's clients and servers (RFC 2131, RFC 8415). */
#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define DHCP6_CLIENT 546
#define DHCP6_SERVER 547

/* Which multicast groups neighbours listen to: MLD's types (RFC 2710, RFC 3810). */
#define MLD_FIRST 130
#define MLD_LAST 132
#define MLD_REPORT 143

static __always_inline bool host_is_dhcp(const struct cw_connection_key *key)
{
	__u16 own = bpf_ntohs(key->pod_port), other = bpf_ntohs(key->other_port);

	return (own == DHCP_CLIENT && other == DHCP_SERVER) || (own == DHCP_SERVER && other == DHCP_CLIENT) ||
	       (own == DHCP6_CLIENT && other == DHCP6_SERVER) || (own == DHCP6_SERVER && other == DHCP6_CLIENT);
}

/* A port of the node's, or of others': what dials it, and what answers from there. A stream's beginning is no answer. */
static __always_inline bool host_is_at_port(const struct policy *p, __be16 port, bool others)
{
	struct cw_always key = { .port = port, .protocol = p->key.protocol, .others = others };
	bool dials = p->from_pod == others;

	if (!dials && (p->begins || (others && p->talk != TALK_STREAM)))
		return false;
	return bpf_map_lookup_elem(&always_allowed, &key) != NULL;
}

/* Whether a packet that was read passes whatever policies say. */
static __always_inline bool host_is_always(const struct policy *p, int kind)
{
	struct cw_always key = {};

	ip_copy(key.ip, p->key.other);
	if (bpf_map_lookup_elem(&always_allowed, &key))
		return true;
	/* Errors of ICMP: without them packets are lost in silence. */
	if (kind == TUPLE_ERROR || p->key.protocol == IPPROTO_IGMP)
		return true;
	if (p->key.protocol == IPPROTO_ICMPV6)
		return (p->icmp >= MLD_FIRST && p->icmp <= MLD_LAST) || p->icmp == MLD_REPORT;
	if (kind != TUPLE_FLOW)
		return false;
	if (p->key.protocol == IPPROTO_UDP && host_is_dhcp(&p->key))
		return true;
	return host_is_at_port(p, p->key.pod_port, false) || host_is_at_port(p, p->key.other_port, true);
}

/*
 * A packet that the node forwards in its own name, for its pods: those were judged by their own rules. What answers it is
 * let in because it is remembered.
 */
static __always_inline int host_forwards(struct policy *p)
{
	struct cw_connection *known = connection_find(&p->key, p->now);

	if (known && known->state & CW_TALK_OWN && !connection_is_closed(known->state))
		connection_use(p, known);
	else if (p->talk != TALK_ONCE && (p->talk != TALK_ECHO || p->begins) && !(p->tcp & TCP_RST))
		connection_open(p, true, CW_TALK_OWN);
	return CW_POLICY_ALWAYS;
}

/* Whether a packet that the node sends, or is sent, may pass. `kind` is what it was read as. */
static __always_inline bool host_police(struct __sk_buff *skb, const struct packet *packet, int kind, bool from_host)
{
	const struct cw_address *host = from_host ? &packet->tuple.source : &packet->tuple.destination;
	const struct cw_subject *subject = subject_at(host->ip);
	struct policy *p;
	int reason;

	if (!subject)
		return true;
	p = police_begin(skb, subject, from_host, true);
	if (!p)
		return false;
	reason = read_packet(skb, packet, kind, p);
	ip_copy(p->peer.ip, p->key.other);
	p->peer.port = p->key.other_port;
	if (from_host && p->is_forwarded)
		reason = host_forwards(p);
	else if (host_is_always(p, kind))
		reason = CW_POLICY_ALWAYS;
	else if (reason == READ_JUDGE)
		reason = police_judge(from_host);
	return police_end(p, reason);
}
