// SPDX-License-Identifier: Apache-2.0
/*
 * The guard on the underlay device: what belongs to the mesh leaves through the tunnel or not at all. It does not
 * ask whether there is a tunnel, so it cannot be raced. What may go unencrypted to nodes of the same location alone passes.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/guarded.h"
#include "lib/near.h"
#include "lib/packet.h"
#include "lib/stage.h"

/* What judges the node itself, where policies are about it. It goes on to the stages by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} host_stage SEC(".maps");

static __always_inline int verdict(int action, enum cw_reason reason)
{
	count(reason);
	return action;
}

SEC("classifier")
int guard(struct __sk_buff *skb)
{
	struct packet_ends ends = {};

	switch (packet_parse(skb, &ends)) {
	case PACKET_TRUNCATED:
		return verdict(TC_ACT_SHOT, CW_GUARD_TRUNCATED);
	case PACKET_ARP:
	case PACKET_OTHER:
		return verdict(TC_ACT_UNSPEC, CW_GUARD_NOT_IP);
	case PACKET_IP:
		break;
	}
	/* Put here for a node of the same location, by who knows it (near.bpf.c). */
	if (skb->tc_index == NEAR_PLAIN && near_sends(ends.destination) == CW_BY_PLAIN)
		return verdict(TC_ACT_UNSPEC, CW_NEAR_PLAIN);
	if (is_guarded(ends.source))
		return verdict(TC_ACT_SHOT, CW_GUARD_SOURCE);
	if (is_guarded(ends.destination))
		return verdict(TC_ACT_SHOT, CW_GUARD_DESTINATION);
	count(CW_GUARD_PASSED);
	bpf_tail_call(skb, &host_stage, 0);
	bpf_tail_call(skb, &stages, CW_STAGE_UNDERLAY_EGRESS);
	return TC_ACT_UNSPEC;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
