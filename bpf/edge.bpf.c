// SPDX-License-Identifier: Apache-2.0
/*
 * Services, where packets come in: for clients whose sockets this node does not see (hosts outside the cluster, virtual
 * machines in pods, raw sockets). What the socket hooks do once a connection is done here to each packet.
 *
 * It stands at the ingress of the underlay, of the tunnel and of every pod's link (after pod.bpf.c), so it meets a flow's
 * packets of both directions before the network stack does; and at the egress of the same devices for what the stack
 * itself answers, as a backend in the node's own network does.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/dialled.h"
#include "lib/direct.h"
#include "lib/mss.h"
#include "lib/nat.h"
#include "lib/open.h"
#include "lib/police.h"
#include "lib/route.h"
#include "lib/stage.h"
#include "lib/tell.h"
#include "lib/tuple.h"
#include "lib/work.h"

static __always_inline int verdict(int action, enum cw_reason reason)
{
	count(reason);
	return action;
}

/* Sends a packet to its backend's node as it is. Returns what the program has to. */
__noinline int carry_direct(struct __sk_buff *skb, __u32 reason)
{
	struct work *w = work_here();
	int route;

	if (!w)
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	route = direct_route(skb);
	if (route == ROUTE_TOO_BIG) {
		count(CW_EDGE_TOO_BIG);
		return tell_too_big(skb, &w->packet, &w->way);
	}
	if (route != ROUTE_OUT)
		return verdict(TC_ACT_SHOT, CW_EDGE_NO_ROUTE);
	if (direct_wrap(skb))
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	count(reason);
	return route_take(skb, w->packet.ip, &w->way);
}

/* Rewrites a packet of a flow and sends it on. Returns what the program has to. */
__noinline int carry(struct __sk_buff *skb, __u32 reason)
{
	struct work *w = work_here();
	struct packet *p;
	int route;

	if (!w)
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	route = packet_route(skb);
	if (route == ROUTE_NONE)
		return verdict(TC_ACT_SHOT, CW_EDGE_NO_ROUTE);
	p = &w->packet;
	if (route == ROUTE_TOO_BIG && !p->divisible) {
		count(CW_EDGE_TOO_BIG);
		return tell_too_big(skb, p, &w->way);
	}
	/* The stack fragments, if it believes the packet's source. The tunnel does it in its own way. */
	if (route == ROUTE_TOO_BIG)
		route = ip_equal(w->flow.entry.source.ip, p->tuple.source.ip) ? ROUTE_STACK : ROUTE_OUT;
	if (route == ROUTE_OUT && p->hops <= 1) {
		count(CW_EDGE_EXPIRED);
		return tell_expired(skb, p, &w->way);
	}
	if (packet_rewrite(skb, p->hops - (route == ROUTE_OUT)) ||
	    (w->flow.entry.fits && !w->flow.entry.forward && p->tcp & TCP_SYN && direct_limit(skb)))
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	count(reason);
	return route == ROUTE_OUT ? route_take(skb, p->ip, &w->way) : TC_ACT_UNSPEC;
}

/* An error about a translated packet, on its way in. Returns what the program has to. */
__noinline int carry_error(struct __sk_buff *skb)
{
	struct work *w = work_here();
	const struct cw_nat *known;
	const struct cw_address *sender;
	struct packet *p;
	bool stays;
	int route;

	if (!w || !packet_read_error(skb))
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	p = &w->packet;
	known = bpf_map_lookup_elem(&nat, &w->error.answer);
	/* It is told to whom the packet came from; and a pod is no router: it speaks for itself alone. */
	if (!known || !ip_equal(w->error.answer.destination.ip, p->tuple.destination.ip) ||
	    (w->side == SIDE_POD && !ip_equal(w->error.answer.source.ip, p->tuple.source.ip)))
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	w->flow.entry = *known;
	if (known->direct)
		return carry_direct(skb, CW_EDGE_ERROR);
	/* Who sees clients by their own names sees routers so, too. */
	stays = ip_equal(known->source.ip, w->error.answer.source.ip);
	sender = stays ? &p->tuple.source : &w->flow.entry.source;
	route = route_find(skb, p, sender, &w->flow.entry.destination, &w->way);
	if ((route != ROUTE_OUT && route != ROUTE_STACK) || p->hops <= 1)
		return verdict(TC_ACT_SHOT, CW_EDGE_NO_ROUTE);
	if (packet_rewrite_error(skb, p->hops - (route == ROUTE_OUT), stays))
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	count(CW_EDGE_ERROR);
	return route == ROUTE_OUT ? route_take(skb, p->ip, &w->way) : TC_ACT_UNSPEC;
}

static __always_inline int action_of(enum cw_reason reason)
{
	return reason == CW_EDGE_PASSED || reason == CW_EDGE_REFUSED || reason == CW_EDGE_SCTP_PORT ? TC_ACT_UNSPEC :
												     TC_ACT_SHOT;
}

/* A client's packet that reached another node first. It is nothing that the stack could answer. */
__noinline int arrived(struct __sk_buff *skb, __u64 now)
{
	struct work *w = work_here();
	enum cw_reason reason;
	int kind;

	if (!w)
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	kind = packet_read(skb, w->packet.ip, NAT_INGRESS);
	if (kind == TUPLE_ERROR)
		return carry_error(skb) == TC_ACT_REDIRECT ? TC_ACT_REDIRECT : TC_ACT_SHOT;
	if (kind != TUPLE_FLOW)
		return verdict(TC_ACT_SHOT, kind == TUPLE_FRAGMENT ? CW_EDGE_FRAGMENT : CW_EDGE_STRAY);
	if (!known_flow(SIDE_NODE, now)) {
		reason = open_arrived(skb, now);
		if (reason != CW_EDGE_OPENED)
			return verdict(TC_ACT_SHOT, reason);
	}
	return carry(skb, CW_EDGE_ARRIVED);
}

/* Whether policies let a packet leave its pod, judged by where it really goes. Others than pods' are judged elsewhere. */
__noinline int may_leave(struct __sk_buff *skb, __u32 kind, __u32 is_translated)
{
	struct work *w = work_here();

	if (!w)
		return false;
	if (w->side != SIDE_POD)
		return true;
	return police(skb, &w->packet, kind, true,
		      is_translated ? &w->flow.entry.destination : &w->packet.tuple.destination);
}

/*
 * Whoever opens a connection through the mesh is held to what the way carries: on the mesh's device, on the way in and out,
 * whatever carries the packets from there on. Devices without Ethernet headers are the mesh's, or lead outside.
 */
__noinline int open_through_mesh(struct __sk_buff *skb, __u32 came)
{
	const struct cw_exit *exit;
	struct mss_packet p = {};

	if (!mss_opens(skb, 0, came, &p))
		return 0;
	exit = route_exit(skb->ifindex, skb->protocol == bpf_htons(ETH_P_IP));
	if (!exit || !exit->outside)
		mss_limit(skb, &p);
	return 0;
}

/* What comes in, from whichever device. One program for all: the choice costs the verifier time at every start. */
SEC("classifier")
int edge_ingress(struct __sk_buff *skb)
{
	struct work *w = work_here();
	__u64 now = bpf_ktime_get_ns();
	enum cw_reason reason;
	int kind, unwrapped;

	if (w) {
		w->packet.ip = skb->cb[0];
		w->side = skb->cb[1];
	}
	if (!w)
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	kind = packet_read(skb, w->packet.ip, NAT_INGRESS);
	/* Neither what is for another machine, nor what is for another device on the same wire; some of that the stack takes. */
	if (skb->pkt_type == PACKET_OTHERHOST || skb->vlan_present)
		return may_leave(skb, kind, false) ? verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED) : TC_ACT_SHOT;
	if (!w->packet.ip && w->packet.tcp & TCP_SYN)
		open_through_mesh(skb, true);
	if (kind == TUPLE_OTHER) {
		unwrapped = direct_unwrap(skb);
		if (unwrapped < 0)
			return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
		if (unwrapped)
			return arrived(skb, now);
	}
	if (kind != TUPLE_FLOW && !may_leave(skb, kind, false))
		return TC_ACT_SHOT;
	switch (kind) {
	case TUPLE_FLOW:
		break;
	case TUPLE_ERROR:
		return carry_error(skb);
	case TUPLE_FRAGMENT:
		return verdict(TC_ACT_UNSPEC, CW_EDGE_FRAGMENT);
	default:
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	}
	if (known_flow(w->side, now)) {
		if (!may_leave(skb, kind, true))
			return TC_ACT_SHOT;
		if (w->flow.entry.direct)
			return carry_direct(skb, CW_EDGE_DIRECT);
		return carry(skb, w->flow.entry.forward ? CW_EDGE_FORWARD : CW_EDGE_REPLY);
	}
	reason = open(skb, w->side, now);
	if (reason != CW_EDGE_OPENED && action_of(reason) == TC_ACT_SHOT)
		return verdict(TC_ACT_SHOT, reason);
	if (!may_leave(skb, kind, reason == CW_EDGE_OPENED)) {
		if (reason == CW_EDGE_OPENED)
			nat_forget(&w->packet.tuple, &w->flow);
		return TC_ACT_SHOT;
	}
	if (reason != CW_EDGE_OPENED)
		return verdict(TC_ACT_UNSPEC, reason);
	return w->flow.entry.direct ? carry_direct(skb, reason) : carry(skb, reason);
}

/* What is known of the device goes along with the packet: while programs are replaced, the next one has other scratch memory. */
static __always_inline int ingress(struct __sk_buff *skb, __u32 ip, enum side side)
{
	skb->cb[0] = ip;
	skb->cb[1] = side;
	bpf_tail_call(skb, &stages, CW_STAGE_INGRESS);
	return TC_ACT_UNSPEC;
}

/* What the node's own stack sends: the answers of backends in the node's own network, and its errors about them. */
static __always_inline int egress(struct __sk_buff *skb, __u32 ip)
{
	struct work *w = work_here();
	bool failed, is_error;
	struct cw_nat *known;
	__u64 now;
	int kind;

	/* What came in by some device was met there. */
	if (skb->tc_index == ROUTE_TAKEN || skb->ingress_ifindex)
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	now = bpf_ktime_get_ns();
	kind = packet_read(skb, ip, NAT_EGRESS);
	is_error = kind == TUPLE_ERROR;
	if (!w || (is_error ? !packet_read_error(skb) : kind != TUPLE_FLOW))
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	known = bpf_map_lookup_elem(&nat, is_error ? &w->error.answer : &w->packet.tuple);
	if (!known)
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	w->flow.entry = *known;
	if (!is_error && now - known->flow.used > SECOND)
		nat_touch(&w->packet.tuple, known, now, &w->flow);
	failed = is_error ? packet_rewrite_error(skb, w->packet.hops, false) : packet_rewrite(skb, w->packet.hops);
	if (failed)
		return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
	return verdict(TC_ACT_UNSPEC, is_error ? CW_EDGE_ERROR : CW_EDGE_REPLY);
}

/* On a device with Ethernet headers. */
SEC("classifier")
int edge(struct __sk_buff *skb)
{
	return ingress(skb, ETH_HLEN, SIDE_OUTSIDE);
}

/* On a device without. */
SEC("classifier")
int edge_l3(struct __sk_buff *skb)
{
	return ingress(skb, 0, SIDE_OUTSIDE);
}

/* On a pod's link. */
SEC("classifier")
int edge_pod(struct __sk_buff *skb)
{
	return ingress(skb, ETH_HLEN, SIDE_POD);
}

SEC("classifier")
int edge_out(struct __sk_buff *skb)
{
	return egress(skb, ETH_HLEN);
}

SEC("classifier")
int edge_out_l3(struct __sk_buff *skb)
{
	open_through_mesh(skb, false);
	return egress(skb, 0);
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
