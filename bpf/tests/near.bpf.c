// SPDX-License-Identifier: Apache-2.0
#include "../near.bpf.c"
#include "test.h"

#define POD V4(10, 1, 2, 3)
#define OTHER V4(10, 1, 3, 3)
#define NODE V4(172, 16, 1, 2)

/* 10.1.2.0/24 is behind a neighbour, and so is fd000001::/64; inside it 10.1.2.128/25 is not. */
static __always_inline int fill(__u8 sends, __u32 vxlan)
{
	struct cw_prefix v4 = { .length = 96 + 24 }, inside = { .length = 96 + 25 };
	struct cw_prefix v6 = { .length = 64, .ip = { bpf_htonl(0xfd000001) } };
	struct cw_neighbour neighbour = { .sends = sends }, nobody = {};
	struct cw_near at = { .tunnel = 1, .vxlan = vxlan, .underlay = 1 };
	__u32 first = 0;

	ip_from_v4(neighbour.ip, NODE);
	ip_from_v4(v4.ip, V4(10, 1, 2, 0));
	ip_from_v4(inside.ip, V4(10, 1, 2, 128));
	ASSERT(!bpf_map_update_elem(&near_devices, &first, &at, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&neighbours, &v4, &neighbour, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&neighbours, &v6, &neighbour, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&neighbours, &inside, &nobody, BPF_ANY));
	return 0;
}

#define PASSES(name)                                                                                                   \
	CHECK(name)                                                                                                    \
	{                                                                                                              \
		ASSERT(skb->mark == (__u32)TC_ACT_UNSPEC);                                                             \
		ASSERT(!counted(CW_NEAR_VXLAN) && !counted(CW_NEAR_PLAIN) && !counted(CW_NEAR_NO_WAY));                \
		return 0;                                                                                              \
	}

SETUP(v4_in_vxlan) { return fill(CW_BY_VXLAN, 7); }
PACKET(v4_in_vxlan) { return packet_ipv4(skb, OTHER, POD); }
EXPECT(v4_in_vxlan, TC_ACT_REDIRECT, CW_NEAR_VXLAN)

SETUP(v6_in_vxlan) { return fill(CW_BY_VXLAN, 7); }
PACKET(v6_in_vxlan) { return packet_ipv6(skb, 0xfd000002, 7, 0xfd000001, 1); }
EXPECT(v6_in_vxlan, TC_ACT_REDIRECT, CW_NEAR_VXLAN)

SETUP(no_device) { return fill(CW_BY_VXLAN, 0); }
PACKET(no_device) { return packet_ipv4(skb, OTHER, POD); }
EXPECT(no_device, TC_ACT_UNSPEC, CW_NEAR_NO_WAY)

SETUP(no_way) { return fill(CW_BY_PLAIN, 0); }
PACKET(no_way) { return packet_ipv4(skb, OTHER, POD); }
EXPECT(no_way, TC_ACT_UNSPEC, CW_NEAR_NO_WAY)

SETUP(encrypted) { return fill(CW_BY_WIREGUARD, 7); }
PACKET(encrypted) { return packet_ipv4(skb, OTHER, POD); }
PASSES(encrypted)

SETUP(behind_nobody) { return fill(CW_BY_VXLAN, 7); }
PACKET(behind_nobody) { return packet_ipv4(skb, POD, OTHER); }
PASSES(behind_nobody)

SETUP(behind_somebody_else) { return fill(CW_BY_VXLAN, 7); }
PACKET(behind_somebody_else) { return packet_ipv4(skb, OTHER, V4(10, 1, 2, 200)); }
PASSES(behind_somebody_else)

/* Two nodes that are of one group, and have it by their addresses; OTHER is behind one that is of none. */
SETUP(who_speaks_for_whom)
{
	struct cw_prefix behind = { .length = 96 + 24 }, first = { .length = 128 }, second = first, alone = behind;
	struct cw_neighbour neighbour = { .group = 5 };

	ip_from_v4(behind.ip, V4(10, 1, 2, 0));
	ip_from_v4(first.ip, NODE);
	ip_from_v4(second.ip, V4(172, 16, 1, 3));
	ip_from_v4(alone.ip, V4(10, 1, 3, 0));
	ip_copy(neighbour.ip, first.ip);
	ASSERT(!bpf_map_update_elem(&neighbours, &behind, &neighbour, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&neighbours, &first, &neighbour, BPF_ANY));
	ip_copy(neighbour.ip, second.ip);
	ASSERT(!bpf_map_update_elem(&neighbours, &second, &neighbour, BPF_ANY));
	neighbour.group = 0;
	ASSERT(!bpf_map_update_elem(&neighbours, &alone, &neighbour, BPF_ANY));
	return 0;
}
CHECK(who_speaks_for_whom)
{
	__be32 pod[4], other[4], first[4], second[4], stranger[4];
	const struct cw_neighbour *neighbour;

	ip_from_v4(pod, POD);
	ip_from_v4(other, OTHER);
	ip_from_v4(first, NODE);
	ip_from_v4(second, V4(172, 16, 1, 3));
	ip_from_v4(stranger, V4(172, 16, 1, 4));
	neighbour = near_at(pod);
	ASSERT(neighbour && speaks_for(neighbour, first) && speaks_for(neighbour, second));
	ASSERT(!speaks_for(neighbour, stranger) && !speaks_for(neighbour, other));
	/* An address behind one of them is none of theirs. */
	ASSERT(!speaks_for(neighbour, pod));
	neighbour = near_at(other);
	ASSERT(neighbour && speaks_for(neighbour, second) && !speaks_for(neighbour, first));
	return 0;
}

PACKET(nothing_known) { return packet_ipv4(skb, OTHER, POD); }
PASSES(nothing_known)

