/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rules say of one packet of a pod: who the other end is, which verdicts are about it, and what the tiers make of
 * them. Whether the packet has to be judged at all is asked in lib/police.h.
 */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "subject.h"

/* What an address may stand for: an identity, a namespace, a cluster, a class of networks, the world, a name; everybody. */
#define POLICY_PEERS 7
#define POLICY_PORT_BITS 16

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct cw_ruleset);
} rulesets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_verdict_key);
	__type(value, struct cw_verdict);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_node_address);
	__type(value, struct cw_identity);
} identities SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_prefix);
	__type(value, struct cw_network);
} networks SEC(".maps");

/* What names led to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_node_address);
	__type(value, __u64);
} named SEC(".maps");

/* This node's addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_node_address);
	__type(value, __u8);
} own_addresses SEC(".maps");

/* What a packet is to whoever judges it. */
enum talk {
	/* Of TCP or SCTP. */
	TALK_STREAM,
	/* Of UDP, or of a protocol without ports: whoever speaks first begins. */
	TALK_DATAGRAM,
	/* An echo request or its answer. */
	TALK_ECHO,
	/* Another kind of ICMP: no part of a conversation. */
	TALK_ONCE,
};

/* A packet that is being judged. Nothing is kept in it from one packet to another. */
struct policy {
	struct cw_subject subject;
	struct cw_connection_key key;
	/* Who the other end really is. */
	struct cw_address peer;
	/* What the other end is, nearest first; known once `is_named` is. */
	__u64 peers[POLICY_PEERS];
	/* What was found so far. */
	struct cw_verdict found;
	/* The entry that is written. */
	struct cw_connection fresh;
	/* What is told of it. */
	struct cw_policy_event told;
	/* Of an ICMP error: the connection it is about. */
	struct cw_connection_key about;
	__u64 now;
	/* The ruleset that was asked last. */
	__u64 ruleset;
	__u32 epoch;
	/* An enum talk. */
	__u32 talk;
	/* What became of the packet. */
	__u32 reason;
	/* The rule that decided, and its tier from 1 on; 0 if none did. */
	__u16 rule;
	__u8 tier;
	/* The pod sent it. */
	__u8 from_pod;
	/* It begins a connection: by what it is, not by what is known. */
	__u8 begins;
	/* Flags of TCP, as of a packet. */
	__u8 tcp;
	/* Of ICMP its type. */
	__u8 icmp;
	/* Rules with ports may be about it. */
	__u8 has_ports;
	/* It came to this node from elsewhere, or from a pod. */
	__u8 is_forwarded;
	/* Whether `peers` is filled in. */
	__u8 is_named;
	/* Nobody is known to be at the other end, though somebody may be. */
	__u8 is_unknown;
	/* What was allowed goes on, whatever changed since. */
	__u8 keep;
	/* It is the node itself that is judged, in the place of a pod. */
	__u8 is_host;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy);
} judged SEC(".maps");

static __always_inline struct policy *policy_here(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&judged, &first);
}

static __always_inline bool policy_is_own(const __be32 ip[4])
{
	return bpf_map_lookup_elem(&own_addresses, ip) != NULL;
}

/* Finds what the other end is. */
static __always_inline void policy_name(struct policy *p)
{
	const struct cw_identity *identity = bpf_map_lookup_elem(&identities, p->peer.ip);
	struct cw_prefix range = { .length = 128 };
	const struct cw_network *network;
	const __u64 *name;

	p->is_named = true;
	__builtin_memset(p->peers, 0, sizeof(p->peers));
	if (identity) {
		p->peers[0] = identity->identity;
		p->peers[1] = identity->namespace;
		p->peers[2] = identity->cluster;
	}
	ip_copy(range.ip, p->peer.ip);
	network = bpf_map_lookup_elem(&networks, &range);
	if (network) {
		p->peers[3] = network->class;
		p->peers[4] = network->world;
		p->is_unknown = network->pods && !identity;
	}
	name = bpf_map_lookup_elem(&named, p->peer.ip);
	if (name)
		p->peers[5] = *name;
}

static __always_inline void policy_find(struct policy *p, const struct cw_verdict_key *key)
{
	const struct cw_verdict *verdict = bpf_map_lookup_elem(&verdicts, key);

	if (!verdict)
		return;
	for (int tier = 0; tier < CW_POLICY_TIERS; tier++) {
		if (verdict->tier[tier].precedence > p->found.tier[tier].precedence)
			p->found.tier[tier] = verdict->tier[tier];
	}
}

/*
 * Looks up what a ruleset says of one peer. `lengths` is the ruleset's. Not static, as all that is called more than once
 * here: the verifier checks such a function once.
 */
__noinline int policy_ask(__u64 ruleset, __u64 peer, __u32 port, __u32 protocol, __u32 lengths)
{
	struct cw_verdict_key key = { .ruleset = ruleset, .peer = peer };
	struct policy *p = policy_here();

	if (!p)
		return 0;
	if (lengths & 1)
		policy_find(p, &key);
	key.protocol = protocol;
	for (__u32 bits = 0; bits <= POLICY_PORT_BITS; bits++) {
		if (!(lengths >> bits & 1))
			continue;
		key.bits = bits;
		key.port = port & (0xffff0000U >> bits);
		policy_find(p, &key);
	}
	return 0;
}

static __always_inline int policy_denied(struct policy *p, __u8 tier, enum cw_reason reason)
{
	p->tier = tier + 1;
	p->rule = p->found.tier[tier].rule;
	return reason;
}

/* What the tiers make of what was found: admin first, then the namespaces', and baseline for whom that does not isolate. */
static __always_inline int policy_settle(struct policy *p, const struct cw_ruleset *rules)
{
	/* Pass and silence are alike in admin: the rest of the tier is of lower precedence, so it was not found. */
	__u8 admin = p->found.tier[0].action, namespace = p->found.tier[1].action, baseline = p->found.tier[2].action;

	if (admin == CW_DENY)
		return policy_denied(p, 0, CW_POLICY_ADMIN);
	if (admin != CW_ACCEPT) {
		if (namespace == CW_DENY)
			return policy_denied(p, 1, CW_POLICY_NAMESPACE);
		if (namespace != CW_ACCEPT && rules->isolates)
			return p->is_unknown ? CW_POLICY_UNKNOWN : CW_POLICY_ISOLATED;
		if (namespace != CW_ACCEPT && baseline == CW_DENY)
			return policy_denied(p, 2, CW_POLICY_BASELINE);
	}
	return p->is_unknown && rules->denies_known ? CW_POLICY_UNKNOWN : CW_POLICY_NEW;
}

/* What the pod's rules say: of what it dials, or of what dials it. CW_POLICY_NEW: it may pass; else why not. */
__noinline int policy_judge(__u32 dials)
{
	struct policy *p = policy_here();
	const struct cw_ruleset *rules;
	__u32 lengths, port;
	__u64 ruleset;

	if (!p)
		return CW_POLICY_CLOSED;
	p->rule = p->tier = 0;
	ruleset = p->ruleset = dials ? p->subject.egress : p->subject.ingress;
	if (!ruleset)
		return CW_POLICY_NEW;
	rules = ruleset == CW_CLOSED ? NULL : bpf_map_lookup_elem(&rulesets, &ruleset);
	if (!rules)
		return CW_POLICY_CLOSED;
	if (!p->is_named)
		policy_name(p);
	__builtin_memset(&p->found, 0, sizeof(p->found));
	port = p->talk == TALK_ECHO || p->talk == TALK_ONCE ? p->icmp : bpf_ntohs(dials ? p->peer.port : p->key.pod_port);
	lengths = p->has_ports ? rules->lengths : rules->lengths & 1;
	for (int i = 0; i < POLICY_PEERS; i++) {
		/* The last one is 0 and means everybody. */
		if (p->peers[i] || i == POLICY_PEERS - 1)
			policy_ask(ruleset, p->peers[i], port, p->key.protocol, lengths);
	}
	return policy_settle(p, rules);
}
