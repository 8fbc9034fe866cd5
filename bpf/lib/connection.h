/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of pods that policies are about. One entry each, whichever way its packets go; a connection between two pods of
 * a node is one of both pods. When there is no room the kernel forgets the one that was silent longest, so that a new one
 * is always remembered; those that are too old to count the agent takes away.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "count.h"
#include "policy.h"
#include "stay.h"
#include "tuple.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	/* The agent may ask for others. */
	__uint(max_entries, 65536);
	__type(key, struct cw_connection_key);
	__type(value, struct cw_connection);
} connections SEC(".maps");

static __always_inline bool connection_is_closed(__u8 state)
{
	return state & CW_TALK_BROKEN || (state & CW_TALK_POD_DONE && state & CW_TALK_OTHER_DONE);
}

/* Seconds for which it may be silent. The agent's half is crates/kernel/src/bpf/policing/connections.rs. */
static __always_inline __u64 connection_idle(__u8 protocol, __u8 state)
{
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_SCTP)
		return state & CW_TALK_REPLIED && protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6 ?
			       CW_IDLE_DATAGRAM :
			       CW_IDLE_SHORT;
	if (connection_is_closed(state))
		return CW_IDLE_CLOSED;
	if (state & (CW_TALK_POD_DONE | CW_TALK_OTHER_DONE))
		return CW_IDLE_HALF;
	return state & CW_TALK_REPLIED ? CW_IDLE_STREAM : CW_IDLE_OPENING;
}

/* The connection of a packet, unless it was silent for too long. */
static __always_inline struct cw_connection *connection_find(const struct cw_connection_key *key, __u64 now)
{
	struct cw_connection *known = bpf_map_lookup_elem(&connections, key);

	if (!known || now - known->used > connection_idle(key->protocol, known->state) * SECOND)
		return NULL;
	return known;
}

/* What a packet adds to what is known of its connection. */
static __always_inline __u8 connection_progress(const struct policy *p, bool begun_by_pod)
{
	__u8 state = p->from_pod == begun_by_pod ? 0 : CW_TALK_REPLIED;

	if (p->tcp & TCP_FIN)
		state |= p->from_pod ? CW_TALK_POD_DONE : CW_TALK_OTHER_DONE;
	if (p->tcp & TCP_RST)
		state |= CW_TALK_BROKEN;
	return state;
}

/* Notes that a packet of a connection passed: written down only when it says something new. */
static __always_inline void connection_use(const struct policy *p, struct cw_connection *known)
{
	__u8 state = known->state | connection_progress(p, known->from_pod);

	if (state != known->state)
		known->state = state;
	if (p->now - known->used > SECOND)
		known->used = p->now;
}

/* Remembers a connection, with its first packet. */
static __always_inline void connection_open(struct policy *p, bool begun_by_pod, __u8 state)
{
	struct cw_connection *fresh = &p->fresh;

	fresh->used = p->now;
	ip_copy(fresh->peer, p->peer.ip);
	fresh->port = p->peer.port;
	fresh->epoch = p->epoch;
	fresh->from_pod = begun_by_pod;
	if (p->peer.port != p->key.other_port || !ip_equal(p->peer.ip, p->key.other))
		state |= CW_TALK_TRANSLATED;
	fresh->state = state | connection_progress(p, begun_by_pod);
	if (bpf_map_update_elem(&connections, &p->key, fresh, BPF_ANY))
		count(CW_POLICY_FORGOTTEN);
}
