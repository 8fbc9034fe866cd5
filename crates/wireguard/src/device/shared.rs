//! What all peers of a device share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::places::Places;
use super::{PeerId, Random, Transmit};
use crate::counters::Counters;
use crate::key::{LocalKey, Statics};

/// The device without its peers.
pub(super) struct Shared {
    pub(super) local: Option<Arc<LocalKey>>,
    /// Of all peers.
    pub(super) statics: Statics,
    pub(super) random: Random,
    /// Our numbers for sessions and handshakes under way, and whose they are.
    pub(super) indices: BTreeMap<u32, PeerId>,
    /// Where the peers are.
    pub(super) places: Places,
    pub(super) outbox: VecDeque<Transmit>,
    pub(super) counters: Counters,
    pub(super) mtu: usize,
}

impl Shared {
    pub(super) fn new(random: Random) -> Self {
        Self {
            local: None,
            statics: Statics::default(),
            random,
            indices: BTreeMap::new(),
            places: Places::default(),
            outbox: VecDeque::new(),
            counters: Counters::default(),
            mtu: 1420,
        }
    }

    /// 32 random bytes.
    pub(super) fn fresh(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        (self.random)(&mut bytes);
        bytes
    }

    /// Up to a third of a second, so that two devices do not go on disturbing each other in step.
    pub(super) fn jitter(&mut self) -> Duration {
        let mut bytes = [0; 2];
        (self.random)(&mut bytes);
        Duration::from_millis(u64::from(u16::from_le_bytes(bytes)) % 334)
    }

    /// A number nobody uses, now the peer's. Random, so that strangers cannot guess it.
    pub(super) fn new_index(&mut self, peer: PeerId) -> u32 {
        loop {
            let mut bytes = [0; 4];
            (self.random)(&mut bytes);
            let index = u32::from_le_bytes(bytes);
            if let std::collections::btree_map::Entry::Vacant(free) = self.indices.entry(index) {
                free.insert(peer);
                return index;
            }
        }
    }
}
