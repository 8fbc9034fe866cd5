//! Where messages to a peer go, beside the plan: for peers that nobody can dial.
//!
//! The user-space device can do more here than the protocol asks for. The kernel's, and a process of ours from before that,
//! cannot: there a peer is made anew when it needs new keys, and signs of life are not sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::PublicKey;
use wireguard::{AllowedChange, PeerChange};

use super::{Backend, Device, DeviceError};
use crate::wireguard::uapi::SetRequest;

/// Among the counters of a device that passes on messages.
const PASSES_ON: &str = "relay_limited";

impl Device {
    /// Whether the device passes on messages between its peers, and sends signs of life.
    pub fn passes_on(&self) -> bool {
        *self.passes_on.get_or_init(|| match &self.backend {
            Backend::User { client, .. } => client.drops().is_ok_and(|drops| drops.contains_key(PASSES_ON)),
            Backend::Kernel(_) => false,
        })
    }

    /// Messages between any two of these peers are passed on, if the device can; between others they are not.
    pub fn pass_on(&self, peers: &BTreeSet<PublicKey>) -> Result<(), DeviceError> {
        if !self.passes_on() {
            return Ok(());
        }
        let there = self.status()?.peers.into_iter().map(|peer| PeerChange {
            public_key: peer.public_key,
            update_only: true,
            relay: Some(peers.contains(&PublicKey(peer.public_key))),
            ..PeerChange::default()
        });
        self.set(SetRequest { peers: there.collect(), ..SetRequest::default() })
    }

    /// Messages to the peer go there from now on, with new keys.
    pub fn point(&self, key: PublicKey, at: SocketAddr) -> Result<(), DeviceError> {
        let change =
            PeerChange { public_key: key.0, update_only: true, endpoint: Some(at), ..PeerChange::default() };
        if self.passes_on() {
            return self.change(PeerChange { renew: true, ..change });
        }
        let peers = self.status()?.peers;
        let Some(peer) = peers.into_iter().find(|peer| peer.public_key == key.0) else { return Ok(()) };
        if peer.last_handshake.is_none() {
            return self.change(change);
        }
        self.change(PeerChange { public_key: key.0, remove: true, ..PeerChange::default() })?;
        self.change(PeerChange {
            update_only: false,
            preshared_key: Some(*peer.preshared_key),
            keepalive: Some(peer.keepalive),
            replace_allowed_ips: true,
            allowed_ips: peer.allowed_ips.into_iter().map(AllowedChange::Add).collect(),
            ..change
        })
    }

    /// A sign of life for the peer goes there, and nothing else; `keys` are agreed on by way of there, if wanted. Only where
    /// [`Device::passes_on`].
    pub fn probe(&self, key: PublicKey, at: SocketAddr, keys: bool) -> Result<(), DeviceError> {
        self.change(PeerChange {
            public_key: key.0,
            update_only: true,
            probe: Some(at),
            renew: keys,
            ..PeerChange::default()
        })
    }

    fn change(&self, change: PeerChange) -> Result<(), DeviceError> {
        self.set(SetRequest { peers: vec![change], ..SetRequest::default() })
    }
}
