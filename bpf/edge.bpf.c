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
#include "lib/affinity.h"
#include "lib/count.h"
#include "lib/dialled.h"
#include "lib/direct.h"
#include "lib/maglev.h"
#include "lib/nat.h"
#include "lib/route.h"
#include "lib/stage.h"
#include "lib/tell.h"
#include "lib/tuple.h"
#include "lib/work.h"

/*
 * 1: some services have tables that all nodes agree on, so a segment in the middle of a connection may be one that came in by
 * another node until now. Set before loading: else such segments are not asked about at all.
 */
const volatile __u8 have_tables = 0;

/*
 * Settles whom the backend is to see, and writes the flow down: CW_EDGE_OPENED, or why not. To begin with the entry says
 * that it sees the client.
 */
__noinline int open_towards(struct __sk_buff *skb, __u32 side, __u32 masquerade, __u64 now)
{
	struct work *w = work_here();
	const struct cw_exit *exit;
	struct cw_nat *entry;
	__u8 divisible;
	bool is_sctp;
	int route;

	if (!w)
		return CW_EDGE_FAILED;
	entry = &w->flow.entry;
	/* The way of the flow, whether or not its first packet fits it. */
	divisible = w->packet.divisible;
	w->packet.divisible = true;
	route = packet_route(skb);
	w->packet.divisible = divisible;
	if (route == ROUTE_NONE)
		return CW_EDGE_NO_ROUTE;
	if (route == ROUTE_STACK) {
		/* Ours: the stack would not believe a packet that comes from itself. */
		entry->back = NAT_EGRESS;
		masquerade = false;
	} else {
		exit = route_exit(w->way.ifindex, w->packet.v4);
		if (side == SIDE_POD)
			masquerade = ip_equal(entry->source.ip, entry->destination.ip) || (exit && exit->outside);
		else if (masquerade && exit)
			masquerade = !direct_begin(skb, w, exit);
		if (masquerade) {
			if (!exit)
				return CW_EDGE_NO_SOURCE;
			ip_copy(entry->source.ip, exit->ip);
		}
	}
	/* Another node's name the backend would not know. */
	if (masquerade && tuple_is_midway(&w->packet))
		return CW_EDGE_PASSED;
	is_sctp = w->packet.tuple.protocol == IPPROTO_SCTP;
	if (nat_open(&w->packet.tuple, &w->flow, masquerade && !is_sctp ? 0 : entry->source.port, now))
		return CW_EDGE_OPENED;
	return is_sctp ? CW_EDGE_SCTP_TAKEN : CW_EDGE_NO_PORT;
}

/* The same for a packet in an envelope: the node that it reached first has chosen. */
__noinline int open_arrived(struct __sk_buff *skb, __u64 now)
{
	struct work *w = work_here();
	const struct cw_exit *exit;
	struct cw_nat *entry;
	struct packet *p;
	__u8 divisible;
	bool returns, here;

	if (!w)
		return CW_EDGE_FAILED;
	p = &w->packet;
	entry = &w->flow.entry;
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->forward = true;
	entry->source = p->tuple.source;
	entry->destination = w->chosen;
	entry->flow.used = now;
	ip_copy(entry->flow.backend.ip, w->chosen.ip);
	entry->flow.backend.port = w->chosen.port;
	divisible = p->divisible;
	p->divisible = false;
	if (p->tcp & TCP_SYN)
		entry->fits = direct_fits(skb);
	p->divisible = true;
	/* It answers by the underlay or not at all: the mesh does not carry the service's address. */
	returns = route_find(skb, p, &p->tuple.destination, &p->tuple.source, &w->way) == ROUTE_OUT;
	exit = route_exit(w->way.ifindex, p->v4);
	returns = returns && exit && exit->outside;
	here = packet_route(skb) == ROUTE_OUT && w->way.ifindex != skb->ifindex;
	exit = route_exit(w->way.ifindex, p->v4);
	p->divisible = divisible;
	if (!here || !exit || exit->outside)
		return CW_EDGE_STRAY;
	if (!returns)
		return CW_EDGE_NO_ROUTE;
	return nat_open(&p->tuple, &w->flow, entry->source.port, now) ? CW_EDGE_OPENED : CW_EDGE_NO_PORT;
}

/* The backend for a flow that begins: as for sockets, or by the table on which all nodes agree. NULL: nobody. */
static __always_inline struct cw_backend *choose(const struct packet *p, const struct cw_ladder *ladder, __u64 now)
{
	struct cw_client client = { .netns = dialled_by(&p->tuple.source), .dialled = p->tuple.destination,
				    .protocol = p->tuple.protocol };
	struct cw_backend *backend = affinity_known(&client, ladder, now);
	__u32 from;

	if (backend)
		return backend;
	from = lb_begin(ladder);
	if (ladder->tier[0].table)
		backend = maglev_choose(ladder, maglev_hash(&p->tuple, ladder->affinity), &from);
	if (!backend)
		backend = lb_choose_from(ladder, from);
	affinity_remember(&client, ladder, backend, now);
	return backend;
}

/* Chooses a backend for a packet that no flow has: CW_EDGE_OPENED, or why not. */
__noinline int open(struct __sk_buff *skb, __u32 side, __u64 now)
{
	struct work *w = work_here();
	struct cw_backend *backend;
	struct dialled found;
	struct packet *p;
	bool midway;

	if (!w)
		return CW_EDGE_FAILED;
	p = &w->packet;
	/* A segment that begins nothing is for the stack to answer; so is a fragment that came before its first one. */
	midway = tuple_is_midway(p);
	if (!p->whole || (midway && (!have_tables || side != SIDE_OUTSIDE || p->tcp & TCP_RST)))
		return CW_EDGE_PASSED;
	dialled_find(p, side, &found);
	if (!found.ladder || (midway && !found.ladder->tier[0].table))
		return CW_EDGE_PASSED;
	if (found.restricted && !dialled_allows(p))
		return CW_EDGE_DENIED;
	backend = choose(p, found.ladder, now);
	if (!backend)
		return found.otherwise_drop ? CW_EDGE_NO_BACKEND : CW_EDGE_REFUSED;
	if (ip_is_v4(backend->ip) != (bool)p->v4)
		return CW_EDGE_FAMILY;
	if (p->tuple.protocol == IPPROTO_SCTP && backend->port != p->tuple.destination.port)
		return CW_EDGE_SCTP_PORT;
	__builtin_memset(&w->flow.entry, 0, sizeof(w->flow.entry));
	w->flow.entry.forward = true;
	w->flow.entry.source = p->tuple.source;
	ip_copy(w->flow.entry.destination.ip, backend->ip);
	w->flow.entry.destination.port = backend->port;
	w->flow.entry.flow.set = found.ladder->set;
	w->flow.entry.flow.used = now;
	w->flow.entry.flow.backend = *backend;
	return open_towards(skb, side, found.masquerade, now);
}

/*
 * Whether a flow goes on where it went. A connection of TCP or SCTP does, whatever becomes of the service; datagrams, and
 * whoever dials again from the same port, only while the service has the backend and its node lives.
 */
static __always_inline bool goes_on(struct work *w, struct cw_nat *known, __u32 side, __u64 now)
{
	const struct packet *p = &w->packet;
	struct dialled found;

	/* The node that it reached first decides. */
	if (side == SIDE_NODE)
		return known->forward && !known->direct && nat_same(&known->destination, &w->chosen);
	if (!known->forward || !p->whole || (p->tuple.protocol != IPPROTO_UDP && !(p->tcp & TCP_SYN)))
		return true;
	dialled_find(p, side, &found);
	return found.ladder && stay(&known->flow, found.ladder, now, flow_idle);
}

/* Finds what the packet's flow says becomes of it. 0: there is no such flow. */
__noinline int known_flow(__u32 side, __u64 now)
{
	struct work *w = work_here();
	struct cw_nat *known;
	struct packet *p;
	__u64 before;

	if (!w)
		return false;
	p = &w->packet;
	known = bpf_map_lookup_elem(&nat, &p->tuple);
	if (!known)
		return false;
	before = known->flow.used;
	w->flow.entry = *known;
	if (!goes_on(w, known, side, now)) {
		nat_forget(&p->tuple, &w->flow);
		return false;
	}
	if (p->tcp & (TCP_SYN | TCP_FIN | TCP_RST))
		known->closed = !(p->tcp & TCP_SYN);
	if (now - before > SECOND && !nat_touch(&p->tuple, known, now, &w->flow)) {
		bpf_map_delete_elem(&nat, &p->tuple);
		return false;
	}
	return true;
}

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
	/* Neither what is for another machine, nor what is for another device on the same wire. */
	if (!w || skb->pkt_type == PACKET_OTHERHOST || skb->vlan_present)
		return verdict(TC_ACT_UNSPEC, CW_EDGE_PASSED);
	kind = packet_read(skb, w->packet.ip, NAT_INGRESS);
	if (kind == TUPLE_OTHER) {
		unwrapped = direct_unwrap(skb);
		if (unwrapped < 0)
			return verdict(TC_ACT_SHOT, CW_EDGE_FAILED);
		if (unwrapped)
			return arrived(skb, now);
	}
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
		if (w->flow.entry.direct)
			return carry_direct(skb, CW_EDGE_DIRECT);
		return carry(skb, w->flow.entry.forward ? CW_EDGE_FORWARD : CW_EDGE_REPLY);
	}
	reason = open(skb, w->side, now);
	if (reason != CW_EDGE_OPENED)
		return verdict(action_of(reason), reason);
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

	if (skb->tc_index == ROUTE_TAKEN)
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
	return egress(skb, 0);
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
