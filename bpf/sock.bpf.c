// SPDX-License-Identifier: Apache-2.0
/*
 * Services, where sockets are dialled: an address is exchanged for that of a backend before there is a packet, so
 * established connections cost nothing. What the program asked for is what it is shown afterwards.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/affinity.h"
#include "lib/count.h"
#include "lib/flow.h"
#include "lib/lb.h"
#include "lib/node_address.h"
#include "lib/translation.h"

#define REFUSE 0
#define PROCEED 1
#define ECONNREFUSED 111

/* Whether the kernel (5.18) lets us name the error; else a refused client sees EPERM. Set before loading. */
volatile const __u8 have_set_retval = 0;

/* The node's own network namespace (SO_NETNS_COOKIE), or 0: only there is `localhost` the node. Set before loading. */
volatile const __u64 node_netns = 0;

static __always_inline int refuse(void)
{
	if (have_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

static __always_inline void read_v4(const struct bpf_sock_addr *ctx, struct cw_address *address)
{
	ip_from_v4(address->ip, ctx->user_ip4);
	address->port = ctx->user_port;
}

static __always_inline void read_v6(const struct bpf_sock_addr *ctx, struct cw_address *address)
{
	address->ip[0] = ctx->user_ip6[0];
	address->ip[1] = ctx->user_ip6[1];
	address->ip[2] = ctx->user_ip6[2];
	address->ip[3] = ctx->user_ip6[3];
	address->port = ctx->user_port;
}

static __always_inline void write_v4(struct bpf_sock_addr *ctx, const __be32 ip[4], __be16 port)
{
	ctx->user_ip4 = ip[3];
	ctx->user_port = port;
}

static __always_inline void write_v6(struct bpf_sock_addr *ctx, const __be32 ip[4], __be16 port)
{
	ctx->user_ip6[0] = ip[0];
	ctx->user_ip6[1] = ip[1];
	ctx->user_ip6[2] = ip[2];
	ctx->user_ip6[3] = ip[3];
	ctx->user_port = port;
}

/* Whether ports of every node are dialled there. */
static __always_inline bool is_node(struct bpf_sock_addr *ctx, const __be32 ip[4])
{
	if (ip_is_localhost(ip) && bpf_get_netns_cookie(ctx) != node_netns)
		return false;
	return bpf_map_lookup_elem(&node_addresses, ip);
}

/* The ladder of what is dialled, or NULL when it is no service. */
static __always_inline struct cw_ladder *find_ladder(struct bpf_sock_addr *ctx, const struct cw_address *dialled,
						     __u32 protocol)
{
	struct cw_frontend key = { .port = dialled->port, .protocol = protocol };
	struct cw_ladder *ladder;

	ip_copy(key.ip, dialled->ip);
	ladder = bpf_map_lookup_elem(&frontends, &key);
	if (!ladder && is_node(ctx, dialled->ip)) {
		/* A port of every node is written down once, under the family's unspecified address. */
		if (!ip_is_v4(key.ip))
			key.ip[0] = key.ip[1] = key.ip[2] = 0;
		key.ip[3] = 0;
		ladder = bpf_map_lookup_elem(&frontends, &key);
	}
	if (!ladder)
		count(CW_LB_NO_FRONTEND);
	return ladder;
}

/* Chooses for a socket that connects, and remembers on the socket what for. */
static __always_inline int connect_to(struct bpf_sock_addr *ctx, const struct cw_address *dialled,
				      struct cw_backend **chosen)
{
	struct cw_translation *translation;
	struct cw_ladder *ladder;
	__u64 now;

	ladder = find_ladder(ctx, dialled, ctx->protocol);
	if (!ladder) {
		/* A datagram socket may connect again: to no service this time. */
		bpf_sk_storage_delete(&translations, ctx->sk);
		return PROCEED;
	}
	now = bpf_ktime_get_ns();
	*chosen = affinity_choose(bpf_get_netns_cookie(ctx), dialled, ctx->protocol, ladder, now);
	if (!*chosen)
		return refuse();
	translation = bpf_sk_storage_get(&translations, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (translation) {
		translation->vip = *dialled;
		ip_copy(translation->ip, (*chosen)->ip);
		translation->port = (*chosen)->port;
		translation->dialled = translation_clock(now);
	}
	return PROCEED;
}

/* Chooses for one datagram of a socket that does not connect. */
static __always_inline int send_to(struct bpf_sock_addr *ctx, const struct cw_address *dialled,
				   struct cw_backend **chosen)
{
	struct cw_ladder *ladder = find_ladder(ctx, dialled, IPPROTO_UDP);

	if (!ladder)
		return PROCEED;
	*chosen = flow_choose(bpf_get_socket_cookie(ctx), bpf_get_netns_cookie(ctx), dialled, ladder, bpf_ktime_get_ns());
	return *chosen ? PROCEED : refuse();
}

/* An IPv4 socket cannot reach an IPv6 backend. */
static __always_inline int redirect_v4(struct bpf_sock_addr *ctx, int verdict, const struct cw_backend *chosen)
{
	if (!chosen)
		return verdict;
	if (!ip_is_v4(chosen->ip)) {
		count(CW_LB_FAMILY);
		return refuse();
	}
	write_v4(ctx, chosen->ip, chosen->port);
	return PROCEED;
}

/* An IPv6 socket reaches an IPv4 backend only if it dialled a mapped address. */
static __always_inline int redirect_v6(struct bpf_sock_addr *ctx, int verdict, const struct cw_address *dialled,
				       const struct cw_backend *chosen)
{
	if (!chosen)
		return verdict;
	if (ip_is_v4(chosen->ip) != ip_is_v4(dialled->ip)) {
		count(CW_LB_FAMILY);
		return refuse();
	}
	write_v6(ctx, chosen->ip, chosen->port);
	return PROCEED;
}

static __always_inline bool is_balanced(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct cw_address dialled = {};
	struct cw_backend *chosen = NULL;
	int verdict;

	if (!is_balanced(ctx->protocol)) {
		count(CW_LB_NO_FRONTEND);
		return PROCEED;
	}
	read_v4(ctx, &dialled);
	verdict = connect_to(ctx, &dialled, &chosen);
	return redirect_v4(ctx, verdict, chosen);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct cw_address dialled = {};
	struct cw_backend *chosen = NULL;
	int verdict;

	if (!is_balanced(ctx->protocol)) {
		count(CW_LB_NO_FRONTEND);
		return PROCEED;
	}
	read_v6(ctx, &dialled);
	verdict = connect_to(ctx, &dialled, &chosen);
	return redirect_v6(ctx, verdict, &dialled, chosen);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct cw_address dialled = {};
	struct cw_backend *chosen = NULL;
	int verdict;

	read_v4(ctx, &dialled);
	verdict = send_to(ctx, &dialled, &chosen);
	return redirect_v4(ctx, verdict, chosen);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct cw_address dialled = {};
	struct cw_backend *chosen = NULL;
	int verdict;

	read_v6(ctx, &dialled);
	verdict = send_to(ctx, &dialled, &chosen);
	return redirect_v6(ctx, verdict, &dialled, chosen);
}

/* The virtual address behind what a connected socket sees, or NULL. */
static __always_inline const struct cw_address *dialled_by(struct bpf_sock_addr *ctx, const struct cw_address *seen)
{
	struct cw_translation *translation = bpf_sk_storage_get(&translations, ctx->sk, NULL, 0);

	if (!translation || translation->port != seen->port || !ip_equal(translation->ip, seen->ip))
		return NULL;
	return &translation->vip;
}

/* The virtual address behind the sender of a datagram, or NULL. */
static __always_inline const struct cw_address *reply_to(struct bpf_sock_addr *ctx, const struct cw_address *seen)
{
	struct cw_flow_key key = { .cookie = bpf_get_socket_cookie(ctx), .address = *seen };
	const struct cw_address *vip = bpf_map_lookup_elem(&replies, &key);

	if (!vip)
		vip = dialled_by(ctx, seen);
	count(vip ? CW_REPLY_TRANSLATED : CW_REPLY_PASSED);
	return vip;
}

static __always_inline const struct cw_address *peer_of(struct bpf_sock_addr *ctx, const struct cw_address *seen)
{
	const struct cw_address *vip = dialled_by(ctx, seen);

	count(vip ? CW_PEER_TRANSLATED : CW_PEER_PASSED);
	return vip;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct cw_address seen = {};
	const struct cw_address *vip;

	read_v4(ctx, &seen);
	vip = reply_to(ctx, &seen);
	if (vip)
		write_v4(ctx, vip->ip, vip->port);
	return PROCEED;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct cw_address seen = {};
	const struct cw_address *vip;

	read_v6(ctx, &seen);
	vip = reply_to(ctx, &seen);
	if (vip)
		write_v6(ctx, vip->ip, vip->port);
	return PROCEED;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct cw_address seen = {};
	const struct cw_address *vip;

	read_v4(ctx, &seen);
	vip = peer_of(ctx, &seen);
	if (vip)
		write_v4(ctx, vip->ip, vip->port);
	return PROCEED;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct cw_address seen = {};
	const struct cw_address *vip;

	read_v6(ctx, &seen);
	vip = peer_of(ctx, &seen);
	if (vip)
		write_v6(ctx, vip->ip, vip->port);
	return PROCEED;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
