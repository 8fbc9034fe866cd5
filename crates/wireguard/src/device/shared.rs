//! What all peers of a device share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::places::Places;
use super::{PeerId, Random, Transmit};
use crate::cookie::Checker;
use crate::counters::Counters;
use crate::key::{LocalKey, Statics};

/// One of the device's own keys, with what follows from it.
pub(super) struct Own {
    pub(super) key: Arc<LocalKey>,
    pub(super) checker: Checker,
    /// Of all peers' keys.
    pub(super) statics: Statics,
}

impl Own {
    /// A key, and what it has in common with those of peers.
    pub(super) fn new<'a>(secret: [u8; 32], peers: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let key = Arc::new(LocalKey::new(secret));
        let checker = Checker::new(key.public());
        let mut statics = Statics::default();
        for public in peers {
            statics.add(&key, public);
        }
        Self { key, checker, statics }
    }
}

/// The device without its peers.
pub(super) struct Shared {
    /// The device's own keys: the one in use, then the one that is believed beside it while the former changes.
    pub(super) own: Vec<Own>,
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
            own: Vec::new(),
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
