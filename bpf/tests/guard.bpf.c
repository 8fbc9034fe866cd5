// SPDX-License-Identifier: Apache-2.0
#include "../guard.bpf.c"
#include "test.h"

#define POD V4(10, 1, 2, 3)
#define HOST V4(172, 16, 1, 1)

/* 10.1.0.0/16 and fd000001::/48 are guarded. */
static __always_inline int guard_pods(void)
{
	struct cw_prefix v4 = { .length = 96 + 16 };
	struct cw_prefix v6 = { .length = 48, .ip = { bpf_htonl(0xfd000001) } };
	__u8 yes = 1;

	ip_from_v4(v4.ip, V4(10, 1, 0, 0));
	ASSERT(!bpf_map_update_elem(&guarded, &v4, &yes, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&guarded, &v6, &yes, BPF_ANY));
	return 0;
}

SETUP(v4_source) { return guard_pods(); }
PACKET(v4_source) { return packet_ipv4(skb, POD, HOST); }
EXPECT(v4_source, TC_ACT_SHOT, CW_GUARD_SOURCE)

SETUP(v4_destination) { return guard_pods(); }
PACKET(v4_destination) { return packet_ipv4(skb, HOST, POD); }
EXPECT(v4_destination, TC_ACT_SHOT, CW_GUARD_DESTINATION)

SETUP(v4_neither) { return guard_pods(); }
PACKET(v4_neither) { return packet_ipv4(skb, HOST, V4(10, 2, 0, 0)); }
EXPECT(v4_neither, TC_ACT_UNSPEC, CW_GUARD_PASSED)

SETUP(v4_last_of_range) { return guard_pods(); }
PACKET(v4_last_of_range) { return packet_ipv4(skb, HOST, V4(10, 1, 255, 255)); }
EXPECT(v4_last_of_range, TC_ACT_SHOT, CW_GUARD_DESTINATION)

SETUP(v6_source) { return guard_pods(); }
PACKET(v6_source) { return packet_ipv6(skb, 0xfd000001, 7, 0x20010db8, 1); }
EXPECT(v6_source, TC_ACT_SHOT, CW_GUARD_SOURCE)

SETUP(v6_destination) { return guard_pods(); }
PACKET(v6_destination) { return packet_ipv6(skb, 0x20010db8, 1, 0xfd000001, 7); }
EXPECT(v6_destination, TC_ACT_SHOT, CW_GUARD_DESTINATION)

SETUP(v6_neither) { return guard_pods(); }
PACKET(v6_neither) { return packet_ipv6(skb, 0x20010db8, 1, 0xfd000002, 7); }
EXPECT(v6_neither, TC_ACT_UNSPEC, CW_GUARD_PASSED)

PACKET(nothing_guarded) { return packet_ipv4(skb, POD, POD); }
EXPECT(nothing_guarded, TC_ACT_UNSPEC, CW_GUARD_PASSED)

SETUP(arp) { return guard_pods(); }
PACKET(arp) { return packet_ethernet(skb, ETH_P_ARP) + 28; }
EXPECT(arp, TC_ACT_UNSPEC, CW_GUARD_NOT_IP)

SETUP(other_protocol) { return guard_pods(); }
PACKET(other_protocol) { return packet_ethernet(skb, ETH_P_LLDP) + 28; }
EXPECT(other_protocol, TC_ACT_UNSPEC, CW_GUARD_NOT_IP)

SETUP(v4_tagged) { return guard_pods(); }
PACKET(v4_tagged)
{
	int at = packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_IP);

	return packet_ipv4_at(skb, at, POD, HOST);
}
EXPECT(v4_tagged, TC_ACT_SHOT, CW_GUARD_SOURCE)

SETUP(v6_tagged_twice) { return guard_pods(); }
PACKET(v6_tagged_twice)
{
	__be32 host[4] = { bpf_htonl(0x20010db8) }, pod[4] = { bpf_htonl(0xfd000001) };
	int at = packet_tag(skb, packet_ethernet(skb, ETH_P_8021AD), ETH_P_8021Q);

	return packet_ipv6_at(skb, packet_tag(skb, at, ETH_P_IPV6), host, pod);
}
EXPECT(v6_tagged_twice, TC_ACT_SHOT, CW_GUARD_DESTINATION)

SETUP(tagged_other) { return guard_pods(); }
PACKET(tagged_other) { return packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_LLDP) + 28; }
EXPECT(tagged_other, TC_ACT_UNSPEC, CW_GUARD_NOT_IP)

/* Deeper than we look: what we cannot tell does not leave. */
SETUP(tagged_thrice) { return guard_pods(); }
PACKET(tagged_thrice)
{
	int at = packet_tag(skb, packet_ethernet(skb, ETH_P_8021AD), ETH_P_8021Q);

	at = packet_tag(skb, packet_tag(skb, at, ETH_P_8021Q), ETH_P_IP);
	return packet_ipv4_at(skb, at, POD, HOST);
}
EXPECT(tagged_thrice, TC_ACT_SHOT, CW_GUARD_TRUNCATED)

SETUP(tagged_truncated) { return guard_pods(); }
PACKET(tagged_truncated) { return packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_IP) + 19; }
EXPECT(tagged_truncated, TC_ACT_SHOT, CW_GUARD_TRUNCATED)

/* A header that calls itself something else. */
SETUP(v4_wrong_version) { return guard_pods(); }
PACKET(v4_wrong_version)
{
	__be32 host[4] = { bpf_htonl(0x20010db8) };

	return packet_ipv6_at(skb, packet_ethernet(skb, ETH_P_IP), host, host);
}
EXPECT(v4_wrong_version, TC_ACT_SHOT, CW_GUARD_TRUNCATED)

SETUP(v6_wrong_version) { return guard_pods(); }
PACKET(v6_wrong_version) { return packet_ipv4_at(skb, packet_ethernet(skb, ETH_P_IPV6), HOST, HOST) + 20; }
EXPECT(v6_wrong_version, TC_ACT_SHOT, CW_GUARD_TRUNCATED)

/* A neighbour's, but nobody who knows of it has put it here: a route of somebody else's has. */
SETUP(v4_neighbour_by_chance)
{
	struct cw_neighbour neighbour = { .sends = CW_BY_PLAIN };
	struct cw_prefix key = { .length = 96 + 24 };

	ip_from_v4(key.ip, V4(10, 1, 2, 0));
	ASSERT(!bpf_map_update_elem(&neighbours, &key, &neighbour, BPF_ANY));
	return guard_pods();
}
PACKET(v4_neighbour_by_chance) { return packet_ipv4(skb, HOST, POD); }
EXPECT(v4_neighbour_by_chance, TC_ACT_SHOT, CW_GUARD_DESTINATION)
