/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies at a pod's link: the first packet of a connection is judged by the rules, and the others by what is remembered of
 * that. What is denied is dropped, and never answered. Both programs that use this know packets of both directions, so both
 * ends of a connection are one entry of `connections`.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "connection.h"
#include "count.h"
#include "event.h"
#include "policy.h"
#include "read.h"
#include "translated.h"
#include "tuple.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cw_policing);
} policing SEC(".maps");

static __always_inline bool police_drops(int reason)
{
	return reason >= CW_POLICY_ADMIN && reason <= CW_POLICY_UNREADABLE;
}

/* Who really sends what comes to the pod: this node may have translated it, in the name of a service or in its own. */
static __always_inline void police_find_sender(struct policy *p, const struct cw_connection *known)
{
	struct cw_tuple answer = { .protocol = p->key.protocol, .hook = NAT_INGRESS };
	const struct cw_nat *entry = NULL;

	ip_copy(p->peer.ip, p->key.other);
	p->peer.port = p->key.other_port;
	/* Whom it saw by its own name before it sees so on, until another connection begins. */
	if (known && !p->begins && !(known->state & (CW_TALK_TRANSLATED | CW_TALK_OWN)))
		return;
	if (tuple_is_translated(p->key.protocol)) {
		ip_copy(answer.source.ip, p->key.pod);
		answer.source.port = p->key.pod_port;
		answer.destination = p->peer;
		entry = bpf_map_lookup_elem(&nat, &answer);
	}
	if (entry) {
		p->peer = entry->destination;
	} else if (known && known->state & CW_TALK_TRANSLATED && !p->begins) {
		ip_copy(p->peer.ip, known->peer);
		p->peer.port = known->port;
	}
}

/* The node may always speak with its pods, but does not lend its name to those it forwards for; so may a pod with itself. */
static __always_inline bool police_is_own(const struct policy *p)
{
	if (p->is_host)
		return false;
	if (ip_equal(p->peer.ip, p->key.pod))
		return true;
	return !p->from_pod && !p->is_forwarded && policy_is_own(p->peer.ip);
}

/* A packet that no connection is known of: CW_POLICY_*. */
__noinline int police_first(__u32 from_pod)
{
	struct policy *p = policy_here();
	__u64 ruleset;
	__u16 rule;
	__u8 tier;
	bool begun, midway;
	int reason;

	if (!p)
		return CW_POLICY_CLOSED;
	begun = from_pod;
	midway = p->talk == TALK_STREAM && !p->begins;
	if (police_is_own(p)) {
		if (p->talk != TALK_ONCE && (p->talk != TALK_ECHO || p->begins) && !(p->tcp & TCP_RST))
			connection_open(p, begun, CW_TALK_OWN);
		return CW_POLICY_OWN;
	}
	reason = policy_judge(begun);
	if (reason != CW_POLICY_NEW && midway) {
		ruleset = p->ruleset;
		rule = p->rule;
		tier = p->tier;
		if (policy_judge(!begun) == CW_POLICY_NEW) {
			begun = !begun;
			reason = CW_POLICY_NEW;
		} else {
			p->ruleset = ruleset;
			p->rule = rule;
			p->tier = tier;
		}
	}
	if (reason != CW_POLICY_NEW)
		return reason;
	if (p->talk == TALK_ONCE || (p->talk == TALK_ECHO && !p->begins))
		return CW_POLICY_ONCE;
	if (!midway)
		connection_open(p, begun, 0);
	else if (!(p->tcp & TCP_RST))
		connection_open(p, begun, CW_TALK_MIDWAY | CW_TALK_REPLIED);
	return midway ? CW_POLICY_MIDWAY : CW_POLICY_NEW;
}

/*
 * A packet of a connection that was judged before something changed. CW_POLICY_AGAIN: it is allowed still. What is denied of
 * a stream is remembered, or what is under way would be asked about as if nothing were known of it.
 */
static __always_inline int police_again(struct policy *p, struct cw_connection *known)
{
	bool begun = known->from_pod;
	int reason;

	if (p->talk == TALK_ECHO)
		p->icmp = p->key.protocol == IPPROTO_ICMP ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	if (known->state & CW_TALK_OWN && (p->is_host || ip_equal(p->peer.ip, p->key.pod) || policy_is_own(p->peer.ip))) {
		known->epoch = p->epoch;
		return CW_POLICY_AGAIN;
	}
	reason = policy_judge(begun);
	if (reason != CW_POLICY_NEW && known->state & CW_TALK_MIDWAY && policy_judge(!begun) == CW_POLICY_NEW) {
		known->from_pod = !begun;
		reason = CW_POLICY_NEW;
	}
	if (reason == CW_POLICY_NEW) {
		known->state &= ~CW_TALK_DENIED;
		known->epoch = p->epoch;
		return CW_POLICY_AGAIN;
	}
	if (p->talk == TALK_STREAM) {
		known->state |= CW_TALK_DENIED;
		known->epoch = p->epoch;
		known->used = p->now;
		return reason;
	}
	bpf_map_delete_elem(&connections, &p->key);
	/* What was an answer may be allowed as a beginning. */
	return p->from_pod != begun && p->talk == TALK_DATAGRAM ? police_first(p->from_pod) : reason;
}

static __always_inline int police_known(struct policy *p, struct cw_connection *known)
{
	bool denied = known->state & CW_TALK_DENIED;
	int reason;

	if (known->epoch != p->epoch && (!p->keep || denied)) {
		reason = police_again(p, known);
		if (reason != CW_POLICY_AGAIN)
			return reason;
		count(CW_POLICY_AGAIN);
	} else if (denied) {
		known->used = p->now;
		return CW_POLICY_CUT;
	}
	connection_use(p, known);
	return p->from_pod == known->from_pod ? CW_POLICY_ESTABLISHED : CW_POLICY_REPLY;
}

/* Whether a packet that begins a connection does so although one is known: as another one, in the place of that. */
static __always_inline bool police_is_another(const struct policy *p, const struct cw_connection *known)
{
	return p->begins && (known->from_pod != p->from_pod || connection_is_closed(known->state) ||
			     known->state & CW_TALK_DENIED);
}

/* What becomes of a packet that was read: CW_POLICY_*. */
__noinline int police_judge(__u32 from_pod)
{
	struct policy *p = policy_here();
	struct cw_connection *known;

	if (!p)
		return CW_POLICY_CLOSED;
	known = connection_find(&p->key, p->now);
	if (!from_pod && !p->is_host)
		police_find_sender(p, known);
	if (known && known->port == p->peer.port && ip_equal(known->peer, p->peer.ip) && !police_is_another(p, known))
		return police_known(p, known);
	return police_first(from_pod);
}

/* Begins to judge a packet of whom policies are about. NULL: it cannot be. */
static __always_inline struct policy *police_begin(struct __sk_buff *skb, const struct cw_subject *subject, bool from_pod,
						   bool is_host)
{
	struct policy *p = policy_here();
	const struct cw_policing *setting;
	__u32 first = 0;

	setting = bpf_map_lookup_elem(&policing, &first);
	if (!p || !setting) {
		count(CW_POLICY_CLOSED);
		return NULL;
	}
	p->subject = *subject;
	/* Before anything is looked up: what changes from now on raises it. */
	p->epoch = *(volatile const __u32 *)&setting->epoch;
	p->keep = setting->keep;
	p->now = bpf_ktime_get_ns();
	p->ruleset = 0;
	p->rule = p->tier = p->is_named = p->is_unknown = 0;
	p->is_forwarded = skb->ingress_ifindex != 0;
	p->from_pod = from_pod;
	p->is_host = is_host;
	return p;
}

/* Notes what becomes of it. Whether it may pass. */
static __always_inline bool police_end(struct policy *p, int reason)
{
	p->reason = reason;
	count(reason);
	if (police_drops(reason) || p->is_unknown)
		event_tell(reason);
	return !police_drops(reason);
}

/*
 * Whether a packet may pass, on its way from or to a pod. `kind` is what it was read as; `real` to whom a packet from the
 * pod really goes, and NULL for one to the pod. Its reason is counted, unless no policy is about the pod.
 */
static __always_inline bool police(struct __sk_buff *skb, const struct packet *packet, int kind, bool from_pod,
				   const struct cw_address *real)
{
	const struct cw_address *pod = from_pod ? &packet->tuple.source : &packet->tuple.destination;
	const struct cw_subject *subject = subject_at(pod->ip);
	struct policy *p;
	int reason;

	if (!subject)
		return true;
	p = police_begin(skb, subject, from_pod, false);
	if (!p)
		return false;
	reason = read_packet(skb, packet, kind, p);
	if (real) {
		p->peer = *real;
		if (!p->has_ports || p->talk == TALK_ECHO)
			p->peer.port = p->key.other_port;
	} else {
		ip_copy(p->peer.ip, p->key.other);
		p->peer.port = p->key.other_port;
	}
	if (reason == READ_JUDGE)
		reason = police_judge(from_pod);
	return police_end(p, reason);
}
