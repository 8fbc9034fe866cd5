/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors about packets that were translated: whoever sent the packet is told in its own words, so that path MTU
 * discovery works and nobody waits for the unreachable (RFC 5508, section 4).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "rewrite.h"
#include "tuple.h"

/* What is read of the quoted packet: its IP header without options, and as much behind that as RFC 792 asks for. */
union quote {
	struct {
		struct iphdr ip;
		__be16 ports[2];
		__be16 rest[2];
	} v4;
	struct {
		struct ipv6hdr ip;
		__be16 ports[2];
		__be16 rest[2];
	} v6;
	__be32 words[12];
};

/* An error that is being worked on. */
struct error {
	/* The flow in which the packet that it is about would be answered. */
	struct cw_tuple answer;
	/* The packet that it is about, as the error quotes it; and as it will. */
	union quote old, new;
};

/* Where the quoted packet begins: both kinds of ICMP have 8 bytes before it. */
static __always_inline __u32 error_quote_at(const struct packet *p)
{
	return p->transport + sizeof(struct icmp_header);
}

/*
 * Reads the packet that an error is about, and gives the flow it would be answered in: that flow's entry says who it came
 * from. False: it is about something that is not translated.
 */
static __always_inline bool error_read(struct __sk_buff *skb, const struct packet *p, struct error *error)
{
	struct cw_tuple *answer = &error->answer;
	union quote *quote = &error->old;

	__builtin_memset(answer, 0, sizeof(*answer));
	answer->hook = p->tuple.hook;
	if (p->v4) {
		if (bpf_skb_load_bytes(skb, error_quote_at(p), &quote->v4, sizeof(quote->v4)) || quote->v4.ip.ihl != 5 ||
		    quote->v4.ip.frag_off & bpf_htons(IP_OFFSET))
			return false;
		answer->protocol = quote->v4.ip.protocol;
		ip_from_v4(answer->source.ip, quote->v4.ip.daddr);
		ip_from_v4(answer->destination.ip, quote->v4.ip.saddr);
		answer->source.port = quote->v4.ports[1];
		answer->destination.port = quote->v4.ports[0];
	} else {
		if (bpf_skb_load_bytes(skb, error_quote_at(p), &quote->v6, sizeof(quote->v6)))
			return false;
		answer->protocol = quote->v6.ip.nexthdr;
		ip_copy(answer->source.ip, quote->v6.ip.daddr.in6_u.u6_addr32);
		ip_copy(answer->destination.ip, quote->v6.ip.saddr.in6_u.u6_addr32);
		answer->source.port = quote->v6.ports[1];
		answer->destination.port = quote->v6.ports[0];
	}
	return tuple_is_translated(answer->protocol);
}

/* The quoted packet as it was before it was translated: sent by `to->destination` to `to->source`. */
static __always_inline void error_requote(const struct packet *p, union quote *quote, const struct cw_nat *to)
{
	if (p->v4) {
		__be32 *ends = &quote->v4.ip.saddr, old[2] = { ends[0], ends[1] };

		ends[0] = to->destination.ip[3];
		ends[1] = to->source.ip[3];
		quote->v4.ip.check = rewrite_mend(quote->v4.ip.check, rewrite_change(old, ends));
		quote->v4.ports[0] = to->destination.port;
		quote->v4.ports[1] = to->source.port;
	} else {
		ip_copy(quote->v6.ip.saddr.in6_u.u6_addr32, to->destination.ip);
		ip_copy(quote->v6.ip.daddr.in6_u.u6_addr32, to->source.ip);
		quote->v6.ports[0] = to->destination.port;
		quote->v6.ports[1] = to->source.port;
	}
}

/*
 * Rewrites an error about a flow for whoever sent what it is about. Its own sender stays if that is seen by its own name:
 * as a router is by a backend that sees clients so.
 */
static __always_inline long error_rewrite(struct __sk_buff *skb, const struct packet *p, const struct cw_nat *to,
				     struct error *error, __u8 hops, bool sender_stays)
{
	__u32 check = p->transport + offsetof(struct icmp_header, checksum), at = error_quote_at(p);
	__be32 before[8], after[8];
	__s64 change;

	error->new = error->old;
	error_requote(p, &error->new, to);
	if (p->v4) {
		change = bpf_csum_diff(error->old.words, sizeof(error->old.v4), error->new.words, sizeof(error->new.v4), 0);
		before[0] = p->tuple.source.ip[3];
		before[1] = p->tuple.destination.ip[3];
		after[0] = sender_stays ? before[0] : to->source.ip[3];
		after[1] = to->destination.ip[3];
		return bpf_l4_csum_replace(skb, check, 0, change, 0) ?:
		       bpf_skb_store_bytes(skb, at, &error->new, sizeof(error->new.v4), 0) ?:
		       rewrite_v4_header(skb, p, after, rewrite_change(before, after), hops);
	}
	change = bpf_csum_diff(error->old.words, sizeof(error->old.v6), error->new.words, sizeof(error->new.v6), 0);
	ip_copy(before, p->tuple.source.ip);
	ip_copy(before + 4, p->tuple.destination.ip);
	ip_copy(after, sender_stays ? p->tuple.source.ip : to->source.ip);
	ip_copy(after + 4, to->destination.ip);
	return bpf_l4_csum_replace(skb, check, 0, change, 0) ?:
	       bpf_skb_store_bytes(skb, at, &error->new, sizeof(error->new.v6), 0) ?:
	       bpf_l4_csum_replace(skb, check, 0, bpf_csum_diff(before, 32, after, 32, 0), BPF_F_PSEUDO_HDR) ?:
	       rewrite_v6_header(skb, p, after, hops);
}
