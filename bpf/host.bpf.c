// SPDX-License-Identifier: Apache-2.0
/*
 * Policies about the node itself, on the underlay device: for what comes in, behind what translates; for what leaves, before
 * that (the guard's program hands it on), so that both see a connection by the same ports.
 *
 * What is for another device on the same wire (a VLAN's) is not judged here.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/host.h"
#include "lib/packet.h"
#include "lib/stage.h"
#include "lib/subject.h"
#include "lib/tuple.h"

#define VLAN_ID 0x0fff

/* Too much for the stack. Nothing is kept in it from one packet to another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} seen_by_host SEC(".maps");

static __always_inline bool is_tagged(const struct __sk_buff *skb)
{
	return skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6);
}

/* Reads the packet, whose IP header is there, and judges it. Not 0: it may pass. */
__noinline int host_passes(struct __sk_buff *skb, __u32 ip, __u32 from_host)
{
	__u32 first = 0;
	struct packet *packet = bpf_map_lookup_elem(&seen_by_host, &first);
	int kind;

	if (!packet)
		return false;
	packet->ip = ip;
	kind = tuple_read(skb, packet, 0);
	/* Both are constants to whoever calls: one program each. */
	return from_host ? host_police(skb, packet, kind, true) : host_police(skb, packet, kind, false);
}

static __always_inline int ingress(struct __sk_buff *skb, __u32 ip)
{
	struct packet_ends ends;

	if (skb->pkt_type == PACKET_OTHERHOST || (skb->vlan_present && skb->vlan_tci & VLAN_ID))
		return TC_ACT_UNSPEC;
	if (packet_parse(skb, &ends) != PACKET_IP || !subject_at(ends.destination))
		return TC_ACT_UNSPEC;
	/* A tag that the stack may yet take off. */
	if (is_tagged(skb)) {
		count(CW_POLICY_UNREADABLE);
		return TC_ACT_SHOT;
	}
	return host_passes(skb, ip, false) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

static __always_inline int egress(struct __sk_buff *skb, __u32 ip)
{
	struct packet_ends ends;

	if (!skb->vlan_present && !is_tagged(skb) && packet_parse(skb, &ends) == PACKET_IP && subject_at(ends.source) &&
	    !host_passes(skb, ip, true))
		return TC_ACT_SHOT;
	bpf_tail_call(skb, &stages, CW_STAGE_UNDERLAY_EGRESS);
	return TC_ACT_UNSPEC;
}

/* On a device with Ethernet headers. */
SEC("classifier")
int host(struct __sk_buff *skb)
{
	return ingress(skb, ETH_HLEN);
}

/* On a device without. */
SEC("classifier")
int host_l3(struct __sk_buff *skb)
{
	return ingress(skb, 0);
}

SEC("classifier")
int host_out(struct __sk_buff *skb)
{
	return egress(skb, ETH_HLEN);
}

SEC("classifier")
int host_out_l3(struct __sk_buff *skb)
{
	return egress(skb, 0);
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
