//! Who is where: the peers at each address of the underlay.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::PeerId;

/// The peers at each address: mostly one; those that are reached over another stand where that one does.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<SocketAddr, Vec<PeerId>>);

impl Places {
    /// A peer is now there, and no longer where it was.
    pub(super) fn moved(&mut self, id: PeerId, was: Option<SocketAddr>, is: Option<SocketAddr>) {
        if let Some(was) = was
            && let Some(there) = self.0.get_mut(&was)
        {
            there.retain(|other| *other != id);
            if there.is_empty() {
                self.0.remove(&was);
            }
        }
        if let Some(is) = is {
            self.0.entry(is).or_default().push(id);
        }
    }

    /// Who is at this address, if that is one peer.
    pub(super) fn only(&self, at: SocketAddr) -> Option<PeerId> {
        match self.0.get(&at).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    /// Whether another peer is there.
    pub(super) fn is_anothers(&self, at: SocketAddr, id: PeerId) -> bool {
        self.0.get(&at).is_some_and(|there| there.iter().any(|other| *other != id))
    }
}
