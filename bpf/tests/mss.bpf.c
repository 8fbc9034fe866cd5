// SPDX-License-Identifier: Apache-2.0
#include <linux/if_ether.h>

#include "../lib/mss.h"
#include "test.h"

/* 10.2.0.0/16 and fd000002::/32 are behind narrow ways. */
#define HERE V4(10, 1, 0, 2)
#define NARROW V4(10, 2, 0, 2)
#define WIDE V4(10, 3, 0, 2)
#define HERE_V6 0xfd000001
#define NARROW_V6 0xfd000002
#define WIDE_V6 0xfd000003

#define SYN TCP_SYN
#define MSS(size) 2, 4, (size) >> 8, (size) & 0xff
#define NOP 1
#define TIMESTAMPS 8, 10, 1, 2, 3, 4, 0, 0, 0, 0

struct segment {
	__be16 ports[2];
	__be32 numbers[2];
	__u8 length, flags;
	__be16 window;
	__sum16 check;
	__be16 urgent;
	__u8 options[TCP_OPTIONS];
};

/* Whether the packet came by the mesh, or leaves by it. */
__u32 came;

static __always_inline int fill(void)
{
	struct cw_prefix all = {}, v4 = { .length = 96 + 16 }, v6 = { .length = 32, .ip = { bpf_htonl(NARROW_V6) } };
	__u32 wide = 1420, narrow_v4 = 1340, narrow_v6 = 1300;

	ip_from_v4(v4.ip, V4(10, 2, 0, 0));
	ASSERT(!bpf_map_update_elem(&mtus, &all, &wide, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&mtus, &v4, &narrow_v4, BPF_ANY));
	ASSERT(!bpf_map_update_elem(&mtus, &v6, &narrow_v6, BPF_ANY));
	return 0;
}

/* What TCP's checksum covers beside the segment: each word once, in whatever order. */
static __always_inline __s64 pseudo(const __be32 *ends, __u32 bytes)
{
	__be32 rest[2] = { bpf_htonl(sizeof(struct segment)), bpf_htonl(IPPROTO_TCP) };
	__s64 sum = bpf_csum_diff(NULL, 0, rest, sizeof(rest), 0);

	return bytes == 8 ? bpf_csum_diff(NULL, 0, (__be32 *)ends, 8, sum) : bpf_csum_diff(NULL, 0, (__be32 *)ends, 32, sum);
}

static __always_inline __u16 folded(__s64 sum)
{
	__u64 all = (__u32)sum;

	all = (all & 0xffff) + (all >> 16);
	all = (all & 0xffff) + (all >> 16);
	return all;
}

static __always_inline int write(struct __sk_buff *skb, int at, __s64 sum, __u8 flags, const __u8 *options)
{
	struct segment segment = { .ports = { bpf_htons(40000), bpf_htons(80) }, .length = 15 << 4, .flags = flags };

	__builtin_memcpy(segment.options, options, TCP_OPTIONS);
	segment.check = ~folded(bpf_csum_diff(NULL, 0, (__be32 *)&segment, sizeof(segment), sum));
	bpf_skb_store_bytes(skb, at, &segment, sizeof(segment), 0);
	return at + sizeof(segment);
}

static __always_inline int tcp_v4(struct __sk_buff *skb, __be32 from, __be32 to, __u8 flags, __be16 fragment,
				  const __u8 *options)
{
	struct iphdr header = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .frag_off = fragment,
				.saddr = from, .daddr = to };
	__be32 ends[2] = { from, to };
	int at = packet_ethernet(skb, ETH_P_IP);

	bpf_skb_store_bytes(skb, at, &header, sizeof(header), 0);
	return write(skb, at + sizeof(header), pseudo(ends, 8), flags, options);
}

/* With so many extension headers of 8 bytes, each of this kind. */
static __always_inline int tcp_v6(struct __sk_buff *skb, __u32 from, __u32 to, int extensions, __u8 kind,
				  const __u8 *options)
{
	__be32 ends[8] = { bpf_htonl(from), 0, 0, 0, bpf_htonl(to), 0, 0, 0 };
	__u8 next = extensions ? kind : IPPROTO_TCP;
	int at = packet_ipv6_at(skb, packet_ethernet(skb, ETH_P_IPV6), ends, ends + 4);

	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &next, sizeof(next), 0);
	for (int i = 0; i < extensions; i++) {
		__u8 extension[8] = { i + 1 < extensions ? kind : IPPROTO_TCP };

		bpf_skb_store_bytes(skb, at, extension, sizeof(extension), 0);
		at += sizeof(extension);
	}
	return write(skb, at, pseudo(ends, 32), SYN, options);
}

/* Whether the two bytes there say this, and the checksum is right. `at` is counted from the first option. */
static __always_inline int says(struct __sk_buff *skb, int tcp, int at, __u16 size)
{
	struct segment segment;
	__be32 ends[8] = {};
	__s64 sum;
	__be16 said;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		ASSERT(!bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), ends, 8));
		sum = pseudo(ends, 8);
	} else {
		ASSERT(!bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), ends, 32));
		sum = pseudo(ends, 32);
	}
	ASSERT(!bpf_skb_load_bytes(skb, tcp + 20 + at, &said, sizeof(said)));
	ASSERT(said == bpf_htons(size));
	ASSERT(!bpf_skb_load_bytes(skb, tcp, &segment, sizeof(segment)));
	ASSERT(folded(bpf_csum_diff(NULL, 0, (__be32 *)&segment, sizeof(segment), sum)) == 0xffff);
	return 0;
}

#define IPV4 (ETH_HLEN + 20)
#define IPV6 (ETH_HLEN + 40)

/* A packet with these options: what the two bytes at a place say afterwards. */
#define CASE(name, write_packet, tcp, at, size, ...)                                                                   \
	SETUP(name) { return fill(); }                                                                                 \
	PACKET(name)                                                                                                   \
	{                                                                                                              \
		static const __u8 options[TCP_OPTIONS] = { __VA_ARGS__ };                                              \
                                                                                                                       \
		return write_packet;                                                                                   \
	}                                                                                                              \
	CHECK(name) { return says(skb, tcp, at, size); }

#define V4_TO(to, flags) tcp_v4(skb, HERE, to, flags, 0, options)
#define V6_TO(to) tcp_v6(skb, HERE_V6, to, 0, 0, options)

CASE(v4_narrow, V4_TO(NARROW, SYN), IPV4, 2, 1300, MSS(1460))
CASE(v4_wide, V4_TO(WIDE, SYN), IPV4, 2, 1380, MSS(1460))
CASE(v4_at_the_limit, V4_TO(NARROW, SYN), IPV4, 2, 1300, MSS(1300))
CASE(v4_one_above, V4_TO(NARROW, SYN), IPV4, 2, 1300, MSS(1301))
CASE(v4_not_raised, V4_TO(NARROW, SYN), IPV4, 2, 1299, MSS(1299))
CASE(v4_answer, V4_TO(NARROW, SYN | TCP_ACK), IPV4, 2, 1300, MSS(8960))
CASE(v4_largest, V4_TO(NARROW, SYN), IPV4, 2, 1300, MSS(0xffff))
CASE(v6_narrow, V6_TO(NARROW_V6), IPV6, 2, 1240, MSS(1440))
CASE(v6_wide, V6_TO(WIDE_V6), IPV6, 2, 1360, MSS(1440))
CASE(v6_not_raised, V6_TO(NARROW_V6), IPV6, 2, 1220, MSS(1220))
CASE(v6_extended, tcp_v6(skb, HERE_V6, NARROW_V6, 2, IPPROTO_DSTOPTS, options), IPV6 + 16, 2, 1240, MSS(1440))
CASE(v6_fragment, tcp_v6(skb, HERE_V6, NARROW_V6, 1, IPPROTO_FRAGMENT, options), IPV6 + 8, 2, 1440, MSS(1440))

/* Wherever it stands: at an even place, at an odd one, the last. */
CASE(second, V4_TO(NARROW, SYN), IPV4, 12, 1300, TIMESTAMPS, MSS(1460))
CASE(after_two_nops, V4_TO(NARROW, SYN), IPV4, 4, 1300, NOP, NOP, MSS(1460))
CASE(after_a_nop, V4_TO(NARROW, SYN), IPV4, 3, 1300, NOP, MSS(1460))
CASE(after_three_v6, V6_TO(NARROW_V6), IPV6, 5, 1240, NOP, NOP, NOP, MSS(1440))
CASE(last, V4_TO(NARROW, SYN), IPV4, 38, 1300, 3, 36, [36] = 2, 4, 5, 180)
CASE(last_after_nops, V4_TO(NARROW, SYN), IPV4, 38, 1300, [0 ... 35] = NOP, 2, 4, 5, 180)
CASE(twice_the_first, V4_TO(NARROW, SYN), IPV4, 2, 1300, MSS(1460), MSS(1460))
CASE(twice_the_second, V4_TO(NARROW, SYN), IPV4, 6, 1300, MSS(1460), MSS(1460))

/* Nothing is made up, nothing is guessed. */
CASE(absent, V4_TO(NARROW, SYN), IPV4, 0, 0x080a, TIMESTAMPS)
CASE(all_nops, V4_TO(NARROW, SYN), IPV4, 38, 0x0101, [0 ... 39] = NOP)
CASE(behind_the_end, V4_TO(NARROW, SYN), IPV4, 3, 1460, 0, MSS(1460))
CASE(too_short, V4_TO(NARROW, SYN), IPV4, 2, 1460, 2, 3, 5, 180)
CASE(too_long, V4_TO(NARROW, SYN), IPV4, 2, 1460, 2, 5, 5, 180)
CASE(without_a_length, V4_TO(NARROW, SYN), IPV4, 4, 1460, 8, 0, MSS(1460))
CASE(with_length_1, V4_TO(NARROW, SYN), IPV4, 4, 1460, 8, 1, MSS(1460))
CASE(beyond_the_header, V4_TO(NARROW, SYN), IPV4, 38, 0x0204, 3, 38, [38] = 2, 4)
CASE(cut_short, V4_TO(NARROW, SYN), IPV4, 38, 0x0405, 3, 37, [37] = 2, 4, 5)
CASE(no_syn, V4_TO(NARROW, TCP_ACK), IPV4, 2, 1460, MSS(1460))
CASE(first_fragment, tcp_v4(skb, HERE, NARROW, SYN, bpf_htons(IP_MORE), options), IPV4, 2, 1460, MSS(1460))
CASE(later_fragment, tcp_v4(skb, HERE, NARROW, SYN, bpf_htons(8), options), IPV4, 2, 1460, MSS(1460))

/* Of what leaves the other end is whom it is for, of what came who sent it. */
CASE(leaves_from_narrow, tcp_v4(skb, NARROW, HERE, SYN, 0, options), IPV4, 2, 1380, MSS(1460))
SETUP(comes_from_narrow) { came = true; return fill(); }
PACKET(comes_from_narrow)
{
	static const __u8 options[TCP_OPTIONS] = { MSS(1460) };

	return tcp_v4(skb, NARROW, HERE, SYN, 0, options);
}
CHECK(comes_from_narrow) { return says(skb, IPV4, 2, 1300); }

/* The header says that it is shorter: what is behind is data. */
PACKET(data)
{
	static const __u8 options[TCP_OPTIONS] = { NOP, NOP, NOP, NOP, MSS(1460) };
	int length = tcp_v4(skb, HERE, NARROW, SYN, 0, options);
	__u8 words = 6 << 4;

	bpf_skb_store_bytes(skb, IPV4 + 12, &words, sizeof(words), 0);
	return length;
}
SETUP(data) { return fill(); }
CHECK(data)
{
	__be16 said;

	ASSERT(!bpf_skb_load_bytes(skb, IPV4 + 26, &said, sizeof(said)) && said == bpf_htons(1460));
	return 0;
}

/* The packet ends before its header does. */
SETUP(truncated) { return fill(); }
PACKET(truncated)
{
	static const __u8 options[TCP_OPTIONS] = { MSS(1460) };

	return tcp_v4(skb, HERE, NARROW, SYN, 0, options) - 37;
}
CHECK(truncated)
{
	__u8 said;

	ASSERT(!bpf_skb_load_bytes(skb, IPV4 + 22, &said, sizeof(said)) && said == 1460 >> 8);
	return 0;
}

/* Nobody has said yet how much gets through. */
PACKET(nothing_known)
{
	static const __u8 options[TCP_OPTIONS] = { MSS(1460) };

	return tcp_v4(skb, HERE, NARROW, SYN, 0, options);
}
CHECK(nothing_known) { return says(skb, IPV4, 2, 1460); }

SEC("classifier")
int mss(struct __sk_buff *skb)
{
	struct mss_packet p = {};

	if (mss_opens(skb, ETH_HLEN, came, &p))
		mss_limit(skb, &p);
	return 0;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
