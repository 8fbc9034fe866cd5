// SPDX-License-Identifier: Apache-2.0
/* On the host's end of a pod's link: a pod speaks in its own name only. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/packet.h"
#include "lib/stage.h"
#include "lib/subject.h"

/* The addresses of each pod, by the device its packets come from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_pod_key);
	__type(value, __u8);
} pods SEC(".maps");

/* fe80::/10: routers do not forward it, so it names a neighbour and no one else (RFC 4291, 2.5.6). */
static __always_inline bool is_link_local(const __be32 ip[4])
{
	return (ip[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* :: to a multicast group: duplicate address detection, listener reports (RFC 4862, RFC 3810). */
static __always_inline bool is_unconfigured(const struct packet_ends *ends)
{
	const __be32 *ip = ends->source;

	return !ip[0] && !ip[1] && !ip[2] && !ip[3] &&
	       (ends->destination[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline int verdict(int action, enum cw_reason reason)
{
	count(reason);
	return action;
}

SEC("classifier")
int pod(struct __sk_buff *skb)
{
	struct cw_pod_key key = { .ifindex = skb->ifindex };
	struct packet_ends ends;

	switch (packet_parse(skb, &ends)) {
	case PACKET_TRUNCATED:
		return verdict(TC_ACT_SHOT, CW_POD_TRUNCATED);
	case PACKET_OTHER:
		return verdict(TC_ACT_SHOT, CW_POD_NOT_IP);
	case PACKET_ARP:
		return verdict(TC_ACT_UNSPEC, CW_POD_NEIGHBOUR);
	case PACKET_IP:
		break;
	}
	if (is_link_local(ends.source) || is_unconfigured(&ends))
		return verdict(TC_ACT_UNSPEC, CW_POD_NEIGHBOUR);
	ip_copy(key.ip, ends.source);
	if (!bpf_map_lookup_elem(&pods, &key))
		return verdict(TC_ACT_SHOT, CW_POD_SPOOFED);
	/* A tag inside the frame: the stack takes some, and those who come next see none of what is behind it. */
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6) && subject_at(ends.source))
		return verdict(TC_ACT_SHOT, CW_POLICY_UNREADABLE);
	count(CW_POD_PASSED);
	bpf_tail_call(skb, &stages, CW_STAGE_POD);
	/* Nobody is there to judge it. */
	if (subject_at(ends.source))
		return verdict(TC_ACT_SHOT, CW_POLICY_CLOSED);
	return TC_ACT_UNSPEC;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
