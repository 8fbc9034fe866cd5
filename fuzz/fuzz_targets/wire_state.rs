//! State files: any bytes are either refused, or a world that reads the same when it is written again. The body is
//! also tried under a header that fits, so that the fuzzer does not have to guess a checksum.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use wire::state::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(saved) = decode(bytes) {
        let again = encode(&saved.world, &saved.places);
        assert_eq!(decode(&again).map(|s| (s.world, s.places)), Ok((saved.world, saved.places)));
    }
    if let Ok(body) = <wire::pb::Snapshot as prost::Message>::decode(bytes) {
        let mut world = model::World::default();
        for object in body.objects.into_iter().filter_map(|o| wire::parse_object(o).ok()) {
            world.apply(model::Change::Upsert(object));
        }
        let written = encode(&world, &BTreeMap::new());
        assert_eq!(decode(&written).map(|s| s.world), Ok(world));
    }
});
