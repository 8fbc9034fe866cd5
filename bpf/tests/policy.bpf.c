// SPDX-License-Identifier: Apache-2.0
/* Every way out of the judging of packets, both ways. The pod is 10.1.2.3 and fd00:1::3. */
#include "../policy.bpf.c"
#include "test.h"

#define POD V4(10, 1, 2, 3)
#define OTHER V4(10, 1, 9, 9)
#define NODE V4(10, 1, 0, 1)
#define POD6 0xfd000001
#define IN 100
#define OUT 200
#define IDENTITY 77
#define NAMESPACE 78
#define CLUSTER 79
#define CLASS 80
#define WORLD 81
#define NAME 82
#define PORT 80
#define ADMIN 0
#define NAMESPACES 1
#define BASELINE 2
#define SYN TCP_SYN
#define ACK TCP_ACK
#define SYN_ACK (TCP_SYN | TCP_ACK)
#define FROM_POD 1
#define TO_POD 0

static __always_inline void subject(__u64 ingress, __u64 egress)
{
	struct cw_node_address v4, v6 = { .ip = { bpf_htonl(POD6), 0, 0, bpf_htonl(3) } };
	struct cw_subject value = { .ingress = ingress, .egress = egress };

	ip_from_v4(v4.ip, POD);
	bpf_map_update_elem(&subjects, &v4, &value, BPF_ANY);
	bpf_map_update_elem(&subjects, &v6, &value, BPF_ANY);
}

static __always_inline void ruleset(__u64 id, bool isolates, bool denies_known)
{
	struct cw_ruleset value = { .lengths = 1 | 1 << 12 | 1 << 16, .isolates = isolates, .denies_known = denies_known };

	bpf_map_update_elem(&rulesets, &id, &value, BPF_ANY);
}

/* OTHER has an identity. */
static __always_inline void known(void)
{
	struct cw_identity value = { .identity = IDENTITY, .namespace = NAMESPACE, .cluster = CLUSTER };
	struct cw_node_address at;

	ip_from_v4(at.ip, OTHER);
	bpf_map_update_elem(&identities, &at, &value, BPF_ANY);
}

static __always_inline void network(bool pods)
{
	struct cw_network value = { .class = CLASS, .world = pods ? 0 : WORLD, .pods = pods };
	struct cw_prefix range = { .length = 96 + 8 };

	ip_from_v4(range.ip, V4(10, 0, 0, 0));
	bpf_map_update_elem(&networks, &range, &value, BPF_ANY);
}

static __always_inline void rule(__u64 id, __u64 peer, __u8 protocol, __u8 bits, __u16 port, int tier, __u32 precedence,
				 __u8 action)
{
	struct cw_verdict_key key = { .ruleset = id, .peer = peer, .protocol = protocol, .bits = bits, .port = port };
	struct cw_verdict value = {}, *before = bpf_map_lookup_elem(&verdicts, &key);

	if (before)
		value = *before;
	value.tier[tier].precedence = precedence;
	value.tier[tier].action = action;
	value.tier[tier].rule = precedence + 1000;
	bpf_map_update_elem(&verdicts, &key, &value, BPF_ANY);
}

static __always_inline void setting(__u32 epoch, bool keep)
{
	struct cw_policing value = { .epoch = epoch, .keep = keep };
	__u32 first = 0;

	bpf_map_update_elem(&policing, &first, &value, BPF_ANY);
}

/* Judges what was written; says its reason. */
static __always_inline int judge(struct __sk_buff *skb, bool from_pod)
{
	struct policy *p = policy_here();
	bool passes;

	if (!p)
		return -1;
	p->reason = CW_REASONS;
	passes = policy_passes(skb, from_pod);
	return passes == !police_drops(p->reason) ? (int)p->reason : -1;
}

static __always_inline int v4(struct __sk_buff *skb, bool from_pod, __be32 other, __u8 protocol)
{
	struct iphdr header = { .version = 4, .ihl = 5, .ttl = 64, .protocol = protocol, .tot_len = bpf_htons(100) };

	header.saddr = from_pod ? POD : other;
	header.daddr = from_pod ? other : POD;
	bpf_skb_store_bytes(skb, ETH_HLEN, &header, sizeof(header), 0);
	return ETH_HLEN + sizeof(header);
}

static __noinline int tcp(struct __sk_buff *skb, bool from_pod, __u16 pod_port, __u16 other_port, __u8 flags)
{
	int at = v4(skb, from_pod, OTHER, IPPROTO_TCP);
	__be16 ports[2] = { bpf_htons(from_pod ? pod_port : other_port), bpf_htons(from_pod ? other_port : pod_port) };

	bpf_skb_store_bytes(skb, at, ports, sizeof(ports), 0);
	bpf_skb_store_bytes(skb, at + 13, &flags, sizeof(flags), 0);
	return judge(skb, from_pod);
}

static __noinline int udp(struct __sk_buff *skb, bool from_pod, __be32 other, __u16 pod_port, __u16 other_port)
{
	int at = v4(skb, from_pod, other, IPPROTO_UDP);
	__be16 ports[2] = { bpf_htons(from_pod ? pod_port : other_port), bpf_htons(from_pod ? other_port : pod_port) };

	bpf_skb_store_bytes(skb, at, ports, sizeof(ports), 0);
	return judge(skb, from_pod);
}

static __noinline int icmp(struct __sk_buff *skb, bool from_pod, __u8 type, __u16 id)
{
	int at = v4(skb, from_pod, OTHER, IPPROTO_ICMP);
	struct icmp_header header = { .type = type, .rest = bpf_htonl((__u32)id << 16 | 1) };

	bpf_skb_store_bytes(skb, at, &header, sizeof(header), 0);
	return judge(skb, from_pod);
}

#define WHOLE(name) PACKET(name) { return packet_ethernet(skb, ETH_P_IP) + 200; }
/* Steps with one packet after another. */
#define STEPS(name) WHOLE(name) CHECK(name)
#define IS(reason, step) ASSERT((step) == (int)(reason))

static __always_inline void isolated_both_ways(void)
{
	subject(IN, OUT);
	ruleset(IN, true, false);
	ruleset(OUT, true, false);
	known();
}

/* By the program itself: what is not judged. */
PACKET(nobody_is_judged) { return packet_ipv4(skb, OTHER, POD); }
CHECK(nobody_is_judged)
{
	ASSERT(skb->mark == (__u32)TC_ACT_UNSPEC);
	ASSERT(counted(CW_POLICY_NEW) == 0);
	return 0;
}

SETUP(open_both_ways)
{
	subject(0, 0);
	return 0;
}
PACKET(open_both_ways) { return packet_ipv4(skb, OTHER, POD) + 8; }
CHECK(open_both_ways)
{
	ASSERT(skb->mark == (__u32)TC_ACT_UNSPEC);
	ASSERT(counted(CW_POLICY_NEW) == 0);
	return 0;
}

SETUP(closed)
{
	subject(CW_CLOSED, 0);
	return 0;
}
PACKET(closed) { return packet_ipv4(skb, OTHER, POD) + 8; }
EXPECT(closed, TC_ACT_SHOT, CW_POLICY_CLOSED)

SETUP(a_ruleset_that_is_missing_closes)
{
	subject(IN, 0);
	return 0;
}
PACKET(a_ruleset_that_is_missing_closes) { return packet_ipv4(skb, OTHER, POD) + 8; }
EXPECT(a_ruleset_that_is_missing_closes, TC_ACT_SHOT, CW_POLICY_CLOSED)

SETUP(isolated)
{
	isolated_both_ways();
	return 0;
}
PACKET(isolated) { return packet_ipv4(skb, OTHER, POD) + 8; }
EXPECT(isolated, TC_ACT_SHOT, CW_POLICY_ISOLATED)

SETUP(accepted)
{
	isolated_both_ways();
	rule(IN, 0, 0, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
PACKET(accepted) { return packet_ipv4(skb, OTHER, POD) + 8; }
EXPECT(accepted, TC_ACT_UNSPEC, CW_POLICY_NEW)

SETUP(a_node_speaks_with_its_pod)
{
	struct cw_node_address at;
	__u8 yes = 1;

	isolated_both_ways();
	ip_from_v4(at.ip, NODE);
	bpf_map_update_elem(&own_addresses, &at, &yes, BPF_ANY);
	return 0;
}
PACKET(a_node_speaks_with_its_pod) { return packet_ipv4(skb, NODE, POD) + 8; }
EXPECT(a_node_speaks_with_its_pod, TC_ACT_UNSPEC, CW_POLICY_OWN)

SETUP(a_pod_speaks_with_itself)
{
	isolated_both_ways();
	return 0;
}
PACKET(a_pod_speaks_with_itself) { return packet_ipv4(skb, POD, POD) + 8; }
EXPECT(a_pod_speaks_with_itself, TC_ACT_UNSPEC, CW_POLICY_OWN)

SETUP(neighbours)
{
	isolated_both_ways();
	return 0;
}
PACKET(neighbours) { return packet_ipv6(skb, 0xfe800000, 9, POD6, 3); }
EXPECT(neighbours, TC_ACT_UNSPEC, CW_POLICY_NEIGHBOUR)

SETUP(truncated)
{
	isolated_both_ways();
	return 0;
}
PACKET(truncated) { return packet_ipv4(skb, OTHER, POD) + 3; }
EXPECT(truncated, TC_ACT_SHOT, CW_POLICY_UNREADABLE)

SETUP(a_tag_inside)
{
	isolated_both_ways();
	return 0;
}
PACKET(a_tag_inside)
{
	return packet_ipv4_at(skb, packet_tag(skb, packet_tag(skb, packet_ethernet(skb, ETH_P_8021Q), ETH_P_8021Q), ETH_P_IP),
			      OTHER, POD) + 8;
}
EXPECT(a_tag_inside, TC_ACT_SHOT, CW_POLICY_UNREADABLE)

/* The tiers. */
SETUP(tiers)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_TCP, 16, 1, ADMIN, 9, CW_DENY);
	rule(IN, 0, IPPROTO_TCP, 16, 1, ADMIN, 8, CW_ACCEPT);
	rule(IN, IDENTITY, IPPROTO_TCP, 16, 2, ADMIN, 8, CW_DENY);
	rule(IN, 0, IPPROTO_TCP, 16, 2, ADMIN, 9, CW_ACCEPT);
	rule(IN, NAMESPACE, IPPROTO_TCP, 16, 3, ADMIN, 9, CW_PASS);
	rule(IN, CLUSTER, IPPROTO_TCP, 16, 3, ADMIN, 8, CW_DENY);
	rule(IN, CLUSTER, IPPROTO_TCP, 16, 3, NAMESPACES, 1, CW_ACCEPT);
	rule(IN, 0, IPPROTO_TCP, 16, 4, NAMESPACES, 2, CW_DENY);
	rule(IN, IDENTITY, IPPROTO_TCP, 16, 4, NAMESPACES, 1, CW_ACCEPT);
	/* Who is isolated is not asked about in baseline. */
	rule(IN, 0, IPPROTO_TCP, 16, 5, BASELINE, 1, CW_ACCEPT);
	return 0;
}
STEPS(tiers)
{
	IS(CW_POLICY_ADMIN, tcp(skb, TO_POD, 1, 5000, SYN));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 2, 5000, SYN));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 3, 5000, SYN));
	IS(CW_POLICY_NAMESPACE, tcp(skb, TO_POD, 4, 5000, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, TO_POD, 5, 5000, SYN));
	return 0;
}

SETUP(baseline)
{
	subject(IN, 0);
	ruleset(IN, false, false);
	rule(IN, 0, 0, 0, 0, BASELINE, 1, CW_DENY);
	rule(IN, 0, IPPROTO_TCP, 16, 2, BASELINE, 2, CW_PASS);
	rule(IN, 0, IPPROTO_TCP, 16, 3, NAMESPACES, 2, CW_ACCEPT);
	rule(IN, 0, IPPROTO_TCP, 16, 4, ADMIN, 2, CW_PASS);
	return 0;
}
STEPS(baseline)
{
	IS(CW_POLICY_BASELINE, tcp(skb, TO_POD, 1, 5000, SYN));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 2, 5000, SYN));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 3, 5000, SYN));
	IS(CW_POLICY_BASELINE, tcp(skb, TO_POD, 4, 5000, SYN));
	return 0;
}

/* Ranges of ports, protocols, and what has neither. */
SETUP(ports)
{
	isolated_both_ways();
	/* 4096 to 4111. */
	rule(IN, 0, IPPROTO_TCP, 12, 4096, NAMESPACES, 1, CW_ACCEPT);
	rule(IN, 0, IPPROTO_UDP, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	rule(OUT, 0, IPPROTO_TCP, 16, 443, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(ports)
{
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 4096, 5000, SYN));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, 4111, 5000, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, TO_POD, 4112, 5000, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, TO_POD, 4095, 5000, SYN));
	IS(CW_POLICY_NEW, udp(skb, TO_POD, OTHER, 7, 5000));
	IS(CW_POLICY_NEW, tcp(skb, FROM_POD, 5001, 443, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, FROM_POD, 443, 5001, SYN));
	v4(skb, FROM_POD, OTHER, IPPROTO_GRE);
	IS(CW_POLICY_ISOLATED, judge(skb, FROM_POD));
	rule(OUT, 0, 0, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	IS(CW_POLICY_NEW, judge(skb, FROM_POD));
	v4(skb, TO_POD, OTHER, IPPROTO_GRE);
	IS(CW_POLICY_REPLY, judge(skb, TO_POD));
	return 0;
}

/* Each thing that an address may stand for. */
static __noinline int accept_only(__u64 peer)
{
	rule(OUT, peer, 0, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}

#define PEER(name, peer)                                                                                               \
	SETUP(name)                                                                                                    \
	{                                                                                                              \
		struct cw_node_address at;                                                                             \
		__u64 called = NAME;                                                                                   \
                                                                                                                       \
		isolated_both_ways();                                                                                  \
		network(false);                                                                                        \
		ip_from_v4(at.ip, OTHER);                                                                              \
		bpf_map_update_elem(&named, &at, &called, BPF_ANY);                                                    \
		return accept_only(peer);                                                                              \
	}                                                                                                              \
	STEPS(name)                                                                                                    \
	{                                                                                                              \
		IS(CW_POLICY_NEW, udp(skb, FROM_POD, OTHER, 5000, 53));                                                \
		return 0;                                                                                              \
	}
PEER(by_identity, IDENTITY)
PEER(by_namespace, NAMESPACE)
PEER(by_cluster, CLUSTER)
PEER(by_network, CLASS)
PEER(by_world, WORLD)
PEER(by_name, NAME)
PEER(by_nothing, 0)

/* Nobody is known to be there. */
SETUP(unknown)
{
	isolated_both_ways();
	network(true);
	rule(OUT, CLASS, IPPROTO_UDP, 16, 53, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(unknown)
{
	__be32 stranger = V4(10, 1, 9, 10);

	IS(CW_POLICY_NEW, udp(skb, FROM_POD, stranger, 5000, 53));
	IS(CW_POLICY_UNKNOWN, udp(skb, FROM_POD, stranger, 5000, 54));
	IS(CW_POLICY_ISOLATED, udp(skb, FROM_POD, OTHER, 5000, 54));
	ruleset(OUT, true, true);
	IS(CW_POLICY_UNKNOWN, udp(skb, FROM_POD, stranger, 5001, 53));
	IS(CW_POLICY_NEW, udp(skb, FROM_POD, OTHER, 5001, 53));
	return 0;
}

/* A connection from its beginning to another one in its place. */
SETUP(connection)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(connection)
{
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, SYN_ACK));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK));
	/* Whoever answers does not dial. */
	IS(CW_POLICY_ISOLATED, tcp(skb, FROM_POD, PORT, 5000, SYN));
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, ACK | TCP_FIN));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK | TCP_FIN));
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, ACK));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, TCP_RST));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, FROM_POD, 5000, 5000, SYN));
	return 0;
}

SETUP(midway)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(midway)
{
	IS(CW_POLICY_MIDWAY, tcp(skb, FROM_POD, PORT, 5000, ACK));
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, ACK));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK));
	IS(CW_POLICY_ISOLATED, tcp(skb, FROM_POD, PORT, 5000, SYN));
	IS(CW_POLICY_ISOLATED, tcp(skb, FROM_POD, 81, 5000, ACK));
	IS(CW_POLICY_ISOLATED, tcp(skb, TO_POD, 81, 5000, SYN_ACK));
	return 0;
}

/* Something changed. */
SETUP(cut)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	rule(OUT, 0, 0, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(cut)
{
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	setting(1, false);
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, SYN_ACK));
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_DENY);
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK));
	setting(2, false);
	/* The pod may send, but this is somebody else's connection. */
	IS(CW_POLICY_NAMESPACE, tcp(skb, FROM_POD, PORT, 5000, ACK));
	IS(CW_POLICY_CUT, tcp(skb, TO_POD, PORT, 5000, ACK));
	IS(CW_POLICY_CUT, tcp(skb, FROM_POD, PORT, 5000, ACK));
	IS(CW_POLICY_NAMESPACE, tcp(skb, TO_POD, PORT, 5000, SYN));
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	setting(3, true);
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK));
	return 0;
}

SETUP(kept)
{
	isolated_both_ways();
	setting(1, true);
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(kept)
{
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_DENY);
	setting(2, true);
	IS(CW_POLICY_REPLY, tcp(skb, FROM_POD, PORT, 5000, SYN_ACK));
	IS(CW_POLICY_ESTABLISHED, tcp(skb, TO_POD, PORT, 5000, ACK));
	IS(CW_POLICY_NAMESPACE, tcp(skb, TO_POD, PORT, 5001, SYN));
	return 0;
}

SETUP(datagrams)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_UDP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(datagrams)
{
	IS(CW_POLICY_ISOLATED, udp(skb, FROM_POD, OTHER, PORT, 5000));
	IS(CW_POLICY_NEW, udp(skb, TO_POD, OTHER, PORT, 5000));
	IS(CW_POLICY_REPLY, udp(skb, FROM_POD, OTHER, PORT, 5000));
	IS(CW_POLICY_ESTABLISHED, udp(skb, TO_POD, OTHER, PORT, 5000));
	rule(IN, IDENTITY, IPPROTO_UDP, 16, PORT, NAMESPACES, 1, CW_DENY);
	rule(OUT, IDENTITY, IPPROTO_UDP, 16, 5000, NAMESPACES, 1, CW_ACCEPT);
	setting(1, false);
	/* As an answer no more; as a beginning it may. */
	IS(CW_POLICY_NEW, udp(skb, FROM_POD, OTHER, PORT, 5000));
	IS(CW_POLICY_REPLY, udp(skb, TO_POD, OTHER, PORT, 5000));
	rule(OUT, IDENTITY, IPPROTO_UDP, 16, 5000, NAMESPACES, 1, CW_DENY);
	setting(2, false);
	IS(CW_POLICY_NAMESPACE, udp(skb, TO_POD, OTHER, PORT, 5000));
	return 0;
}

SETUP(echo)
{
	isolated_both_ways();
	rule(OUT, IDENTITY, IPPROTO_ICMP, 16, ICMP_ECHO_REQUEST, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(echo)
{
	IS(CW_POLICY_NEW, icmp(skb, FROM_POD, ICMP_ECHO_REQUEST, 7));
	IS(CW_POLICY_REPLY, icmp(skb, TO_POD, ICMP_ECHO_REPLY, 7));
	IS(CW_POLICY_ESTABLISHED, icmp(skb, FROM_POD, ICMP_ECHO_REQUEST, 7));
	IS(CW_POLICY_ISOLATED, icmp(skb, TO_POD, ICMP_ECHO_REPLY, 8));
	IS(CW_POLICY_ISOLATED, icmp(skb, TO_POD, ICMP_ECHO_REQUEST, 7));
	setting(1, false);
	IS(CW_POLICY_REPLY, icmp(skb, TO_POD, ICMP_ECHO_REPLY, 7));
	/* A timestamp; not a conversation. */
	IS(CW_POLICY_ISOLATED, icmp(skb, FROM_POD, 13, 7));
	rule(OUT, 0, IPPROTO_ICMP, 0, 0, NAMESPACES, 1, CW_ACCEPT);
	IS(CW_POLICY_ONCE, icmp(skb, FROM_POD, 13, 7));
	return 0;
}

/* An error about a segment that OTHER sent from port 5000 to the pod's. */
static __noinline int unreachable(struct __sk_buff *skb, __u16 port)
{
	int at = v4(skb, FROM_POD, OTHER, IPPROTO_ICMP);
	struct icmp_header header = { .type = ICMP_DEST_UNREACH };
	struct iphdr quoted = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .saddr = OTHER, .daddr = POD };
	__be16 ports[4] = { bpf_htons(5000), bpf_htons(port) };

	bpf_skb_store_bytes(skb, at, &header, sizeof(header), 0);
	bpf_skb_store_bytes(skb, at + 8, &quoted, sizeof(quoted), 0);
	bpf_skb_store_bytes(skb, at + 28, ports, sizeof(ports), 0);
	return judge(skb, FROM_POD);
}

SETUP(errors)
{
	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_TCP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	return 0;
}
STEPS(errors)
{
	IS(CW_POLICY_ISOLATED, unreachable(skb, PORT));
	IS(CW_POLICY_NEW, tcp(skb, TO_POD, PORT, 5000, SYN));
	IS(CW_POLICY_RELATED, unreachable(skb, PORT));
	IS(CW_POLICY_ISOLATED, unreachable(skb, 81));
	return 0;
}

/* A later fragment, of a datagram whose first one was not seen. */
SETUP(fragments_without_a_first)
{
	isolated_both_ways();
	return 0;
}
STEPS(fragments_without_a_first)
{
	__be16 offset = bpf_htons(8);

	v4(skb, TO_POD, OTHER, IPPROTO_UDP);
	bpf_skb_store_bytes(skb, ETH_HLEN + 6, &offset, sizeof(offset), 0);
	IS(CW_POLICY_FRAGMENT, judge(skb, TO_POD));
	v4(skb, TO_POD, OTHER, IPPROTO_ICMP);
	bpf_skb_store_bytes(skb, ETH_HLEN + 6, &offset, sizeof(offset), 0);
	IS(CW_POLICY_FRAGMENT, judge(skb, TO_POD));
	subject(0, OUT);
	IS(CW_POLICY_ONCE, judge(skb, TO_POD));
	return 0;
}

/* The node translated: who it does so for is judged, not the node. */
static __noinline int client_at(__u16 port, __be32 client)
{
	struct cw_tuple back = { .protocol = IPPROTO_UDP };
	struct cw_nat entry = {};

	ip_from_v4(back.source.ip, POD);
	back.source.port = bpf_htons(PORT);
	ip_from_v4(back.destination.ip, NODE);
	back.destination.port = bpf_htons(port);
	ip_from_v4(entry.destination.ip, client);
	entry.destination.port = bpf_htons(5000);
	return bpf_map_update_elem(&nat, &back, &entry, BPF_ANY);
}

SETUP(masqueraded)
{
	struct cw_node_address at;
	__u8 yes = 1;

	isolated_both_ways();
	rule(IN, IDENTITY, IPPROTO_UDP, 16, PORT, NAMESPACES, 1, CW_ACCEPT);
	ip_from_v4(at.ip, NODE);
	bpf_map_update_elem(&own_addresses, &at, &yes, BPF_ANY);
	client_at(12000, OTHER);
	return client_at(12001, V4(192, 0, 2, 9));
}
STEPS(masqueraded)
{
	IS(CW_POLICY_NEW, udp(skb, TO_POD, NODE, PORT, 12000));
	IS(CW_POLICY_ESTABLISHED, udp(skb, TO_POD, NODE, PORT, 12000));
	IS(CW_POLICY_ISOLATED, udp(skb, TO_POD, NODE, PORT, 12001));
	IS(CW_POLICY_OWN, udp(skb, TO_POD, NODE, PORT, 12002));
	/* The port is another client's by now. */
	client_at(12000, V4(192, 0, 2, 9));
	IS(CW_POLICY_ISOLATED, udp(skb, TO_POD, NODE, PORT, 12000));
	return 0;
}

/* More than a burst of events of a pod is not told. */
SETUP(events_are_few)
{
	isolated_both_ways();
	return 0;
}
STEPS(events_are_few)
{
	for (__u32 i = 0; i < EVENT_BURST + 50; i++)
		IS(CW_POLICY_ISOLATED, udp(skb, FROM_POD, OTHER, 5000, 1000));
	ASSERT(counted(CW_POLICY_UNTOLD) > 0);
	ASSERT(counted(CW_POLICY_UNTOLD) <= 50);
	return 0;
}
