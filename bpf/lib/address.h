/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as abi.h writes them. */
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IPV4_MAPPED bpf_htonl(0xffff)

static __always_inline void ip_from_v4(__be32 ip[4], __be32 v4)
{
	ip[0] = 0;
	ip[1] = 0;
	ip[2] = IPV4_MAPPED;
	ip[3] = v4;
}

static __always_inline bool ip_is_v4(const __be32 ip[4])
{
	return !ip[0] && !ip[1] && ip[2] == IPV4_MAPPED;
}

static __always_inline void ip_copy(__be32 to[4], const __be32 from[4])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* 127.0.0.1 or ::1 */
static __always_inline bool ip_is_localhost(const __be32 ip[4])
{
	return !ip[0] && !ip[1] &&
	       (ip[2] ? ip[2] == IPV4_MAPPED && ip[3] == bpf_htonl(0x7f000001) : ip[3] == bpf_htonl(1));
}

static __always_inline bool ip_equal(const __be32 a[4], const __be32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}
