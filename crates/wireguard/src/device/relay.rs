//! Passing on messages between two peers that do not reach each other, as they are: what is inside stays between the two.
//!
//! Who sends is known by where it is, as a peer is where its last authentic message came from; and only a peer that is
//! allowed to may send, and be sent to. An initiation says for whom it is by its first mac, which is keyed with the
//! receiver's public key; the numbers in it and in its response name the sessions from then on. Nothing is passed on to
//! or from somebody who is reached over a third one: so nothing goes in a circle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Device, Endpoint, PeerId, Transmit};
use crate::counters::DropReason;
use crate::message::{Data, Message};
use crate::time::Now;

/// Sessions live for 180 s; after so long without a message nobody has the number any more.
const LASTS: Duration = Duration::from_secs(190);

/// Numbers that are known at once, of all peers.
const NUMBERS: usize = 65_536;

/// What no longer counts is looked for so often, as long as there is room.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// Handshakes that a peer may begin at once with others; two more come with each second.
const BURST: u32 = 64;

/// What was passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Messages.
    pub messages: u64,
    /// Their bytes, without the headers of UDP and IP.
    pub bytes: u64,
}

/// The sessions that are passed on.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// By who sends and the receiver's number: who receives.
    ways: BTreeMap<(PeerId, u32), Way>,
    relayed: Relayed,
    clean_at: Duration,
}

#[derive(Debug)]
struct Way {
    to: PeerId,
    used: Duration,
}

/// How many handshakes a peer may still begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    left: u32,
    since: Duration,
}

impl Allowance {
    pub(super) fn new(now: Duration) -> Self {
        Self { left: BURST, since: now }
    }

    fn take(&mut self, now: Duration) -> bool {
        let more = now.saturating_sub(self.since).as_secs();
        if more > 0 {
            let more = u32::try_from(more.saturating_mul(2)).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Relay {
    /// Messages of this sender with this number are for that one.
    fn begin(&mut self, from: PeerId, number: u32, to: PeerId, now: Duration) -> bool {
        if now >= self.clean_at || self.ways.len() >= NUMBERS {
            self.ways.retain(|_, way| way.used + LASTS > now);
            self.clean_at = now + CLEAN_EVERY;
        }
        if self.ways.len() >= NUMBERS && !self.ways.contains_key(&(from, number)) {
            return false;
        }
        self.ways.insert((from, number), Way { to, used: now });
        true
    }

    fn find(&mut self, from: PeerId, number: u32, now: Duration) -> Option<PeerId> {
        let way = self.ways.get_mut(&(from, number)).filter(|way| way.used + LASTS > now)?;
        way.used = now;
        Some(way.to)
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.ways.retain(|(from, _), way| *from != id && way.to != id);
    }
}

impl Device {
    /// What was passed on so far.
    pub fn relayed(&self) -> Relayed {
        self.relay.relayed
    }

    /// Where a data message of so many bytes is to be passed on to that is for no session of ours. Nothing if it is for
    /// nobody; that is counted.
    pub fn relay_data(&mut self, data: Data, bytes: usize, from: SocketAddr, now: Now) -> Option<Endpoint> {
        let to = self.relay_source(from).and_then(|id| self.relay.find(id, data.receiver, now.uptime));
        match to.ok_or(DropReason::NoSession).and_then(|to| self.pass(to, bytes)) {
            Ok(endpoint) => Some(endpoint),
            Err(reason) => {
                self.shared.counters.add(reason, 1);
                None
            }
        }
    }

    /// Passes on a handshake message that is not for us. Nothing if it is for nobody.
    pub(super) fn relay_handshake(
        &mut self,
        message: &Message<'_>,
        datagram: &[u8],
        from: SocketAddr,
        now: Now,
    ) -> Option<Result<(), DropReason>> {
        let id = self.relay_source(from)?;
        let now = now.uptime;
        let to = match message {
            Message::Initiation(initiation) => {
                let allowance = self.peers.get_mut(&id)?.relay.as_mut()?;
                if !allowance.take(now) {
                    return Some(Err(DropReason::RelayLimited));
                }
                let others = self.peers.values().filter(|peer| peer.id != id && peer.relay.is_some());
                let to = others.into_iter().find(|peer| peer.is_meant(datagram))?.id;
                self.relay.begin(to, initiation.sender, id, now).then_some(to)
            }
            Message::Response(response) => {
                let to = self.relay.find(id, response.receiver, now)?;
                self.relay.begin(to, response.sender, id, now).then_some(to)
            }
            Message::Cookie(cookie) => Some(self.relay.find(id, cookie.receiver, now)?),
            Message::Data(_) => return None,
        };
        let Some(to) = to else { return Some(Err(DropReason::RelayLimited)) };
        Some(self.pass(to, datagram.len()).map(|endpoint| {
            self.shared.outbox.push_back(Transmit { endpoint, datagram: datagram.to_vec() });
        }))
    }

    /// The peer at this address, if it may have messages passed on.
    fn relay_source(&self, from: SocketAddr) -> Option<PeerId> {
        let id = self.shared.places.only(from)?;
        self.peers.get(&id)?.relay.map(|_| id)
    }

    /// Where the peer is, if it is there itself and may be sent to.
    fn pass(&mut self, to: PeerId, bytes: usize) -> Result<Endpoint, DropReason> {
        let peer = self.peers.get(&to).filter(|peer| peer.relay.is_some());
        let endpoint = peer.and_then(|peer| peer.endpoint).ok_or(DropReason::RelayNowhere)?;
        if self.shared.places.only(endpoint.remote) != Some(to) {
            return Err(DropReason::RelayNowhere);
        }
        self.relay.relayed.messages += 1;
        self.relay.relayed.bytes += bytes as u64;
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_comes_back() {
        let at = Duration::from_secs;
        let mut allowance = Allowance::new(at(0));
        assert!((0..BURST).all(|_| allowance.take(at(0))));
        assert!(!allowance.take(at(0)));
        assert!(allowance.take(at(1)) && allowance.take(at(1)));
        assert!(!allowance.take(at(1)));
        assert!((0..BURST).all(|_| allowance.take(at(1_000))));
        assert!(!allowance.take(at(1_000)));
    }
}
