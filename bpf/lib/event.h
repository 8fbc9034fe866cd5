/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the agent of packets that policies dropped, and of addresses at which nobody is known to be: so many a second of each
 * pod, and no more, so that a flood costs little. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "count.h"
#include "policy.h"
#include "stay.h"

/* Events of a kind and pod a second, and at a time. */
#define EVENT_INTERVAL (SECOND / 50)
#define EVENT_BURST 50

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

/* When all that was told of a pod would have been told at an even pace: a moment of bpf_ktime_get_ns. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct cw_listener);
	__type(value, __u64);
} listeners SEC(".maps");

/* Whether one more may be told now: a token bucket, kept as the time it is full at. Processors may overtake each other. */
static __always_inline bool event_may(const struct policy *p, __u32 kind)
{
	struct cw_listener key = { .kind = kind };
	__u64 *even, from = p->now;

	ip_copy(key.pod, p->key.pod);
	even = bpf_map_lookup_elem(&listeners, &key);
	if (!even) {
		from += EVENT_INTERVAL;
		bpf_map_update_elem(&listeners, &key, &from, BPF_ANY);
		return true;
	}
	if (*even > from)
		from = *even;
	if (from - p->now >= EVENT_BURST * EVENT_INTERVAL)
		return false;
	*even = from + EVENT_INTERVAL;
	return true;
}

/* Tells of a packet what became of it. */
__noinline int event_tell(__u32 reason)
{
	struct policy *p = policy_here();
	struct cw_policy_event *event;
	__u32 kind;

	if (!p)
		return 0;
	kind = p->is_unknown ? CW_EVENT_UNKNOWN : CW_EVENT_DENIED;
	if (!event_may(p, kind)) {
		count(CW_POLICY_UNTOLD);
		return 0;
	}
	event = &p->told;
	event->time = p->now;
	event->ruleset = p->ruleset;
	ip_copy(event->pod, p->key.pod);
	ip_copy(event->other, p->key.other);
	ip_copy(event->peer, p->peer.ip);
	event->reason = reason;
	event->pod_port = p->key.pod_port;
	event->other_port = p->key.other_port;
	event->peer_port = p->peer.port;
	event->rule = p->rule;
	event->protocol = p->key.protocol;
	event->icmp = p->icmp;
	event->from_pod = p->from_pod;
	event->tier = p->tier;
	event->kind = kind;
	event->zero = 0;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), 0))
		count(CW_POLICY_UNTOLD);
	return 0;
}
