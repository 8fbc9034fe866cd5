//! The device: peers, sessions and their timers.
//!
//! It never touches a packet on the fast path. Going out, [`Device::handle_outbound`] says which keys and which
//! counters to use; coming in, [`Device::keys_for`] gives the keys to open with, and [`Device::handle_opened`] judges
//! what was inside. Handshakes and keepalives wait in [`Device::poll_transmit`].

mod config;
mod load;
mod peer;
mod places;
mod relay;
mod sessions;
mod shared;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use self::config::{AllowedChange, PeerChange, PeerStatus};
use self::load::Load;
use self::peer::Peer;
use self::relay::Relay;
pub use self::relay::Relayed;
use self::shared::{Own, Shared};
use crate::allowed::AllowedIps;
use crate::cookie::Proof;
use crate::counters::{Counters, DropReason};
use crate::key::LocalKey;
use crate::message::{CookieReply, Data, Initiation, Message, Response};
use crate::noise;
use crate::packet::{destination, packet_len, source, udp_ports};
use crate::time::Now;
use crate::transport::TransportKeys;

/// A source of randomness: fills the bytes it is given. In production, the operating system's.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// A peer's number in this device; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(u64);

/// The ends of a path through the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Where the peer is.
    pub remote: SocketAddr,
    /// Which of our addresses it talks to; none if the routing table may choose.
    pub local: Option<IpAddr>,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub endpoint: Endpoint,
    /// The bytes.
    pub datagram: Vec<u8>,
}

/// What to do with packets that want to leave.
#[derive(Debug, Clone)]
pub enum Outbound {
    /// Seal them and send them.
    Send(Sealing),
    /// There are no keys yet: give each packet to [`Device::handle_waiting`].
    Wait(PeerId),
    /// Drop them; they are counted already.
    Drop(DropReason),
}

/// How to seal packets, and where to send them.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// The keys.
    pub keys: Arc<TransportKeys>,
    /// The first packet's counter; the following packets' follow.
    pub counter: u64,
    /// Where to.
    pub endpoint: Endpoint,
    /// What [`crate::padded`] must not exceed.
    pub mtu: usize,
}

/// What became of an opened data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// A packet of so many bytes, without its padding: for the host.
    Packet(usize),
    /// A sign of life.
    Keepalive,
    /// Drop it; it is counted already.
    Drop(DropReason),
}

/// One WireGuard interface.
pub struct Device {
    shared: Shared,
    load: Load,
    peers: BTreeMap<PeerId, Peer>,
    by_key: BTreeMap<[u8; 32], PeerId>,
    next_peer: u64,
    allowed: AllowedIps<PeerId>,
    /// Ranges that another than their owner may send from, too.
    accepted: AllowedIps<PeerId>,
    relay: Relay,
}

impl Device {
    /// A device without a key and without peers.
    pub fn new(random: Random) -> Self {
        Self {
            shared: Shared::new(random),
            load: Load::default(),
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_peer: 0,
            allowed: AllowedIps::default(),
            accepted: AllowedIps::default(),
            relay: Relay::default(),
        }
    }

    /// The device's own key.
    pub fn key(&self) -> Option<&Arc<LocalKey>> {
        self.shared.own.first().map(|own| &own.key)
    }

    /// The one that is believed beside it ([`Device::set_keys`]).
    pub fn other_key(&self) -> Option<&Arc<LocalKey>> {
        self.shared.own.get(1).map(|own| &own.key)
    }

    /// Why packets were dropped so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Counts packets that were dropped outside, on their way to or from this device.
    pub fn count(&mut self, reason: DropReason, packets: u64) {
        self.shared.counters.add(reason, packets);
    }

    /// Bytes of the largest packet of the interface; bounds the padding.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.shared.mtu = mtu;
    }

    /// Whose address this is.
    #[inline]
    pub fn peer_of(&self, to: IpAddr) -> Option<PeerId> {
        self.allowed.get(to)
    }

    /// Whether a packet of this source is believed that the peer has sent: where it would be answered to, or where that peer is
    /// of the same group, or by an accepted range.
    #[inline]
    fn may_send_from(&self, id: PeerId, source: IpAddr) -> bool {
        let owner = self.allowed.get(source);
        owner == Some(id) || self.stands_in(id, owner) || self.accepted.get(source) == Some(id)
    }

    /// Whether the one peer may send what the other may.
    fn stands_in(&self, id: PeerId, owner: Option<PeerId>) -> bool {
        let group = |id: &PeerId| self.peers.get(id).map_or(0, |peer| peer.group);
        let theirs = owner.as_ref().map_or(0, group);
        theirs != 0 && group(&id) == theirs
    }

    /// Packets to one address want to leave: so many, with so many bytes in all.
    pub fn handle_outbound(&mut self, to: IpAddr, packets: u64, bytes: u64, now: Now) -> Outbound {
        match self.peer_of(to) {
            Some(id) => self.handle_outbound_to(id, packets, bytes, now),
            None => self.refuse(DropReason::NoPeer, packets),
        }
    }

    /// As [`Device::handle_outbound`], when it is known whose they are.
    pub fn handle_outbound_to(&mut self, id: PeerId, packets: u64, bytes: u64, now: Now) -> Outbound {
        let Some(peer) = self.peers.get_mut(&id) else {
            return self.refuse(DropReason::PeerRemoved, packets);
        };
        let Some(endpoint) = peer.endpoint else { return self.refuse(DropReason::NoEndpoint, packets) };
        match peer.take_counters(packets, bytes, &mut self.shared, now) {
            Some((keys, counter)) => {
                Outbound::Send(Sealing { keys, counter, endpoint, mtu: self.shared.mtu })
            }
            None => Outbound::Wait(id),
        }
    }

    /// Is this packet, which the host wants to send through the tunnel, a message of ours? `port` is where we send from. Then
    /// the way to a peer's endpoint leads into the tunnel, and the message would be sealed again for ever.
    pub fn is_looped(&self, packet: &[u8], port: u16) -> bool {
        let Some((from, to)) = udp_ports(packet) else { return false };
        from == port
            && destination(packet).is_some_and(|ip| {
                let to = SocketAddr::new(ip, to);
                let is_there = |at: Endpoint| (at.remote.ip(), at.remote.port()) == (to.ip(), to.port());
                self.peers.values().any(|peer| peer.endpoint.is_some_and(is_there))
            })
    }

    /// A packet has to wait for its peer's handshake, which begins now if it has not. The queue is bounded: the oldest
    /// packets go first. Nothing in it is ever sent in the clear.
    pub fn handle_waiting(&mut self, id: PeerId, packet: Vec<u8>, now: Now) {
        match self.peers.get_mut(&id) {
            Some(peer) => {
                peer.stage(packet, &mut self.shared);
                peer.send_staged(&mut self.shared, now);
            }
            None => self.shared.counters.add(DropReason::PeerRemoved, 1),
        }
    }

    /// The keys that open data messages for this session of ours; none if there is no such session.
    pub fn keys_for(&self, receiver: u32) -> Option<Arc<TransportKeys>> {
        let peer = self.peers.get(self.shared.indices.get(&receiver)?)?;
        peer.sessions.find(receiver).map(|session| session.keys.clone())
    }

    /// A data message from this endpoint was opened, and this is what was inside, padding included.
    pub fn handle_opened(&mut self, data: Data, packet: &[u8], from: Endpoint, now: Now) -> Inbound {
        let Some(id) = self.shared.indices.get(&data.receiver).copied() else {
            return self.refuse_in(DropReason::NoSession);
        };
        let Some(peer) = self.peers.get_mut(&id) else { return self.refuse_in(DropReason::NoSession) };
        if let Err(reason) = peer.accept(data, packet.len(), from, &mut self.shared, now) {
            return self.refuse_in(reason);
        }
        if packet.is_empty() {
            return Inbound::Keepalive;
        }
        peer.timers.data_received(now.uptime);
        match (packet_len(packet), source(packet)) {
            (Some(len), Some(_)) if len > packet.len() => self.refuse_in(DropReason::NotIpInside),
            (Some(_), Some(source)) if !self.may_send_from(id, source) => {
                self.refuse_in(DropReason::NotAllowed)
            }
            (Some(len), Some(_)) => Inbound::Packet(len),
            _ => self.refuse_in(DropReason::NotIpInside),
        }
    }

    /// A datagram that is not a data message arrived from this endpoint.
    pub fn handle_handshake(&mut self, datagram: &[u8], from: Endpoint, now: Now) {
        let parsed = Message::parse(datagram);
        let mut result = match &parsed {
            Some(Message::Initiation(message)) => self
                .admit(datagram, message.sender, from, now)
                .and_then(|own| self.handle_initiation(own, message, from, now)),
            Some(Message::Response(message)) => self
                .admit(datagram, message.sender, from, now)
                .and_then(|_| self.handle_response(message, from, now)),
            Some(Message::Cookie(message)) => self.handle_cookie(message, now),
            Some(Message::Data(_)) | None => Err(DropReason::NotWireGuard),
        };
        // Not for us: stamped for another key, or an answer to what we have not asked.
        let others = match &parsed {
            Some(Message::Cookie(_)) => result == Err(DropReason::BadHandshake),
            _ => result == Err(DropReason::BadMac),
        };
        if others && let Some(message) = &parsed {
            result = self.relay_handshake(message, datagram, from.remote, now).unwrap_or(result);
        }
        if let Err(reason) = result {
            self.shared.counters.add(reason, 1);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for peer in self.peers.values_mut() {
            peer.handle_timeout(&mut self.shared, now);
        }
    }

    /// When [`Device::handle_timeout`] is next needed. Packets only move it later, or arm timers of a second at least.
    pub fn deadline(&self) -> Option<Duration> {
        self.peers.values().filter_map(|peer| peer.timers.deadline()).min()
    }

    /// A datagram to send, if there is one.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.outbox.pop_front()
    }

    /// Is this address of ours gone? Then the routing table chooses again for every peer that used it.
    pub fn handle_lost_address(&mut self, address: IpAddr) {
        for endpoint in self.peers.values_mut().filter_map(|peer| peer.endpoint.as_mut()) {
            endpoint.local.take_if(|local| *local == address);
        }
    }

    /// Lets a handshake message through to where it costs us something, if it may: which of our keys it is for.
    fn admit(&mut self, datagram: &[u8], sender: u32, from: Endpoint, now: Now) -> Result<usize, DropReason> {
        let Shared { own, random, .. } = &mut self.shared;
        let (number, proof, checker) = own
            .iter_mut()
            .enumerate()
            .map(|(number, Own { checker, .. })| {
                (number, checker.check(datagram, from.remote, now.uptime, random), checker)
            })
            .find(|(_, proof, _)| *proof != Proof::Nothing)
            .ok_or(DropReason::BadMac)?;
        if !self.load.is_busy(now.uptime) {
            return Ok(number);
        }
        if proof == Proof::Mac1 {
            if let Some(reply) = checker.reply(datagram, sender, from.remote, now.uptime, random) {
                self.shared.outbox.push_back(Transmit { endpoint: from, datagram: reply.to_vec() });
            }
            return Err(DropReason::Busy);
        }
        if self.load.admit(from.remote.ip()) { Ok(number) } else { Err(DropReason::RateLimited) }
    }

    fn handle_initiation(
        &mut self,
        own: usize,
        message: &Initiation<'_>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let ephemeral = self.shared.fresh();
        let Own { key, statics, .. } = &self.shared.own[own];
        let ours = *key.public();
        let received =
            noise::receive(key, statics, message, ephemeral).map_err(|_| DropReason::BadHandshake)?;
        let id = self.by_key.get(&received.remote).copied().ok_or(DropReason::UnknownPeer)?;
        let peer = self.peers.get_mut(&id).expect("keys belong to peers that exist");
        peer.handle_initiation(received, ours, from, &mut self.shared, now)
    }

    fn handle_response(
        &mut self,
        message: &Response<'_>,
        from: Endpoint,
        now: Now,
    ) -> Result<(), DropReason> {
        let id = self.shared.indices.get(&message.receiver).ok_or(DropReason::BadHandshake)?;
        let peer = self.peers.get_mut(id).ok_or(DropReason::BadHandshake)?;
        peer.handle_response(message, from, &mut self.shared, now)
    }

    fn handle_cookie(&mut self, message: &CookieReply<'_>, now: Now) -> Result<(), DropReason> {
        let id = self.shared.indices.get(&message.receiver).ok_or(DropReason::BadHandshake)?;
        let peer = self.peers.get_mut(id).ok_or(DropReason::BadHandshake)?;
        if peer.handle_cookie(message, now) { Ok(()) } else { Err(DropReason::BadHandshake) }
    }

    fn refuse(&mut self, reason: DropReason, packets: u64) -> Outbound {
        self.shared.counters.add(reason, packets);
        Outbound::Drop(reason)
    }

    fn refuse_in(&mut self, reason: DropReason) -> Inbound {
        self.shared.counters.add(reason, 1);
        Inbound::Drop(reason)
    }
}
