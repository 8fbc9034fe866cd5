// SPDX-License-Identifier: Apache-2.0
/* For the lab: keeps nodes of one location apart, as a broken switch would. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cw_cut);
	__type(value, __u8);
} cuts SEC(".maps");

SEC("classifier")
int segment(struct __sk_buff *skb)
{
	struct packet_ends ends;
	struct cw_cut key;

	if (packet_parse(skb, &ends) == PACKET_IP) {
		ip_copy(key.source, ends.source);
		ip_copy(key.destination, ends.destination);
		if (bpf_map_lookup_elem(&cuts, &key)) {
			count(CW_SEGMENT_CUT);
			return TC_ACT_SHOT;
		}
	}
	count(CW_SEGMENT_PASSED);
	return TC_ACT_UNSPEC;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
