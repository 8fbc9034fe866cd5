//! Echo messages off a raw socket: any bytes are either refused, or a message within its limits.
#![no_main]

use kernel::icmp::{MAX_PAYLOAD, parse_v4, parse_v6};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for heard in [parse_v4(bytes), parse_v6([0; 16].into(), bytes)].into_iter().flatten() {
        assert!(heard.payload.len() <= MAX_PAYLOAD);
    }
});
