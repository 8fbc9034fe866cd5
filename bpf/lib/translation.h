/* SPDX-License-Identifier: Apache-2.0 */
/* What a connected socket dialled and where it was led. It lives and dies with the socket. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct cw_translation);
} translations SEC(".maps");

/* A time in nanoseconds as translations have it; never 0. */
static __always_inline __u32 translation_clock(__u64 now)
{
	return (__u32)(now >> 20) ?: 1;
}
