/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs in this folder and the agent say to each other: map keys, map values, reasons.
 *
 * The one definition. crates/kernel/src/bpf/abi.rs is generated from this file (`cargo xtask generate`), and a test
 * compares both with the types in the compiled objects. An incompatible change raises CW_LAYOUT, which names the
 * folder of the pins: maps of an older layout are never read as if they were ours.
 *
 * Every address is 16 bytes in network order; an IPv4 address is written as ::ffff:a.b.c.d. Padding is named `zero`
 * and must be zero, for keys are compared byte by byte.
 */
#pragma once

#include <linux/types.h>

/* The version of everything below. */
#define CW_LAYOUT 1
/* Tiers of one frontend: four inside the cluster, twelve groups of other clusters. */
#define CW_TIERS 16
/* Places of a set that are one entry of a map. */
#define CW_PAGE 4
/* Places of a table that are one entry of a map. */
#define CW_TABLE_PAGE 32
/* Slots for programs that go on where others end. */
#define CW_STAGES 3
/* Slot: what comes in, from whichever device. */
#define CW_STAGE_INGRESS 0
/* Slot: what a pod sends, once that may pass. */
#define CW_STAGE_POD 1
/* Slot: what leaves by the underlay, once that may pass. */
#define CW_STAGE_UNDERLAY_EGRESS 2
/* Of `direct`: this node. Its backends see clients outside. */
#define CW_DIRECT_OWN 1
/* Of `direct`: a node whose backends see them, too, because it answers by itself. */
#define CW_DIRECT_PEER 2
/* Of `direct`: an address from which clients' packets may come in envelopes. */
#define CW_DIRECT_SENDER 3
/* Of `neighbours`: what is sent there goes into the tunnel. */
#define CW_BY_WIREGUARD 0
/* The same: in VXLAN. */
#define CW_BY_VXLAN 1
/* The same: as it is. */
#define CW_BY_PLAIN 2
/* Of `neighbours`, a bit: VXLAN from there is believed. */
#define CW_TAKES_VXLAN 1
/* The same: what comes as it is. */
#define CW_TAKES_PLAIN 2
/* The number of our network in VXLAN's header (RFC 7348). */
#define CW_VNI 51820
/* Of `subjects`: nothing passes. */
#define CW_CLOSED 1
/* Tiers of policies. */
#define CW_POLICY_TIERS 3
/* What a rule does: it may pass. */
#define CW_ACCEPT 1
/* What a rule does: it is dropped. */
#define CW_DENY 2
/* What a rule does: the rest of its tier is not asked. */
#define CW_PASS 3
/* Of a connection: both ends have spoken. */
#define CW_TALK_REPLIED 1
/* Of a connection: the pod has said that it is done (TCP's FIN). */
#define CW_TALK_POD_DONE 2
/* Of a connection: the other end has said so. */
#define CW_TALK_OTHER_DONE 4
/* Of a connection: one end has broken it off (TCP's RST). */
#define CW_TALK_BROKEN 8
/* Of a connection: who began it was not seen. */
#define CW_TALK_MIDWAY 16
/* Of a connection: what was allowed is not any more. Nothing of it passes. */
#define CW_TALK_DENIED 32
/* Of a connection: the node's own, or a pod's with itself. No rule is asked. */
#define CW_TALK_OWN 64
/* Of a connection: the pod sees its other end by another address, or port, than its own. */
#define CW_TALK_TRANSLATED 128
/* Seconds for which a silent connection is remembered: of TCP and SCTP. */
#define CW_IDLE_STREAM 21600
/* The same, once one end is done. */
#define CW_IDLE_HALF 3600
/* The same, once both ends are, or one has broken it off. */
#define CW_IDLE_CLOSED 10
/* The same, as long as nobody has answered. */
#define CW_IDLE_OPENING 60
/* The same of what is neither TCP nor SCTP, once it was answered. */
#define CW_IDLE_DATAGRAM 120
/* The same, as long as it is not; and of ICMP. */
#define CW_IDLE_SHORT 30
/* Kind of an event: a packet was dropped. */
#define CW_EVENT_DENIED 1
/* Kind of an event: nobody is known to be at an address where pods are. */
#define CW_EVENT_UNKNOWN 2

/* What a client dials. */
struct cw_frontend {
	/* The virtual address. */
	__be32 ip[4];
	/* The port. */
	__be16 port;
	/* The protocol's number in the IP header. */
	__u8 protocol;
	/* Padding. */
	__u8 zero;
};

/* One rung of a ladder. Its first place in the set is behind the last one of the rung before. */
struct cw_tier {
	/* How many backends. */
	__u32 count;
	/* How near: 0 node, 1 zone, 2 region, 3 cluster, 4 elsewhere. */
	__u8 kind;
	/* The size of its table, a number from 1 on (lib/maglev.h); 0 if it has none. Only a first rung has one. */
	__u8 table;
	/* Of 65,536 connections that come to it so many go on to the next one. */
	__u16 passes;
};

/* Where a frontend leads. */
struct cw_ladder {
	/* The set of backends. */
	__u64 set;
	/* How many rungs. */
	__u32 tiers;
	/* Seconds for which a client stays with its backend; 0 for not at all. */
	__u32 affinity;
	/* The rungs, nearest first. */
	struct cw_tier tier[CW_TIERS];
};

/* A part of a set. */
struct cw_page_key {
	/* The set. */
	__u64 set;
	/* Which: place n is on page n / CW_PAGE. */
	__u32 page;
	/* Padding. */
	__u32 zero;
};

/* A place to send a connection to. */
struct cw_backend {
	/* Its address. */
	__be32 ip[4];
	/* Its port. */
	__be16 port;
	/* Padding. */
	__u8 zero[6];
	/* The node whose health is its own; 0 is never dead. */
	__u64 node;
};

/* Backends that stand beside each other in a set. Places behind the end of the set are all zero. */
struct cw_page {
	/* The backends. */
	struct cw_backend backend[CW_PAGE];
};

/* A part of a table: which backends of a set are chosen by a flow's number. */
struct cw_table_key {
	/* The set. */
	__u64 set;
	/* How many backends from its beginning the table is of. */
	__u32 count;
	/* Which part: place n is on page n / CW_TABLE_PAGE. */
	__u32 page;
};

/* Places that stand beside each other in a table. */
struct cw_table_page {
	/* For each its backend's place in the set. */
	__u16 place[CW_TABLE_PAGE];
};

/* An address and a port. */
struct cw_address {
	/* The address. */
	__be32 ip[4];
	/* The port. */
	__be16 port;
	/* Padding. */
	__u8 zero[6];
};

/* What a connected socket dialled and what it was given. */
struct cw_translation {
	/* What the program asked for. */
	struct cw_address vip;
	/* The address where the packets go. */
	__be32 ip[4];
	/* The port where they go. */
	__be16 port;
	/* Padding. */
	__u8 zero[2];
	/* When, in milliseconds (1,048,576 ns, to be exact) since some time; 0: not known, or of no interest any more. */
	__u32 dialled;
};

/* What became of TCP connects that services led to one backend, from the first that failed on. */
struct cw_connects {
	/* So many were answered. */
	__u64 established;
	/* So many were refused: by a reset, or by an error of the network on the way. */
	__u64 refused;
	/* To so many there was no answer: the request was sent again, or the client had given up. */
	__u64 unanswered;
};

/* An unconnected socket and an address it sends to or hears from. */
struct cw_flow_key {
	/* The kernel's number of the socket. */
	__u64 cookie;
	/* The other end. */
	struct cw_address address;
};

/* Where an unconnected socket's datagrams to a virtual address go. */
struct cw_flow {
	/* The set the backend was drawn from. */
	__u64 set;
	/* Nanoseconds since boot of the last datagram, give or take a second. */
	__u64 used;
	/* The backend. */
	struct cw_backend backend;
};

/* Who dials what, where clients stay with their backends. */
struct cw_client {
	/* The kernel's number of the network namespace: a pod, or the node itself. */
	__u64 netns;
	/* What is dialled. */
	struct cw_address dialled;
	/* The protocol's number in the IP header. */
	__u32 protocol;
	/* Padding. */
	__u32 zero;
};

/* An address of a node of the cluster: node ports are dialled there. */
struct cw_node_address {
	/* The address. */
	__be32 ip[4];
};

/* A range of addresses, as the kernel's longest-prefix tries want it. */
struct cw_prefix {
	/* Bits that count, 0 to 128. */
	__u32 length;
	/* The address. */
	__be32 ip[4];
};

/* An address that a pod may send from. */
struct cw_pod_key {
	/* The host's end of the pod's link. */
	__u32 ifindex;
	/* The address. */
	__be32 ip[4];
};

/* Two ends that a cut keeps apart, in one direction. */
struct cw_cut {
	/* Who sends. */
	__be32 source[4];
	/* To whom. */
	__be32 destination[4];
};

/* Where packets from outside lead that are dialled at one address. */
struct cw_outside {
	/* The backends. */
	struct cw_ladder ladder;
	/* 1: backends see an address of this node in place of the client's. */
	__u8 masquerade;
	/* What becomes of a packet for which there is no backend. 0: it is left to the network stack; 1: it is dropped. */
	__u8 otherwise;
	/* 1: only the ranges in `outside_sources` may dial it. */
	__u8 restricted;
	/* Padding. */
	__u8 zero[5];
};

/* Who may dial an address from outside: a prefix that begins with all of the frontend. */
struct cw_outside_source {
	/* Bits that count: the 160 of the frontend, and 0 to 128 of the range. */
	__u32 length;
	/* What is dialled. */
	struct cw_frontend frontend;
	/* The range. */
	__be32 ip[4];
};

/* A packet's flow: who sends to whom, and where the packet is met. */
struct cw_tuple {
	/* Who sends. */
	struct cw_address source;
	/* To whom. */
	struct cw_address destination;
	/* The protocol's number in the IP header. */
	__u8 protocol;
	/* 0: on its way into the node; 1: on its way out of the node's own stack. */
	__u8 hook;
	/* Padding. */
	__u8 zero[6];
};

/* What a packet of a flow becomes. The other direction's entry undoes it: its key is this one's result, turned round. */
struct cw_nat {
	/* Who sends. */
	struct cw_address source;
	/* To whom. */
	struct cw_address destination;
	/* The hook where packets of the other direction are met. */
	__u8 back;
	/* 1: towards the backend; 0: back to the client. */
	__u8 forward;
	/* 1: one end has said that it is done (TCP's FIN or RST). */
	__u8 closed;
	/* 1: packets go to the backend's node as they came, in an envelope; that node answers the client. */
	__u8 direct;
	/* Bytes of the largest packet that fits the client's way in an envelope; 0 where it has none. */
	__u16 fits;
	/* Padding. */
	__u8 zero[2];
	/* The backend, and when the flow was last used; for the way back the latter alone. */
	struct cw_flow flow;
};

/* The datagram that a fragment is part of. */
struct cw_fragment {
	/* Who sends. */
	__be32 source[4];
	/* To whom. */
	__be32 destination[4];
	/* The datagram's number. */
	__be32 id;
	/* The protocol's number in the IP header. */
	__u8 protocol;
	/* Padding. */
	__u8 zero[3];
};

/* The ports of a datagram, which only its first fragment tells. */
struct cw_ports {
	/* Who sends. */
	__be16 source;
	/* To whom. */
	__be16 destination;
};

/* A way out of the node, for one family. */
struct cw_exit_key {
	/* The device; 0 for all others. */
	__u32 ifindex;
	/* 4 or 6. */
	__u32 family;
};

/* How the node appears there. */
struct cw_exit {
	/* The node's own address. */
	__be32 ip[4];
	/* 1: pods' addresses do not leave here. */
	__u32 outside;
};

/* What direct server return knows: of a node (the address is 0), or of an address (the node is 0). */
struct cw_direct {
	/* A node's own address in the mesh. */
	__be32 ip[4];
	/* A node. */
	__u64 node;
};

/* How a range is reached that is behind a node of the same location, and how it may be heard. */
struct cw_neighbour {
	/* The node's private address. */
	__be32 ip[4];
	/* CW_BY_*. */
	__u8 sends;
	/* CW_TAKES_*. */
	__u8 takes;
	/* Padding. */
	__u8 zero[2];
	/* Neighbours of one group are believed for each other: the location's gateways. 0: it is of none. */
	__u32 group;
};

/* The devices between which unencrypted packets of the mesh go. */
struct cw_near {
	/* The mesh's own: what comes unencrypted comes in by it. */
	__u32 tunnel;
	/* VXLAN's; 0 if there is none. */
	__u32 vxlan;
	/* What leads to other nodes. */
	__u32 underlay;
};

/* How a pod's packets, or the node's own, are judged: 0 open, CW_CLOSED, or a ruleset's number. */
struct cw_subject {
	/* What is sent to it. */
	__u64 ingress;
	/* What it sends. */
	__u64 egress;
};

/* What holds for a ruleset as a whole. */
struct cw_ruleset {
	/* Which lengths of prefixes of ports its verdicts have: bit n for n bits, 0 to 16. */
	__u32 lengths;
	/* 1: what its namespaces' tier does not accept is denied. */
	__u8 isolates;
	/* 1: whoever is unknown may be one it denies. */
	__u8 denies_known;
	/* Padding. */
	__u8 zero[2];
};

/* What a verdict is about. */
struct cw_verdict_key {
	/* The ruleset. */
	__u64 ruleset;
	/* The other end; 0 for everybody. */
	__u64 peer;
	/* The port that is dialled, with the bits that do not count 0; of ICMP its type. In the processor's order. */
	__u16 port;
	/* How many of its bits count, 0 to 16. */
	__u8 bits;
	/* The protocol's number in the IP header; 0 for all. */
	__u8 protocol;
	/* Padding. */
	__u8 zero[4];
};

/* What a rule says. */
struct cw_ruling {
	/* Of two in a tier the higher one counts; 0: there is none. */
	__u32 precedence;
	/* Which rule of the ruleset it is. */
	__u16 rule;
	/* 1 accept, 2 deny, 3 pass. */
	__u8 action;
	/* Padding. */
	__u8 zero;
};

/* What the tiers say. */
struct cw_verdict {
	/* Admin, the namespaces', baseline. */
	struct cw_ruling tier[CW_POLICY_TIERS];
};

/* Who is at an address; 0 where there is none such. */
struct cw_identity {
	/* What it is. */
	__u64 identity;
	/* Its namespace. */
	__u64 namespace;
	/* Its cluster. */
	__u64 cluster;
};

/* What is known of a range. */
struct cw_network {
	/* Those rules' ranges that contain it. */
	__u64 class;
	/* What everything outside of clusters is; 0 inside. */
	__u64 world;
	/* 1: pods' addresses; whoever is there is unknown as long as no identity is. */
	__u32 pods;
	/* Padding. */
	__u32 zero;
};

/* What policies are to the kernel as a whole. */
struct cw_policing {
	/* Raised by every change that may take something away: what was allowed before is judged again. */
	__u32 epoch;
	/* 1: what was allowed goes on nevertheless. */
	__u8 keep;
	/* Padding. */
	__u8 zero[3];
};

/* A connection of a pod, as it is seen on the pod's link. */
struct cw_connection_key {
	/* The pod's address. */
	__be32 pod[4];
	/* The other end's, as the pod sees it. */
	__be32 other[4];
	/* The pod's port; of an echo the number, if the pod asks. */
	__be16 pod_port;
	/* The other end's; of an echo the number, if the other end asks. */
	__be16 other_port;
	/* The protocol's number in the IP header. */
	__u8 protocol;
	/* Padding. */
	__u8 zero[3];
};

/* What is known of a connection. */
struct cw_connection {
	/* Nanoseconds since boot of the last packet, give or take a second. */
	__u64 used;
	/* Who the other end really is. */
	__be32 peer[4];
	/* The epoch it was judged in. */
	__u32 epoch;
	/* The port at the other end. */
	__be16 port;
	/* 1: the pod began it. */
	__u8 from_pod;
	/* CW_TALK_*. */
	__u8 state;
};

/* What no policy takes from the node itself: a port, or an address with all that is said to it. */
struct cw_always {
	/* The other end's address; 0 for a port. */
	__be32 ip[4];
	/* The port; 0 for an address. */
	__be16 port;
	/* The protocol's number in the IP header; 0 for an address. */
	__u8 protocol;
	/* 1: a port of others', which the node dials; 0: one of its own. */
	__u8 others;
};

/* About whose packets events are told: so many a second, and no more. */
struct cw_listener {
	/* The pod's address. */
	__be32 pod[4];
	/* CW_EVENT_*. */
	__u32 kind;
};

/* What became of a packet. */
struct cw_policy_event {
	/* Nanoseconds since boot. */
	__u64 time;
	/* The ruleset that was asked; 0 for none. */
	__u64 ruleset;
	/* The pod's address. */
	__be32 pod[4];
	/* The other end's, as the pod sees it. */
	__be32 other[4];
	/* Who the other end really is. */
	__be32 peer[4];
	/* An enum cw_reason. */
	__u32 reason;
	/* The pod's port. */
	__be16 pod_port;
	/* The other end's, as the pod sees it. */
	__be16 other_port;
	/* The real one. */
	__be16 peer_port;
	/* Which rule of the ruleset it was, if a tier's rule decided. */
	__u16 rule;
	/* The protocol's number in the IP header. */
	__u8 protocol;
	/* Of ICMP its type. */
	__u8 icmp;
	/* 1: the pod sent it; 0: it was sent to the pod. */
	__u8 from_pod;
	/* 1 admin, 2 the namespaces', 3 baseline: whose rule decided; 0 for none. */
	__u8 tier;
	/* CW_EVENT_*. */
	__u32 kind;
	/* Padding. */
	__u32 zero;
};

/*
 * Why a packet or a connection went the way it did. A number is never used again for something else; the name, in
 * lower case and without the prefix, is what metrics say. The first word of the comment is the verdict.
 */
enum cw_reason {
	/* pass: sent to a backend on the client's node. */
	CW_LB_NODE = 0,
	/* pass: sent to a backend in the client's zone. */
	CW_LB_ZONE = 1,
	/* pass: sent to a backend in the client's region. */
	CW_LB_REGION = 2,
	/* pass: sent to a backend in the client's cluster. */
	CW_LB_CLUSTER = 3,
	/* pass: sent to a backend in another cluster. */
	CW_LB_ELSEWHERE = 4,
	/* pass: a datagram followed the ones before it to the same backend. */
	CW_LB_STAYED = 5,
	/* pass: the address dialled is no service's. */
	CW_LB_NO_FRONTEND = 6,
	/* drop: the service has no backend; the client is refused. */
	CW_LB_NO_BACKEND = 7,
	/* drop: every backend's node is dead; the client is refused. */
	CW_LB_ALL_DEAD = 8,
	/* drop: the backend drawn has an address of the other family; the client is refused. */
	CW_LB_FAMILY = 9,
	/* note: the backend drawn first was dead or missing, and another was drawn. */
	CW_LB_REDRAWN = 10,
	/* pass: a datagram's source was shown as the virtual address. */
	CW_REPLY_TRANSLATED = 11,
	/* pass: a datagram's source was left as it was. */
	CW_REPLY_PASSED = 12,
	/* pass: the peer's name was shown as the virtual address. */
	CW_PEER_TRANSLATED = 13,
	/* pass: the peer's name was left as it was. */
	CW_PEER_PASSED = 14,
	/* pass: neither end is in a guarded range. */
	CW_GUARD_PASSED = 15,
	/* pass: not an IP packet. */
	CW_GUARD_NOT_IP = 16,
	/* drop: a pod's packet on its way out in the clear. */
	CW_GUARD_SOURCE = 17,
	/* drop: a packet to a pod on its way out in the clear. */
	CW_GUARD_DESTINATION = 18,
	/* drop: too short to tell whose packet it is. */
	CW_GUARD_TRUNCATED = 19,
	/* pass: the source is one of the pod's addresses. */
	CW_POD_PASSED = 20,
	/* pass: talk between neighbours: ARP, link-local and not yet configured IPv6. */
	CW_POD_NEIGHBOUR = 21,
	/* drop: the source is not one of the pod's addresses. */
	CW_POD_SPOOFED = 22,
	/* drop: neither IP nor ARP. */
	CW_POD_NOT_IP = 23,
	/* drop: too short to tell its source. */
	CW_POD_TRUNCATED = 24,
	/* pass: nothing is cut between the two ends. */
	CW_SEGMENT_PASSED = 25,
	/* drop: the lab keeps the two ends apart. */
	CW_SEGMENT_CUT = 26,
	/* pass: a client stayed with the backend it had before (session affinity). */
	CW_LB_AFFINITY = 27,
	/* pass: neither a packet to a service nor one of a translated flow. */
	CW_EDGE_PASSED = 28,
	/* pass: the first packet of a client's flow went to a backend. */
	CW_EDGE_OPENED = 29,
	/* pass: a packet of a flow went to the flow's backend. */
	CW_EDGE_FORWARD = 30,
	/* pass: a backend's answer went to the client. */
	CW_EDGE_REPLY = 31,
	/* pass: an ICMP error about a translated packet went to whoever had sent that. */
	CW_EDGE_ERROR = 32,
	/* pass: the service has no backend; the network stack refuses. */
	CW_EDGE_REFUSED = 33,
	/* drop: the service has no backend on this node, but on others. */
	CW_EDGE_NO_BACKEND = 34,
	/* drop: the client is not among those who may dial the service. */
	CW_EDGE_DENIED = 35,
	/* drop: the backend drawn has an address of the other family. */
	CW_EDGE_FAMILY = 36,
	/* drop: no source port is free towards the backend. */
	CW_EDGE_NO_PORT = 37,
	/* drop: the node has no address of its own for the way to the backend. */
	CW_EDGE_NO_SOURCE = 38,
	/* drop: no route leads to where the packet ought to go. */
	CW_EDGE_NO_ROUTE = 39,
	/* drop: the packet has crossed too many routers. */
	CW_EDGE_EXPIRED = 40,
	/* drop: the packet is too large for the way to the backend, and may not be fragmented; its sender is told. */
	CW_EDGE_TOO_BIG = 41,
	/* pass: a fragment whose datagram's first one was not seen. */
	CW_EDGE_FRAGMENT = 42,
	/* drop: the kernel could not change the packet. */
	CW_EDGE_FAILED = 43,
	/* note: a connect that a service led to a backend was refused. */
	CW_CONNECT_REFUSED = 44,
	/* note: a connect that a service led to a backend was not answered. */
	CW_CONNECT_UNANSWERED = 45,
	/* pass: SCTP to a backend that has another port than was dialled: its checksum covers ports, so they stay as they are. */
	CW_EDGE_SCTP_PORT = 46,
	/* drop: SCTP, which keeps its source port, from one that another client has towards the backend. */
	CW_EDGE_SCTP_TAKEN = 47,
	/* note: the sender of a dropped packet was not told: too many were in that moment. */
	CW_EDGE_UNTOLD = 48,
	/* pass: a client's packet went on to the backend's node, which answers the client itself. */
	CW_EDGE_DIRECT = 49,
	/* pass: a client's packet that had reached another node went to a backend on this one. */
	CW_EDGE_ARRIVED = 50,
	/* drop: another node sent a client's packet for a backend that is not on this one. */
	CW_EDGE_STRAY = 51,
	/* pass: the first packet of a connection that policies allow. */
	CW_POLICY_NEW = 52,
	/* pass: a packet of an allowed connection, from who began it. */
	CW_POLICY_ESTABLISHED = 53,
	/* pass: an answer in an allowed connection. */
	CW_POLICY_REPLY = 54,
	/* pass: an ICMP error about an allowed connection. */
	CW_POLICY_RELATED = 55,
	/* pass: talk between neighbours. */
	CW_POLICY_NEIGHBOUR = 56,
	/* pass: the node speaks with its own pod, or a pod with itself. */
	CW_POLICY_OWN = 57,
	/* pass: a connection whose beginning was not seen; policies would allow it to one of its ends. */
	CW_POLICY_MIDWAY = 58,
	/* pass: a packet that is no part of a connection, and that policies allow. */
	CW_POLICY_ONCE = 59,
	/* drop: a rule of the admin tier denies it. */
	CW_POLICY_ADMIN = 60,
	/* drop: a rule of the namespaces' tier denies it. */
	CW_POLICY_NAMESPACE = 61,
	/* drop: a policy isolates the pod, and none allows it. */
	CW_POLICY_ISOLATED = 62,
	/* drop: a rule of the baseline tier denies it. */
	CW_POLICY_BASELINE = 63,
	/* drop: the pod's rules cannot be enforced, or are not known yet. */
	CW_POLICY_CLOSED = 64,
	/* drop: nobody is known yet to be at the other end's address, and policies deny, or allow, by who it is. */
	CW_POLICY_UNKNOWN = 65,
	/* drop: the connection was allowed, and is not any more. */
	CW_POLICY_CUT = 66,
	/* drop: a fragment whose datagram's first one was not seen. */
	CW_POLICY_FRAGMENT = 67,
	/* drop: the packet cannot be read, so policies cannot be asked. */
	CW_POLICY_UNREADABLE = 68,
	/* note: an allowed connection was judged again, and is still allowed. */
	CW_POLICY_AGAIN = 69,
	/* note: a connection could not be remembered. */
	CW_POLICY_FORGOTTEN = 70,
	/* note: nobody was told of a packet: too many were in that moment. */
	CW_POLICY_UNTOLD = 71,
	/* pass: the node's own, which no policy stops: the way to it, or what it forwards for others. */
	CW_POLICY_ALWAYS = 72,
	/* pass: sent to a node of the same location in VXLAN. */
	CW_NEAR_VXLAN = 73,
	/* pass: sent to a node of the same location as it is. */
	CW_NEAR_PLAIN = 74,
	/* pass: came unencrypted from a node of the same location. */
	CW_NEAR_CAME = 75,
	/* drop: came unencrypted, and not from the node that the sender is behind. */
	CW_NEAR_STRANGER = 76,
	/* drop: the kernel could not wrap the packet. */
	CW_NEAR_FAILED = 77,
	/* note: no unencrypted way was found; the tunnel takes the packet. */
	CW_NEAR_NO_WAY = 78,
	/* How many reasons there are. */
	CW_REASONS = 79,
};
