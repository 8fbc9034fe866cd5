//! What the operator says: keys, peers, ranges; and what he is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::peer::{Known, Peer};
use super::relay::Allowance;
use super::shared::Own;
use super::{Device, PeerId};
use crate::counters::DropReason;
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
    /// Another key that it has, too, while it changes its key; all zeroes for none. Our own addition: either names the peer,
    /// and whoever has either may shake hands. Where `public_key` was the second one, it is the first from now on.
    pub other_key: Option<[u8; 32]>,
    /// The pre-shared key; all zeroes for none.
    pub preshared_key: Option<[u8; 32]>,
    /// Other pre-shared keys that the peer may answer by while they change, in the order in which they are tried; all zeroes:
    /// none at all. Our own addition.
    pub other_preshared_keys: Option<Vec<[u8; 32]>>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between packets that keep a NAT's mapping open; 0 for none.
    pub keepalive: Option<u16>,
    /// Forget its ranges first.
    pub replace_allowed_ips: bool,
    /// Its ranges.
    pub allowed_ips: Vec<AllowedChange>,
    /// Its group, 0 for none: peers of one group may send whatever one of them may. Our own addition, for gateways that take
    /// each other's place.
    pub group: Option<u32>,
    /// Ranges that it may send from, too, whoever they belong to: nothing is sent to it for their sake. All of them:
    /// `replace_allowed_ips` forgets those of before. Our own addition, for ranges that are about to move or have just moved.
    pub accepted_ips: Vec<IpNet>,
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
    /// Another key that it has, too.
    pub other_key: Option<[u8; 32]>,
    /// Our own public key in the session that is in use.
    pub own_key: Option<[u8; 32]>,
    /// The pre-shared key; all zeroes for none.
    pub preshared_key: Zeroizing<[u8; 32]>,
    /// Others that are tried.
    pub other_preshared_keys: Vec<Zeroizing<[u8; 32]>>,
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
    /// Its group ([`PeerChange::group`]).
    pub group: u32,
    /// Ranges that it may send from, too.
    pub accepted_ips: Vec<IpNet>,
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
        if self.key().map(|key| *key.secret()) != secret {
            // With one key there is nobody to shake hands with anew.
            self.set_keys(secret, None, Now::default());
        }
    }

    /// Sets the device's own key, and one that is believed beside it. Sessions of both go on, for as long as they live, so
    /// that a key can be changed without a gap: where the key in use is another than the first one, a handshake begins soon,
    /// with each of the keys in turn until one is answered. Sessions of other keys end.
    pub fn set_keys(&mut self, first: Option<[u8; 32]>, other: Option<[u8; 32]>, now: Now) {
        let other = other.filter(|other| Some(*other) != first && first.is_some());
        let wanted = first.into_iter().chain(other).map(Zeroizing::new);
        let mut before = std::mem::take(&mut self.shared.own);
        for secret in wanted {
            let known = before.iter().position(|own| own.key.secret() == &*secret);
            self.shared.own.push(match known {
                Some(known) => before.swap_remove(known),
                None => Own::new(*secret, self.by_key.keys()),
            });
        }
        let ours: Vec<[u8; 32]> = self.shared.own.iter().map(|own| *own.key.public()).collect();
        for own in &ours {
            if self.has_peer(own) {
                self.shared.counters.add(DropReason::OwnKey, 1);
                self.remove_peer(own);
            }
        }
        let spread = self.spread();
        for peer in self.peers.values_mut() {
            peer.retain(|ends| ours.contains(&ends.ours), &mut self.shared);
            if ours.len() > 1 {
                peer.refresh(spread, &mut self.shared, now);
            }
        }
    }

    /// Changes a peer, or makes it. Its sessions stay, except when it is removed.
    pub fn change_peer(&mut self, change: &PeerChange, now: Now) {
        if change.remove {
            return self.remove_peer(&change.public_key);
        }
        if self.is_own(&change.public_key) {
            // We are not our own peer; Linux skips it too.
            return self.shared.counters.add(DropReason::OwnKey, 1);
        }
        let id = match self.by_key.get(&change.public_key) {
            Some(id) => *id,
            None if change.update_only => return,
            None => self.add_peer(change.public_key),
        };
        if let Some(other) = change.other_key {
            self.set_peer_keys(id, change.public_key, Some(other).filter(|other| *other != [0; 32]));
        }
        let spread = self.spread();
        let peer = self.peers.get_mut(&id).expect("keys belong to peers that exist");
        if let Some(others) = &change.other_preshared_keys {
            peer.other_psks = others.iter().copied().map(Zeroizing::new).collect();
        }
        if let Some(psk) = change.preshared_key {
            peer.set_psk(Zeroizing::new(psk), spread, &mut self.shared, now);
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
        if let Some(group) = change.group {
            peer.group = group;
        }
        if change.replace_allowed_ips {
            self.accepted.retain(|range, other| other != id || change.accepted_ips.contains(&range));
        }
        for range in &change.accepted_ips {
            self.accepted.insert(*range, id);
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
        let keys: Vec<[u8; 32]> = self.peers.values().map(|peer| peer.known.public).collect();
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
        let mut accepted: BTreeMap<PeerId, Vec<IpNet>> = BTreeMap::new();
        for (range, id) in self.accepted.iter() {
            accepted.entry(id).or_default().push(range);
        }
        let first = self.by_key.iter().filter(|(key, id)| self.peers[id].known.public == **key);
        first.map(move |(_, id)| {
            let peer = &self.peers[id];
            PeerStatus {
                public_key: peer.known.public,
                other_key: peer.other.as_ref().map(|other| other.public),
                own_key: peer.sessions.ends().map(|ends| ends.ours),
                preshared_key: peer.psk.clone(),
                other_preshared_keys: peer.other_psks.clone(),
                endpoint: peer.endpoint.map(|endpoint| endpoint.remote),
                keepalive: peer.timers.interval.map_or(0, |interval| interval.as_secs() as u16),
                last_handshake: peer.last_handshake,
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
                allowed_ips: ranges.remove(id).unwrap_or_default(),
                group: peer.group,
                accepted_ips: accepted.remove(id).unwrap_or_default(),
            }
        })
    }

    /// Within so many thirds of a second all peers are to shake hands: of thousands of peers each handshake takes its time.
    fn spread(&self) -> u32 {
        u32::try_from(self.peers.len() / 128).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn is_own(&self, public_key: &[u8; 32]) -> bool {
        self.shared.own.iter().any(|own| own.key.public() == public_key)
    }

    fn add_peer(&mut self, public_key: [u8; 32]) -> PeerId {
        let id = PeerId(self.next_peer);
        self.next_peer += 1;
        self.peers.insert(id, Peer::new(id, public_key));
        self.learn_key(public_key, id);
        id
    }

    fn learn_key(&mut self, public_key: [u8; 32], id: PeerId) {
        self.by_key.insert(public_key, id);
        for own in &mut self.shared.own {
            own.statics.add(&own.key, &public_key);
        }
    }

    fn forget_key(&mut self, public_key: &[u8; 32]) {
        self.by_key.remove(public_key);
        for own in &mut self.shared.own {
            own.statics.remove(public_key);
        }
    }

    /// The keys that a peer has from now on. What was agreed on with others is void.
    fn set_peer_keys(&mut self, id: PeerId, first: [u8; 32], other: Option<[u8; 32]>) {
        let other = other.filter(|other| *other != first).filter(|other| {
            let reason = match self.by_key.get(other) {
                _ if self.is_own(other) => DropReason::OwnKey,
                Some(owner) if *owner != id => DropReason::KeyTaken,
                _ => return true,
            };
            self.shared.counters.add(reason, 1);
            false
        });
        let peer = self.peers.get_mut(&id).expect("keys belong to peers that exist");
        let former: Vec<[u8; 32]> = peer.publics().copied().collect();
        if former.iter().eq(std::iter::once(&first).chain(&other)) {
            return;
        }
        let mut known: Vec<Known> = std::iter::once(std::mem::replace(&mut peer.known, Known::new(first)))
            .chain(peer.other.take())
            .collect();
        peer.known = take(&mut known, first);
        peer.other = other.map(|other| take(&mut known, other));
        let keys: Vec<[u8; 32]> = peer.publics().copied().collect();
        peer.retain(|ends| keys.contains(&ends.theirs), &mut self.shared);
        for gone in former.iter().filter(|key| !keys.contains(key)) {
            self.forget_key(gone);
        }
        for new in keys.iter().filter(|key| !former.contains(key)) {
            self.learn_key(*new, id);
        }
    }

    fn remove_peer(&mut self, public_key: &[u8; 32]) {
        let Some(id) = self.by_key.get(public_key).copied() else { return };
        if let Some(mut peer) = self.peers.remove(&id) {
            peer.drop_staged(DropReason::PeerRemoved, &mut self.shared);
            peer.set_remote(None, &mut self.shared);
            self.relay.forget(id);
            peer.forget_keys(&mut self.shared);
            let keys: Vec<[u8; 32]> = peer.publics().copied().collect();
            keys.iter().for_each(|key| self.forget_key(key));
        }
        self.allowed.retain(|_, owner| owner != id);
        self.accepted.retain(|_, other| other != id);
    }
}

/// What is held for a key, if anything is; else it is new.
fn take(known: &mut Vec<Known>, public: [u8; 32]) -> Known {
    match known.iter().position(|known| known.public == public) {
        Some(at) => known.swap_remove(at),
        None => Known::new(public),
    }
}
