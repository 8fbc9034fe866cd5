//! MeshNodes as an API server may hand them over: whatever is in one, it is held or said to be unreadable, and what is held of its
//! status is read again as it was written.
#![no_main]

use cluster::kubernetes::meshnode::{Held, MeshNode, MeshNodeStatus};
use libfuzzer_sys::fuzz_target;
use model::{GenerationId, Reach};

fuzz_target!(|text: &str| {
    let Ok(object) = serde_json::from_str::<MeshNode>(text) else { return };
    let held = Held::from(&object);
    let Some(reported) = &held.reported else { return };
    assert!(reported.generations.len() <= GenerationId::MOST);
    assert!(reported.reach.sees.len() <= Reach::MOST_SEEN);
    assert!(reported.reach.relayed_by.len() <= Reach::MOST_RELAYS);
    let again = MeshNode { status: Some(MeshNodeStatus::from(reported)), ..object };
    assert_eq!(Held::from(&again).reported.as_ref(), Some(reported));
});
