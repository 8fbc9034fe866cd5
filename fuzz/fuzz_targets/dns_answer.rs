//! Answers of anything at all from upstream servers: reading where a name leads never panics and keeps to its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve::dns::told;

fuzz_target!(|packet: &[u8]| {
    if let Some(told) = told(packet) {
        assert!(!told.ips.is_empty() && told.ips.len() <= 256);
        assert!(told.name.len() <= 255 && told.ttl <= i32::MAX.unsigned_abs());
    }
});
