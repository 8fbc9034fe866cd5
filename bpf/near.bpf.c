// SPDX-License-Identifier: Apache-2.0
/*
 * Between nodes of one location, where it is not encrypted (`mesh.encryption: mesh`). The mesh's device stays what it is:
 * routes lead into it, and all that comes out of it is judged and translated alike. Only how packets get from one node's to
 * another's is different: on their way into the tunnel they are put into VXLAN, or on the underlay as they are; and what
 * comes so, from the node that the sender is behind, goes on as if it had come by the tunnel.
 *
 * Without these programs nothing passes: VXLAN's device sends nothing that does not say where to, and takes nothing in, as
 * no frame is addressed to it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/guarded.h"
#include "lib/near.h"
#include "lib/packet.h"

#define NEAR_AF_INET 2
#define NEAR_AF_INET6 10
#define NEAR_HOPS 64
/* What kernels before 6.0 know of the structure; later ones take it, too. */
#define KEY_SIZE offsetof(struct bpf_tunnel_key, local_ipv6)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cw_near);
} near_devices SEC(".maps");

static __always_inline const struct cw_near *devices(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&near_devices, &first);
}

static __always_inline int verdict(int action, enum cw_reason reason)
{
	count(reason);
	return action;
}

/* An Ethernet header, in front of a packet that has none. */
static __always_inline long put_header(struct __sk_buff *skb, const struct ethhdr *header)
{
	return bpf_skb_change_head(skb, sizeof(*header), 0) ?: bpf_skb_store_bytes(skb, 0, header, sizeof(*header), 0);
}

static __always_inline int send_vxlan(struct __sk_buff *skb, const struct cw_near *at, const __be32 to[4])
{
	/* Nobody's addresses, locally administered: who takes it has read what is inside. */
	struct ethhdr header = { .h_dest = { 0x02, 'c', 'w', 0, 0, 2 },
				 .h_source = { 0x02, 'c', 'w', 0, 0, 1 },
				 .h_proto = skb->protocol };
	struct bpf_tunnel_key key = { .tunnel_id = CW_VNI, .tunnel_ttl = NEAR_HOPS };
	__u64 flags;

	if (!at->vxlan)
		return verdict(TC_ACT_UNSPEC, CW_NEAR_NO_WAY);
	if (ip_is_v4(to)) {
		key.remote_ipv4 = bpf_ntohl(to[3]);
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		ip_copy(key.remote_ipv6, to);
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (put_header(skb, &header) || bpf_skb_set_tunnel_key(skb, &key, KEY_SIZE, flags))
		return verdict(TC_ACT_SHOT, CW_NEAR_FAILED);
	count(CW_NEAR_VXLAN);
	return bpf_redirect(at->vxlan, 0);
}

static __always_inline int send_plain(struct __sk_buff *skb, const struct cw_near *at, const __be32 to[4])
{
	bool v4 = ip_is_v4(to);
	struct bpf_fib_lookup way = { .family = v4 ? NEAR_AF_INET : NEAR_AF_INET6, .ifindex = skb->ifindex };
	struct bpf_redir_neigh next = {};
	struct ethhdr header = { .h_proto = skb->protocol };
	long result;

	if (v4)
		way.ipv4_dst = to[3];
	else
		ip_copy(way.ipv6_dst, to);
	result = bpf_fib_lookup(skb, &way, sizeof(way), 0);
	if ((result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH) || way.ifindex != at->underlay)
		return verdict(TC_ACT_UNSPEC, CW_NEAR_NO_WAY);
	if (!v4 || skb->protocol == bpf_htons(ETH_P_IP)) {
		/* Who writes the real one wants to find one. */
		if (put_header(skb, &header))
			return verdict(TC_ACT_SHOT, CW_NEAR_FAILED);
		next.nh_family = way.family;
		if (way.family == NEAR_AF_INET)
			next.ipv4_nh = way.ipv4_dst;
		else
			ip_copy(next.ipv6_nh, way.ipv6_dst);
		skb->tc_index = NEAR_PLAIN;
		return bpf_redirect_neigh(way.ifindex, &next, sizeof(next), 0);
	}
	/* The kernel asks for no neighbour by IPv4 for IPv6; but what the tunnel sends there does, and so it knows him. */
	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return verdict(TC_ACT_UNSPEC, CW_NEAR_NO_WAY);
	__builtin_memcpy(header.h_dest, way.dmac, sizeof(header.h_dest));
	__builtin_memcpy(header.h_source, way.smac, sizeof(header.h_source));
	if (put_header(skb, &header))
		return verdict(TC_ACT_SHOT, CW_NEAR_FAILED);
	skb->tc_index = NEAR_PLAIN;
	return bpf_redirect(way.ifindex, 0);
}

/* On the mesh's device: what leaves by it, and is not for the tunnel. The guard counts what it lets pass as it is. */
SEC("classifier")
int near(struct __sk_buff *skb)
{
	const struct cw_neighbour *neighbour;
	const struct cw_near *at;
	/* Written twice: compilers copy it before it is known to be there, and verifiers mind. */
	struct packet_ends ends = {};

	if (packet_parse(skb, &ends) != PACKET_IP)
		return TC_ACT_UNSPEC;
	neighbour = near_at(ends.destination);
	at = devices();
	if (!neighbour || !at)
		return TC_ACT_UNSPEC;
	switch (neighbour->sends) {
	case CW_BY_VXLAN:
		return send_vxlan(skb, at, neighbour->ip);
	case CW_BY_PLAIN:
		return send_plain(skb, at, neighbour->ip);
	default:
		return TC_ACT_UNSPEC;
	}
}

/* Hands a packet on as one that came by the tunnel. */
static __always_inline int take(const struct cw_near *at)
{
	count(CW_NEAR_CAME);
	return bpf_redirect(at->tunnel, BPF_F_INGRESS);
}

static __always_inline bool is_tagged(const struct __sk_buff *skb)
{
	return skb->vlan_present || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6));
}

/* Who sent the VXLAN packet that this one was in, if it was one of ours. */
static __always_inline bool came_from(struct __sk_buff *skb, __be32 ip[4])
{
	struct bpf_tunnel_key key = {};

	if (!bpf_skb_get_tunnel_key(skb, &key, KEY_SIZE, 0)) {
		ip_from_v4(ip, bpf_htonl(key.remote_ipv4));
		return key.tunnel_id == CW_VNI;
	}
	if (bpf_skb_get_tunnel_key(skb, &key, KEY_SIZE, BPF_F_TUNINFO_IPV6))
		return false;
	ip_copy(ip, key.remote_ipv6);
	return key.tunnel_id == CW_VNI;
}

/*
 * Whether what a neighbour has is believed from that node: from himself, and from another of his group. Which way a packet takes
 * is the sender's to choose, and while gateways change he knows of it before us, or after.
 */
static __always_inline bool speaks_for(const struct cw_neighbour *neighbour, const __be32 from[4])
{
	const struct cw_neighbour *other;

	if (ip_equal(neighbour->ip, from))
		return true;
	if (!neighbour->group)
		return false;
	other = near_at(from);
	return other && other->group == neighbour->group && ip_equal(other->ip, from);
}

/* On VXLAN's device: all that comes in. */
SEC("classifier")
int near_vxlan(struct __sk_buff *skb)
{
	const struct cw_neighbour *neighbour;
	const struct cw_near *at = devices();
	struct packet_ends ends = {};
	__be32 from[4];

	if (!at || is_tagged(skb) || packet_parse(skb, &ends) != PACKET_IP || !came_from(skb, from))
		return verdict(TC_ACT_SHOT, CW_NEAR_STRANGER);
	neighbour = near_at(ends.source);
	if (!neighbour || !(neighbour->takes & CW_TAKES_VXLAN) || !speaks_for(neighbour, from))
		return verdict(TC_ACT_SHOT, CW_NEAR_STRANGER);
	if (bpf_skb_change_type(skb, PACKET_HOST))
		return verdict(TC_ACT_SHOT, CW_NEAR_FAILED);
	return take(at);
}

/* On the underlay, before all others: what comes in as it is, of the mesh or in its name. */
SEC("classifier")
int near_plain(struct __sk_buff *skb)
{
	const struct cw_neighbour *neighbour;
	const struct cw_near *at = devices();
	struct packet_ends ends = {};

	if (!at || skb->pkt_type == PACKET_OTHERHOST || is_tagged(skb))
		return TC_ACT_UNSPEC;
	if (packet_parse(skb, &ends) != PACKET_IP)
		return TC_ACT_UNSPEC;
	neighbour = near_at(ends.source);
	if (neighbour && neighbour->takes & CW_TAKES_PLAIN && is_guarded(ends.destination))
		return take(at);
	if (is_guarded(ends.source))
		return verdict(TC_ACT_SHOT, CW_NEAR_STRANGER);
	return TC_ACT_UNSPEC;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
