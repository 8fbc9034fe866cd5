// SPDX-License-Identifier: Apache-2.0
/*
 * Policies, for what is sent to a pod: on the host's end of the pod's link, after everything that could lead a packet there.
 * What a pod sends is judged where services are translated (edge.bpf.c), or here on kernels that cannot do that.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/always.h"
#include "lib/count.h"
#include "lib/packet.h"
#include "lib/police.h"
#include "lib/subject.h"
#include "lib/tuple.h"

/* Too much for the stack. Nothing is kept in it from one packet to another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} seen SEC(".maps");

static __always_inline struct packet *packet_here(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&seen, &first);
}

/* Reads the packet and judges it. Not 0: it may pass. */
__noinline int policy_passes(struct __sk_buff *skb, __u32 from_pod)
{
	struct packet *packet = packet_here();
	struct cw_address real;
	int kind;

	if (!packet)
		return false;
	/* A tag inside the frame. */
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) {
		count(CW_POLICY_UNREADABLE);
		return false;
	}
	packet->ip = ETH_HLEN;
	kind = tuple_read(skb, packet, 0);
	if (!from_pod)
		return police(skb, packet, kind, false, NULL);
	real = packet->tuple.destination;
	return police(skb, packet, kind, true, &real);
}

/* To a pod. */
SEC("classifier")
int policy(struct __sk_buff *skb)
{
	struct packet_ends ends;

	/* What is no IP nobody but the node could send there; what is no whole header nobody takes. */
	if (packet_parse(skb, &ends) != PACKET_IP || !subject_at(ends.destination))
		return TC_ACT_UNSPEC;
	return policy_passes(skb, false) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* From a pod, once that may pass. */
SEC("classifier")
int policy_pod(struct __sk_buff *skb)
{
	struct packet_ends ends;

	if (packet_parse(skb, &ends) != PACKET_IP || !subject_at(ends.source))
		return TC_ACT_UNSPEC;
	return policy_passes(skb, true) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
