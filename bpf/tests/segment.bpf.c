// SPDX-License-Identifier: Apache-2.0
#include "../segment.bpf.c"
#include "test.h"

#define A V4(172, 16, 1, 1)
#define B V4(172, 16, 1, 2)

/* From A to B, and from 2001:db8::1 to 2001:db8::2; not the ways back. */
static __always_inline int cut(void)
{
	struct cw_cut v4, v6 = { .source = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(1) },
				 .destination = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(2) } };
	__u8 yes = 1;

	ip_from_v4(v4.source, A);
	ip_from_v4(v4.destination, B);
	ASSERT(!bpf_map_update_elem(&cuts, &v4, &yes, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&cuts, &v6, &yes, BPF_ANY));
	return 0;
}

SETUP(v4_cut) { return cut(); }
PACKET(v4_cut) { return packet_ipv4(skb, A, B); }
EXPECT(v4_cut, TC_ACT_SHOT, CW_SEGMENT_CUT)

SETUP(v4_back) { return cut(); }
PACKET(v4_back) { return packet_ipv4(skb, B, A); }
EXPECT(v4_back, TC_ACT_UNSPEC, CW_SEGMENT_PASSED)

SETUP(v6_cut) { return cut(); }
PACKET(v6_cut) { return packet_ipv6(skb, 0x20010db8, 1, 0x20010db8, 2); }
EXPECT(v6_cut, TC_ACT_SHOT, CW_SEGMENT_CUT)

SETUP(v6_back) { return cut(); }
PACKET(v6_back) { return packet_ipv6(skb, 0x20010db8, 2, 0x20010db8, 1); }
EXPECT(v6_back, TC_ACT_UNSPEC, CW_SEGMENT_PASSED)

SETUP(arp) { return cut(); }
PACKET(arp) { return packet_ethernet(skb, ETH_P_ARP) + 28; }
EXPECT(arp, TC_ACT_UNSPEC, CW_SEGMENT_PASSED)
