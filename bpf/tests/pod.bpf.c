// SPDX-License-Identifier: Apache-2.0
#include "../pod.bpf.c"
#include "test.h"

#define POD V4(10, 1, 2, 3)
#define OTHER V4(10, 1, 2, 4)
#define POD6 0xfd000001
#define MULTICAST 0xff020000

/* The device has 10.1.2.3 and fd00:1::3; another one has 10.1.2.4. */
static __always_inline int give_addresses(struct __sk_buff *skb)
{
	struct cw_pod_key v4 = { .ifindex = skb->ifindex };
	struct cw_pod_key v6 = { .ifindex = skb->ifindex, .ip = { bpf_htonl(POD6), 0, 0, bpf_htonl(3) } };
	struct cw_pod_key other = { .ifindex = skb->ifindex + 1 };
	__u8 yes = 1;

	ip_from_v4(v4.ip, POD);
	ip_from_v4(other.ip, OTHER);
	ASSERT(!bpf_map_update_elem(&pods, &v4, &yes, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&pods, &v6, &yes, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&pods, &other, &yes, BPF_ANY));
	return 0;
}

SETUP(v4_own) { return give_addresses(skb); }
PACKET(v4_own) { return packet_ipv4(skb, POD, V4(8, 8, 8, 8)); }
EXPECT(v4_own, TC_ACT_UNSPEC, CW_POD_PASSED)

SETUP(v4_of_another_pod) { return give_addresses(skb); }
PACKET(v4_of_another_pod) { return packet_ipv4(skb, OTHER, POD); }
EXPECT(v4_of_another_pod, TC_ACT_SHOT, CW_POD_SPOOFED)

SETUP(v4_unconfigured) { return give_addresses(skb); }
PACKET(v4_unconfigured) { return packet_ipv4(skb, 0, V4(255, 255, 255, 255)); }
EXPECT(v4_unconfigured, TC_ACT_SHOT, CW_POD_SPOOFED)

PACKET(v4_unknown_device) { return packet_ipv4(skb, POD, OTHER); }
EXPECT(v4_unknown_device, TC_ACT_SHOT, CW_POD_SPOOFED)

SETUP(v6_own) { return give_addresses(skb); }
PACKET(v6_own) { return packet_ipv6(skb, POD6, 3, 0x20010db8, 1); }
EXPECT(v6_own, TC_ACT_UNSPEC, CW_POD_PASSED)

SETUP(v6_spoofed) { return give_addresses(skb); }
PACKET(v6_spoofed) { return packet_ipv6(skb, POD6, 4, 0x20010db8, 1); }
EXPECT(v6_spoofed, TC_ACT_SHOT, CW_POD_SPOOFED)

PACKET(v6_link_local) { return packet_ipv6(skb, 0xfe800000, 9, MULTICAST, 2); }
EXPECT(v6_link_local, TC_ACT_UNSPEC, CW_POD_NEIGHBOUR)

PACKET(v6_link_local_end) { return packet_ipv6(skb, 0xfebfffff, 9, MULTICAST, 2); }
EXPECT(v6_link_local_end, TC_ACT_UNSPEC, CW_POD_NEIGHBOUR)

PACKET(v6_site_local) { return packet_ipv6(skb, 0xfec00000, 9, MULTICAST, 2); }
EXPECT(v6_site_local, TC_ACT_SHOT, CW_POD_SPOOFED)

PACKET(v6_duplicate_address_detection) { return packet_ipv6(skb, 0, 0, MULTICAST, 0xff000003); }
EXPECT(v6_duplicate_address_detection, TC_ACT_UNSPEC, CW_POD_NEIGHBOUR)

PACKET(v6_unconfigured_to_one) { return packet_ipv6(skb, 0, 0, 0x20010db8, 1); }
EXPECT(v6_unconfigured_to_one, TC_ACT_SHOT, CW_POD_SPOOFED)

PACKET(arp) { return packet_ethernet(skb, ETH_P_ARP) + 28; }
EXPECT(arp, TC_ACT_UNSPEC, CW_POD_NEIGHBOUR)

PACKET(other_protocol) { return packet_ethernet(skb, ETH_P_LLDP) + 28; }
EXPECT(other_protocol, TC_ACT_SHOT, CW_POD_NOT_IP)

SETUP(tagged_spoofed) { return give_addresses(skb); }
PACKET(tagged_spoofed)
{
	int at = packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_IP);

	return packet_ipv4_at(skb, at, OTHER, POD);
}
EXPECT(tagged_spoofed, TC_ACT_SHOT, CW_POD_SPOOFED)

PACKET(tagged_truncated) { return packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_IPV6) + 39; }
EXPECT(tagged_truncated, TC_ACT_SHOT, CW_POD_TRUNCATED)

/* A policy is about the pod, and nobody is there to judge; or the tags hide what would be judged. */
static __always_inline int judge_pod(struct __sk_buff *skb)
{
	struct cw_subject subject = { .egress = 100 };
	struct cw_node_address at;

	ip_from_v4(at.ip, POD);
	ASSERT(!bpf_map_update_elem(&subjects, &at, &subject, BPF_ANY));
	return give_addresses(skb);
}

SETUP(judged_by_nobody) { return judge_pod(skb); }
PACKET(judged_by_nobody) { return packet_ipv4(skb, POD, V4(8, 8, 8, 8)); }
EXPECT(judged_by_nobody, TC_ACT_SHOT, CW_POLICY_CLOSED)

/* Two tags: the kernel takes the first one off itself. */
SETUP(judged_behind_tags) { return judge_pod(skb); }
PACKET(judged_behind_tags)
{
	int at = packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_8021Q);

	return packet_ipv4_at(skb, packet_tag(skb, at, ETH_P_IP), POD, V4(8, 8, 8, 8));
}
EXPECT(judged_behind_tags, TC_ACT_SHOT, CW_POLICY_UNREADABLE)
