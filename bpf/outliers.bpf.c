// SPDX-License-Identifier: Apache-2.0
/*
 * What becomes of TCP connects that services led to a backend. A backend is counted from its first connect that fails on:
 * all others cost a look-up that finds nothing. Who is to get no connects for it is decided elsewhere. Attached only where
 * somebody asks.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "lib/address.h"
#include "lib/count.h"
#include "lib/translation.h"

/* Both programs let everything pass. */
#define PROCEED 1
/* Whoever waits no longer, in a translation's milliseconds, has not given the backend the time to answer. */
#define PATIENCE 200
/* What the kernel tells us of a socket that is being watched. */
#define WATCHED (BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG)

/* By the backend's address and port. Not pinned: whoever reads it begins anew with every agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct cw_address);
	__type(value, struct cw_connects);
} connects SEC(".maps");

static __always_inline void backend_of(const struct cw_translation *translation, struct cw_address *backend)
{
	ip_copy(backend->ip, translation->ip);
	backend->port = translation->port;
}

/* A connect has failed. */
static __always_inline void failed(const struct cw_translation *translation, bool refused)
{
	struct cw_address backend = {};
	struct cw_connects *known;

	count(refused ? CW_CONNECT_REFUSED : CW_CONNECT_UNANSWERED);
	backend_of(translation, &backend);
	known = bpf_map_lookup_elem(&connects, &backend);
	if (!known) {
		struct cw_connects none = {};

		/* Another processor may have been faster. */
		bpf_map_update_elem(&connects, &backend, &none, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&connects, &backend);
	}
	if (known)
		__sync_fetch_and_add(refused ? &known->refused : &known->unanswered, 1);
}

/* A connect was answered. */
static __always_inline void established(const struct cw_translation *translation)
{
	struct cw_address backend = {};
	struct cw_connects *known;

	backend_of(translation, &backend);
	known = bpf_map_lookup_elem(&connects, &backend);
	if (known)
		__sync_fetch_and_add(&known->established, 1);
}

/* A connect that was not answered yet has come to an end. */
static __always_inline void ended(const struct bpf_sock_ops *ctx, const struct cw_translation *translation)
{
	__u32 waited = translation_clock(bpf_ktime_get_ns()) - translation->dialled;

	/* It was counted when its request was sent again; or the client had no patience. */
	if (ctx->total_retrans || !translation->dialled)
		return;
	/* A segment that came in was a reset. Else the client gave up after a while, or an error came soon. */
	failed(translation, ctx->segs_in || waited < PATIENCE);
}

static __always_inline void changed(struct bpf_sock_ops *ctx, const struct cw_translation *translation)
{
	if (ctx->args[0] != BPF_TCP_SYN_SENT)
		return;
	if (ctx->args[1] == BPF_TCP_ESTABLISHED)
		established(translation);
	else if (ctx->args[1] == BPF_TCP_CLOSE)
		ended(ctx, translation);
	/* Connections that were made are not watched: they cost nothing. Others ask for such calls only later, once one is made. */
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~WATCHED);
}

SEC("sockops")
int connect_watch(struct bpf_sock_ops *ctx)
{
	struct cw_translation *translation;
	struct bpf_sock *sk;

	/* Most calls are about something else. */
	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_STATE_CB &&
	    ctx->op != BPF_SOCK_OPS_RETRANS_CB)
		return PROCEED;
	sk = ctx->sk;
	if (!sk)
		return PROCEED;
	translation = bpf_sk_storage_get(&translations, sk, NULL, 0);
	if (!translation)
		return PROCEED;
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | WATCHED);
	else if (ctx->op == BPF_SOCK_OPS_STATE_CB)
		changed(ctx, translation);
	else if (ctx->state == BPF_TCP_SYN_SENT && ctx->total_retrans == 1)
		failed(translation, false);
	return PROCEED;
}

/* A socket is closed by its program, or ends with it: before an answer could come, that says nothing of the backend. */
SEC("cgroup/sock_release")
int connect_release(struct bpf_sock *sk)
{
	struct cw_translation *translation;

	if (sk->state != BPF_TCP_SYN_SENT)
		return PROCEED;
	translation = bpf_sk_storage_get(&translations, sk, NULL, 0);
	if (translation && translation_clock(bpf_ktime_get_ns()) - translation->dialled < PATIENCE)
		translation->dialled = 0;
	return PROCEED;
}

const char LICENSE[] SEC("license") = "Dual BSD/GPL";
