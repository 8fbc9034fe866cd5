//! What the operator says: keys, peers, ranges; and what he is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::relay::Allowance;
use super::{Device, PeerId};
use crate::cookie::Checker;
use crate::counters::DropReason;
use crate::key::{LocalKey, Statics};
use crate::time::Now;

/// What is to change about a peer. What is not said stays.
#[derive(Debug, Clone, Default)]
pub struct PeerChange {
    /// Whose.
    pub public_key: [u8; 32],
    /// Remove it.
    pub remove: bool,
    /// Change it only if it exists.
    pub update_only: bool,
    /// The pre-shared key; all zeroes for none.
    pub preshared_key: Option<[u8; 32]>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between packets that keep a NAT's mapping open; 0 for none.
    pub keepalive: Option<u16>,
    /// Forget its ranges first.
    pub replace_allowed_ips: bool,
    /// Its ranges.
    pub allowed_ips: Vec<AllowedChange>,
    /// Whether messages between it and other such peers are passed on.
    pub relay: Option<bool>,
    /// Another place where it may be: it is sent a sign of life there, once.
    pub probe: Option<SocketAddr>,
    /// Make new keys now, by way of the other place if there is one.
    pub renew: bool,
}

/// A change to a peer's ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedChange {
    /// The range is now its own, whoever had it before.
    Add(IpNet),
    /// The range is no longer its own.
    Remove(IpNet),
}

/// What is known about a peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Its public key.
    pub public_key: [u8; 32],
    /// The pre-shared key; all zeroes for none.
    pub preshared_key: Zeroizing<[u8; 32]>,
    /// Where it is, or was last heard.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between packets that keep a NAT's mapping open; 0 for none.
    pub keepalive: u16,
    /// When keys were last agreed on, since 1970.
    pub last_handshake: Option<Duration>,
    /// Bytes received, as they were on the underlay.
    pub rx_bytes: u64,
    /// Bytes sent, as they were on the underlay.
    pub tx_bytes: u64,
    /// Its ranges.
    pub allowed_ips: Vec<IpNet>,
}

impl AllowedChange {
    fn trunc(self) -> Self {
        match self {
            Self::Add(range) => Self::Add(range.trunc()),
            Self::Remove(range) => Self::Remove(range.trunc()),
        }
    }
}

impl Device {
    /// Sets the device's own key, or removes it. A new key ends all sessions; the same one again changes nothing.
    pub fn set_key(&mut self, secret: Option<[u8; 32]>) {
        if self.shared.local.as_ref().map(|key| *key.secret()) == secret {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.forget_keys(&mut self.shared);
        }
        self.shared.local = secret.map(|secret| Arc::new(LocalKey::new(secret)));
        self.checker = self.shared.local.as_ref().map(|key| Checker::new(key.public()));
        if let Some(own) = self.shared.local.as_ref().map(|key| *key.public()) {
            if self.has_peer(&own) {
                self.shared.counters.add(DropReason::OwnKey, 1);
            }
            self.remove_peer(&own);
        }
        self.shared.statics = Statics::default();
        if let Some(local) = &self.shared.local {
            for public in self.by_key.keys() {
                self.shared.statics.add(local, public);
            }
        }
    }

    /// Changes a peer, or makes it. Its sessions stay, except when it is removed.
    pub fn change_peer(&mut self, change: &PeerChange, now: Now) {
        if change.remove {
            return self.remove_peer(&change.public_key);
        }
        if self.shared.local.as_ref().is_some_and(|key| *key.public() == change.public_key) {
            // We are not our own peer; Linux skips it too.
            return self.shared.counters.add(DropReason::OwnKey, 1);
        }
        let id = match self.by_key.get(&change.public_key) {
            Some(id) => *id,
            None if change.update_only => return,
            None => self.add_peer(change.public_key),
        };
        let peer = self.peers.get_mut(&id).expect("keys belong to peers that exist");
        if let Some(psk) = change.preshared_key {
            peer.psk = Zeroizing::new(psk);
        }
        if change.endpoint.is_some() {
            peer.set_remote(change.endpoint, &mut self.shared);
        }
        if let Some(relay) = change.relay {
            peer.relay = relay.then(|| peer.relay.unwrap_or_else(|| Allowance::new(now.uptime)));
        }
        let named = |wanted: fn(IpNet) -> AllowedChange, range: IpNet| {
            change.allowed_ips.iter().any(|change| change.trunc() == wanted(range))
        };
        self.allowed.retain(|range, owner| {
            owner != id
                || named(AllowedChange::Add, range)
                || !(change.replace_allowed_ips || named(AllowedChange::Remove, range))
        });
        for range in &change.allowed_ips {
            if let AllowedChange::Add(range) = range {
                let former = self.allowed.insert(*range, id);
                if former.is_some_and(|former| former != id) {
                    self.shared.counters.add(DropReason::RangeTaken, 1);
                }
            }
        }
        if let Some(seconds) = change.keepalive {
            let interval = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            let was = std::mem::replace(&mut peer.timers.interval, interval);
            match interval {
                None => peer.timers.persistent = None,
                Some(_) if was.is_none() => peer.timers.persistent = Some(now.uptime),
                Some(_) => {}
            }
        }
        match change.probe {
            by if change.renew => peer.renew(by, &mut self.shared, now),
            Some(remote) => peer.probe(remote, &mut self.shared, now),
            None => {}
        }
        // What waits may have waited for this.
        peer.send_staged(&mut self.shared, now);
    }

    /// Removes all peers.
    pub fn remove_peers(&mut self) {
        let keys: Vec<[u8; 32]> = self.by_key.keys().copied().collect();
        for key in keys {
            self.remove_peer(&key);
        }
    }

    /// Whether there is such a peer.
    pub fn has_peer(&self, public_key: &[u8; 32]) -> bool {
        self.by_key.contains_key(public_key)
    }

    /// All peers, by key.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let mut ranges: BTreeMap<PeerId, Vec<IpNet>> = BTreeMap::new();
        for (range, id) in self.allowed.iter() {
            ranges.entry(id).or_default().push(range);
        }
        self.by_key.values().map(move |id| {
            let peer = &self.peers[id];
            PeerStatus {
                public_key: peer.public,
                preshared_key: peer.psk.clone(),
                endpoint: peer.endpoint.map(|endpoint| endpoint.remote),
                keepalive: peer.timers.interval.map_or(0, |interval| interval.as_secs() as u16),
                last_handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                allowed_ips: ranges.remove(id).unwrap_or_default(),
            }
        })
    }

    fn add_peer(&mut self, public_key: [u8; 32]) -> PeerId {
        let id = PeerId(self.next_peer);
        self.next_peer += 1;
        self.peers.insert(id, Peer::new(id, public_key));
        self.by_key.insert(public_key, id);
        if let Some(local) = &self.shared.local {
            self.shared.statics.add(local, &public_key);
        }
        id
    }

    fn remove_peer(&mut self, public_key: &[u8; 32]) {
        let Some(id) = self.by_key.remove(public_key) else { return };
        if let Some(mut peer) = self.peers.remove(&id) {
            peer.drop_staged(DropReason::PeerRemoved, &mut self.shared);
            peer.set_remote(None, &mut self.shared);
            self.relay.forget(id);
            peer.forget_keys(&mut self.shared);
        }
        self.shared.statics.remove(public_key);
        self.allowed.retain(|_, owner| owner != id);
    }
}
