/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that go on where others end, for devices that have one place for a program: they see what those let pass.
 * Where nothing is in a slot, the call falls through.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CW_STAGES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} stages SEC(".maps");
