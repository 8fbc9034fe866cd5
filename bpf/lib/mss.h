/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The largest segments of TCP connections through the mesh: who opens one says how large they may be to come to it (RFC 9293,
 * section 3.7.1), and is not to say more than the way carries. So nobody has to be told later that a packet was too large,
 * and connections go on where that is told in vain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"
#include "address.h"
#include "mtu.h"
#include "tuple.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
/* Bytes of that option. */
#define MSS_LENGTH 4
/* As many bytes of options as a header has room for. */
#define TCP_OPTIONS 40

/* What a packet says of itself. */
struct mss_packet {
	/* Who is at the other end of the way. */
	__be32 ip[4];
	/* Where TCP's header is. */
	__u32 tcp;
	/* Bytes of the headers that every segment has. */
	__u32 headers;
};

/* Changes what one option says, if that is more. `at` is where the size is. Not 0: the kernel could not. */
__noinline int mss_write(struct __sk_buff *skb, __u32 tcp, __u32 at, __u32 most)
{
	__u32 check = tcp + offsetof(struct tcphdr, check);
	__be16 size, limit = bpf_htons(most);
	__u16 from, to;

	if (bpf_skb_load_bytes(skb, at, &size, sizeof(size)) || bpf_ntohs(size) <= most)
		return 0;
	/* Checksums add words: at an odd place the two bytes are of two of them, each in the other's half (RFC 1071, 2 B). */
	from = (at - tcp) & 1 ? bpf_ntohs(size) : size;
	to = (at - tcp) & 1 ? bpf_ntohs(limit) : limit;
	return bpf_l4_csum_replace(skb, check, from, to, sizeof(to)) ?: bpf_skb_store_bytes(skb, at, &limit, sizeof(limit), 0);
}

/*
 * Writes into a segment that it wants no segments larger than this, if it says more; one that says nothing is left as it is:
 * then 536 (1220) bytes hold. Of several options who reads takes one, so all are changed. Not 0: the kernel could not.
 */
__noinline int mss_lower(struct __sk_buff *skb, __u32 tcp, __u32 most)
{
	struct { __u8 kind, length; } option;
	__u32 at = tcp + sizeof(struct tcphdr), end;
	__u8 words;

	if (bpf_skb_load_bytes(skb, tcp + 12, &words, sizeof(words)))
		return 0;
	/* The upper half of the byte: the header's length. */
	end = tcp + (words >> 4) * 4;
	for (int i = 0; i < TCP_OPTIONS; i++) {
		/* Nothing that matters is shorter; the packet may end there, too. */
		if (at + MSS_LENGTH > end || bpf_skb_load_bytes(skb, at, &option, sizeof(option)) ||
		    option.kind == TCP_OPTION_END)
			return 0;
		if (option.kind == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		/* What comes behind an option without a right length is anybody's guess. */
		if (option.length < sizeof(option) || (option.kind == TCP_OPTION_MSS && option.length != MSS_LENGTH))
			return 0;
		if (option.kind == TCP_OPTION_MSS && mss_write(skb, tcp, at + sizeof(option), most))
			return -1;
		at += option.length;
	}
	return 0;
}

/* Finds TCP's header, and the other end: who sent the packet if it `came`, else whom it is for. False: there is none. */
static __always_inline bool mss_read_v4(struct __sk_buff *skb, __u32 ip, bool came, struct mss_packet *p)
{
	struct iphdr header;

	if (bpf_skb_load_bytes(skb, ip, &header, sizeof(header)) || header.protocol != IPPROTO_TCP ||
	    header.version != 4 || header.ihl < 5 || header.frag_off & bpf_htons(IP_OFFSET | IP_MORE))
		return false;
	ip_from_v4(p->ip, came ? header.saddr : header.daddr);
	p->tcp = ip + header.ihl * 4;
	p->headers = sizeof(struct iphdr) + sizeof(struct tcphdr);
	return true;
}

static __always_inline bool mss_read_v6(struct __sk_buff *skb, __u32 ip, bool came, struct mss_packet *p)
{
	struct { __u8 next, length; } extension;
	struct ipv6hdr header;
	__u8 next;

	if (bpf_skb_load_bytes(skb, ip, &header, sizeof(header)) || header.version != 6)
		return false;
	ip_copy(p->ip, came ? header.saddr.in6_u.u6_addr32 : header.daddr.in6_u.u6_addr32);
	p->tcp = ip + sizeof(header);
	p->headers = sizeof(header) + sizeof(struct tcphdr);
	next = header.nexthdr;
	for (int i = 0; i <= TUPLE_EXTENSIONS; i++) {
		if (next == IPPROTO_TCP)
			return true;
		if ((next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) ||
		    bpf_skb_load_bytes(skb, p->tcp, &extension, sizeof(extension)))
			return false;
		next = extension.next;
		p->tcp += (extension.length + 1) * 8;
	}
	return false;
}

/* Whether a packet opens a connection through the mesh, or takes part in that. */
static __always_inline bool mss_opens(struct __sk_buff *skb, __u32 ip, bool came, struct mss_packet *p)
{
	bool found = false;
	__u8 flags;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		found = mss_read_v4(skb, ip, came, p);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		found = mss_read_v6(skb, ip, came, p);
	return found && !bpf_skb_load_bytes(skb, p->tcp + 13, &flags, sizeof(flags)) && flags & TCP_SYN;
}

/* Holds such a packet to what the way carries. */
static __always_inline void mss_limit(struct __sk_buff *skb, const struct mss_packet *p)
{
	__u32 mtu = mtu_to(p->ip);

	if (mtu > p->headers)
		mss_lower(skb, p->tcp, mtu - p->headers);
}
