//! Changes off the wire: any bytes are either refused, or a change that reads the same when it is told again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(change) = wire::decode_change(bytes) {
        let again = wire::encode_change(&change).encode_to_vec();
        assert_eq!(wire::decode_change(&again), Ok(change));
    }
});
