//! One peer: its handshakes, its sessions, what waits for them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::relay::Allowance;
use super::sessions::{Ends, Session, Sessions};
use super::shared::{Own, Shared};
use super::timers::{
    ATTEMPTS, INITIATION_INTERVAL, KEEPALIVE_TIMEOUT, LAST_MINUTE, REJECT_AFTER_TIME, REKEY_TIMEOUT, Timers,
    due,
};
use super::{Endpoint, PeerId, Transmit};
use crate::cookie::Stamper;
use crate::counters::DropReason;
use crate::message::{CookieReply, DATA_OVERHEAD, Data, INITIATION_LEN, RESPONSE_LEN, Response};
use crate::noise::{self, Initiated, Psk, Received};
use crate::time::{Now, Timestamp};
use crate::transport::{HEADER_LEN, TAG_LEN, TransportKeys, padded};

/// So long after a peer was heard itself, what is passed on from it may have been sent before.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// So many packets wait for a handshake.
pub(super) const QUEUE: usize = 128;

/// A key of the other end, and what goes onto messages for it.
pub(super) struct Known {
    pub(super) public: [u8; 32],
    stamper: Stamper,
}

impl Known {
    pub(super) fn new(public: [u8; 32]) -> Self {
        Self { public, stamper: Stamper::new(&public) }
    }
}

/// A handshake that we began.
struct Begun {
    /// Our number for it.
    index: u32,
    ends: Ends,
    state: Initiated,
}

/// The other end of tunnels.
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// Its key.
    pub(super) known: Known,
    /// A second one, which it has too while it changes its key.
    pub(super) other: Option<Known>,
    pub(super) psk: Psk,
    /// What is tried where the other end answers by another pre-shared key than this.
    pub(super) other_psks: Vec<Psk>,
    pub(super) endpoint: Option<Endpoint>,
    /// Whether another peer is there: it passes on what we send.
    by_relay: bool,
    /// When it was last heard from there.
    heard: Option<Duration>,
    /// Whether its messages to other peers are passed on, and how many handshakes it may begin.
    pub(super) relay: Option<Allowance>,
    /// Peers of one group may send what any of them may; 0 is none.
    pub(super) group: u32,
    pub(super) sessions: Sessions,
    pub(super) timers: Timers,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    /// Since 1970.
    pub(super) last_handshake: Option<Duration>,
    /// Our handshake under way.
    handshake: Option<Begun>,
    last_handshake_sent: Option<Duration>,
    last_stamp_sent: Option<Timestamp>,
    last_stamp_seen: Option<Timestamp>,
    last_initiation_seen: Option<Duration>,
    /// Packets that wait for keys; an empty one is a keepalive.
    staged: VecDeque<Vec<u8>>,
}

impl Peer {
    pub(super) fn new(id: PeerId, public: [u8; 32]) -> Self {
        Self {
            id,
            known: Known::new(public),
            other: None,
            psk: Zeroizing::new([0; 32]),
            other_psks: Vec::new(),
            endpoint: None,
            by_relay: false,
            heard: None,
            relay: None,
            group: 0,
            sessions: Sessions::default(),
            timers: Timers::default(),
            rx_bytes: 0,
            tx_bytes: 0,
            last_handshake: None,
            handshake: None,
            last_handshake_sent: None,
            last_stamp_sent: None,
            last_stamp_seen: None,
            last_initiation_seen: None,
            staged: VecDeque::new(),
        }
    }

    /// Keys and counters for packets that are about to be sent; none if there are no keys to use.
    pub(super) fn take_counters(
        &mut self,
        packets: u64,
        bytes: u64,
        shared: &mut Shared,
        now: Now,
    ) -> Option<(Arc<TransportKeys>, u64)> {
        let session = self.sessions.current()?;
        let counter = session.take(packets, now.uptime)?;
        let (keys, stale) = (session.keys.clone(), session.is_stale(now.uptime));
        self.tx_bytes += bytes + packets * DATA_OVERHEAD as u64;
        self.timers.sent(now.uptime);
        if bytes > 0 {
            self.timers.data_sent(now.uptime, || shared.jitter());
        }
        if stale {
            self.initiate(false, shared, now);
        }
        Some((keys, counter))
    }

    /// Puts a packet into the queue of those that wait for keys.
    pub(super) fn stage(&mut self, packet: Vec<u8>, shared: &mut Shared) {
        if self.staged.len() >= QUEUE {
            self.staged.pop_front();
            shared.counters.add(DropReason::QueueFull, 1);
        }
        self.staged.push_back(packet);
    }

    /// Sends what waits, or sees to it that there will be keys.
    pub(super) fn send_staged(&mut self, shared: &mut Shared, now: Now) {
        while let (Some(packet), Some(endpoint)) = (self.staged.front(), self.endpoint) {
            let bytes = packet.len() as u64;
            let Some((keys, counter)) = self.take_counters(1, bytes, shared, now) else {
                return self.initiate(false, shared, now);
            };
            let packet = self.staged.pop_front().expect("it was there above");
            let mut datagram = vec![0; HEADER_LEN + padded(packet.len(), shared.mtu) + TAG_LEN];
            datagram[HEADER_LEN..][..packet.len()].copy_from_slice(&packet);
            keys.seal(counter, &mut datagram);
            shared.outbox.push_back(Transmit { endpoint, datagram });
        }
    }

    /// Sends what waits, or else an empty packet.
    pub(super) fn send_keepalive(&mut self, shared: &mut Shared, now: Now) {
        if self.staged.is_empty() {
            self.staged.push_back(Vec::new());
        }
        self.send_staged(shared, now);
    }

    /// Begins a handshake, unless one was begun just now. `again` if this repeats an unanswered one.
    pub(super) fn initiate(&mut self, again: bool, shared: &mut Shared, now: Now) {
        let Some(endpoint) = self.endpoint else { return };
        if shared.own.is_empty() {
            return;
        }
        if !again {
            self.timers.attempts = 0;
        }
        if self.last_handshake_sent.is_some_and(|at| now.uptime < at + REKEY_TIMEOUT) {
            return;
        }
        self.drop_handshake(shared);
        let stamp = Timestamp::after(now.unix, self.last_stamp_sent);
        let index = shared.new_index(self.id);
        let ephemeral = shared.fresh();
        // While keys change, one end may not have heard of the other's new one: each is tried in turn. First the newest of both,
        // so that two ends that change their keys at once do not agree on a new one and an old one each; then the oldest.
        let attempt = self.timers.attempts as usize;
        let turn = attempt % (2 * shared.own.len());
        let Own { key, statics, .. } = &shared.own[turn % shared.own.len()];
        let known = match &mut self.other {
            Some(other) if turn == 0 || turn == 3 => other,
            _ => &mut self.known,
        };
        let ends = Ends { ours: *key.public(), theirs: known.public };
        // Only what is of this peer: a handshake may wait long for its answer.
        let statics = statics.only(&known.public);
        let begun = noise::initiate(key, statics, &known.public, index, stamp, ephemeral);
        let Ok((state, mut message)) = begun else {
            // A public key of low order: there will never be a handshake.
            shared.indices.remove(&index);
            return shared.counters.add(DropReason::BadHandshake, 1);
        };
        known.stamper.stamp(&mut message, now.uptime);
        self.handshake = Some(Begun { index, ends, state });
        self.last_stamp_sent = Some(stamp);
        self.last_handshake_sent = Some(now.uptime);
        self.tx_bytes += INITIATION_LEN as u64;
        self.timers.sent(now.uptime);
        self.timers.initiated(now.uptime, shared.jitter());
        shared.outbox.push_back(Transmit { endpoint, datagram: message.to_vec() });
    }

    /// An authentic message came from there: that is where the peer is now. But while it was heard elsewhere just now, one
    /// that was passed on leads neither away from where the peer is itself, nor over another relay before that one knows the
    /// session `in_use`: messages overtake each other where there are two ways.
    fn heard_from(&mut self, from: Endpoint, in_use: bool, shared: &mut Shared, now: Duration) {
        let was = self.endpoint.map(|endpoint| endpoint.remote);
        if was != Some(from.remote) {
            let by_relay = shared.places.is_anothers(from.remote, self.id);
            let recent = was.is_some() && self.heard.is_some_and(|at| now < at + OVERTAKEN);
            if by_relay && recent && !(self.by_relay && in_use) {
                return;
            }
            shared.places.moved(self.id, was, Some(from.remote));
            self.by_relay = by_relay;
        }
        self.endpoint = Some(from);
        self.heard = Some(now);
    }

    /// Somebody says that the peer is there, or nobody says where.
    pub(super) fn set_remote(&mut self, remote: Option<SocketAddr>, shared: &mut Shared) {
        let was = self.endpoint.map(|endpoint| endpoint.remote);
        if was != remote {
            shared.places.moved(self.id, was, remote);
            self.by_relay = remote.is_some_and(|remote| shared.places.is_anothers(remote, self.id));
            self.endpoint = remote.map(|remote| Endpoint { remote, local: None });
            self.heard = None;
        }
    }

    /// Lets the peer know of another way to us: it answers there if it hears this. Without keys nothing is sent.
    pub(super) fn probe(&mut self, remote: SocketAddr, shared: &mut Shared, now: Now) {
        let Some((keys, counter)) = self.take_counters(1, 0, shared, now) else { return };
        let mut datagram = vec![0; HEADER_LEN + TAG_LEN];
        keys.seal(counter, &mut datagram);
        shared.outbox.push_back(Transmit { endpoint: Endpoint { remote, local: None }, datagram });
    }

    /// Makes new keys, be the last attempt ever so young, by way of another place if there is one: whoever passes on their
    /// messages there has to know them.
    pub(super) fn renew(&mut self, by: Option<SocketAddr>, shared: &mut Shared, now: Now) {
        self.last_handshake_sent = None;
        let by = by.map(|remote| Endpoint { remote, local: None });
        let usual = self.endpoint;
        self.endpoint = by.or(usual);
        self.initiate(false, shared, now);
        self.endpoint = usual;
    }

    /// The peer wants keys.
    pub(super) fn handle_initiation(
        &mut self,
        received: Received,
        ours: [u8; 32],
        from: Endpoint,
        shared: &mut Shared,
        now: Now,
    ) -> Result<(), DropReason> {
        let replayed = self.last_stamp_seen.is_some_and(|last| received.stamp <= last);
        let flood = self.last_initiation_seen.is_some_and(|at| now.uptime < at + INITIATION_INTERVAL);
        if replayed || flood {
            return Err(DropReason::HandshakeReplayed);
        }
        let stamp = received.stamp;
        let ends = Ends { ours, theirs: received.remote };
        let index = shared.new_index(self.id);
        let Ok((keys, mut message)) = received.respond(&self.psk, index) else {
            shared.indices.remove(&index);
            return Err(DropReason::BadHandshake);
        };
        let known = match &mut self.other {
            Some(other) if other.public == ends.theirs => other,
            _ => &mut self.known,
        };
        known.stamper.stamp(&mut message, now.uptime);
        self.last_stamp_seen = Some(stamp);
        self.last_initiation_seen = Some(now.uptime);
        let gone = self.sessions.begin_as_responder(Session::new(keys, index, false, ends, now.uptime));
        release(gone, shared);
        self.heard_from(from, false, shared, now.uptime);
        self.last_handshake_sent = Some(now.uptime);
        self.rx_bytes += INITIATION_LEN as u64;
        self.tx_bytes += RESPONSE_LEN as u64;
        self.timers.received(now.uptime);
        self.timers.derived(now.uptime);
        self.timers.sent(now.uptime);
        shared.outbox.push_back(Transmit { endpoint: from, datagram: message.to_vec() });
        Ok(())
    }

    /// The peer agreed.
    pub(super) fn handle_response(
        &mut self,
        response: &Response<'_>,
        from: Endpoint,
        shared: &mut Shared,
        now: Now,
    ) -> Result<(), DropReason> {
        let begun = self.handshake.as_mut().ok_or(DropReason::BadHandshake)?;
        let (index, ends) = (begun.index, begun.ends);
        if index != response.receiver {
            return Err(DropReason::BadHandshake);
        }
        let psks = std::iter::once(&self.psk).chain(&self.other_psks);
        let keys = begun.state.finish(response, psks).map_err(|_| DropReason::BadHandshake)?;
        // Its number now names the session.
        self.handshake = None;
        let gone = self.sessions.begin_as_initiator(Session::new(keys, index, true, ends, now.uptime));
        release(gone, shared);
        self.heard_from(from, true, shared, now.uptime);
        self.rx_bytes += RESPONSE_LEN as u64;
        self.timers.received(now.uptime);
        self.timers.derived(now.uptime);
        self.completed(now);
        // The peer may not send until it has heard from us.
        self.send_keepalive(shared, now);
        Ok(())
    }

    /// A data message of one of our sessions was opened, with so many bytes inside.
    pub(super) fn accept(
        &mut self,
        data: Data,
        bytes: usize,
        from: Endpoint,
        shared: &mut Shared,
        now: Now,
    ) -> Result<(), DropReason> {
        let session = self.sessions.find_mut(data.receiver).ok_or(DropReason::NoSession)?;
        session.accept(data.counter, now.uptime)?;
        let last_minute = session.initiator && session.age(now.uptime) >= LAST_MINUTE;
        let (confirmed, gone) = self.sessions.confirm(data.receiver);
        release([gone], shared);
        let in_use = self.sessions.current().is_some_and(|current| current.index == data.receiver);
        self.heard_from(from, in_use, shared, now.uptime);
        self.rx_bytes += (bytes + DATA_OVERHEAD) as u64;
        self.timers.received(now.uptime);
        if confirmed {
            self.completed(now);
            self.send_staged(shared, now);
        }
        if last_minute && !self.timers.sent_last_minute {
            self.timers.sent_last_minute = true;
            self.initiate(false, shared, now);
        }
        Ok(())
    }

    /// The peer is busy. Whether that answers a message of ours.
    pub(super) fn handle_cookie(&mut self, reply: &CookieReply<'_>, now: Now) -> bool {
        let mut known = std::iter::once(&mut self.known).chain(&mut self.other);
        known.any(|known| known.stamper.handle_reply(reply, now.uptime))
    }

    /// Whether a message is stamped for one of its keys.
    pub(super) fn is_meant(&self, datagram: &[u8]) -> bool {
        [Some(&self.known), self.other.as_ref()]
            .into_iter()
            .flatten()
            .any(|its| its.stamper.is_stamped(datagram))
    }

    /// Its keys: the first one is told to whoever asks.
    pub(super) fn publics(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.known).chain(&self.other).map(|known| &known.public)
    }

    /// Forgets what was agreed on between ends that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Ends) -> bool, shared: &mut Shared) {
        if self.handshake.as_ref().is_some_and(|begun| !keep(begun.ends)) {
            self.drop_handshake(shared);
            // What was asked with a key that is gone is not answered, and may be asked at once with another.
            self.last_handshake_sent = None;
        }
        release(self.sessions.retain(keep), shared);
    }

    /// Sees to it that there is a session of our first key soon, if there is one of another: within `spread` thirds of a
    /// second.
    pub(super) fn refresh(&mut self, spread: u32, shared: &mut Shared, now: Now) {
        let first = shared.own.first().map(|own| *own.key.public());
        if self.sessions.ends().is_some_and(|ends| Some(ends.ours) != first) {
            self.timers.refresh = Some(now.uptime + shared.jitter() * spread);
        }
    }

    /// The pre-shared key is another one from now on. What was agreed on goes on, and if others can be tried, so that nothing is
    /// lost by it, the new one is used soon: within `spread` thirds of a second.
    pub(super) fn set_psk(&mut self, psk: Psk, spread: u32, shared: &mut Shared, now: Now) {
        if std::mem::replace(&mut self.psk, psk) != self.psk
            && !self.other_psks.is_empty()
            && self.sessions.ends().is_some()
        {
            self.timers.refresh = Some(now.uptime + shared.jitter() * spread);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Now) {
        let at = now.uptime;
        if due(&mut self.timers.retransmit, at) {
            if self.timers.attempts >= ATTEMPTS {
                self.give_up(shared, at);
            } else {
                self.timers.attempts += 1;
                self.forget_source();
                self.initiate(true, shared, now);
            }
        }
        if due(&mut self.timers.keepalive, at) {
            self.send_keepalive(shared, now);
            if std::mem::take(&mut self.timers.another_keepalive) {
                self.timers.keepalive = Some(at + KEEPALIVE_TIMEOUT);
            }
        }
        if due(&mut self.timers.new_handshake, at) {
            self.forget_source();
            self.initiate(false, shared, now);
        }
        if due(&mut self.timers.refresh, at) {
            // Not sooner than a handshake may be begun.
            let free = self.last_handshake_sent.map(|sent| sent + REKEY_TIMEOUT);
            match free.filter(|free| *free > at) {
                Some(free) => self.timers.refresh = Some(free),
                None => self.initiate(false, shared, now),
            }
        }
        if due(&mut self.timers.zero_keys, at) {
            self.forget_keys(shared);
        }
        if due(&mut self.timers.persistent, at) {
            // Again even if nothing can be sent now: the interval must not end with the attempts.
            self.timers.persistent = self.timers.interval.map(|interval| at + interval);
            self.send_keepalive(shared, now);
        }
    }

    /// Forgets all sessions and handshakes.
    pub(super) fn forget_keys(&mut self, shared: &mut Shared) {
        self.drop_handshake(shared);
        release(self.sessions.clear(), shared);
    }

    /// Drops what waits for keys.
    pub(super) fn drop_staged(&mut self, reason: DropReason, shared: &mut Shared) {
        let packets = self.staged.drain(..).filter(|packet| !packet.is_empty()).count();
        shared.counters.add(reason, packets as u64);
    }

    fn give_up(&mut self, shared: &mut Shared, now: Duration) {
        self.timers.keepalive = None;
        self.drop_staged(DropReason::NoAnswer, shared);
        self.drop_handshake(shared);
        self.timers.zero_keys.get_or_insert(now + REJECT_AFTER_TIME * 3);
    }

    fn completed(&mut self, now: Now) {
        self.timers.completed();
        self.last_handshake = Some(now.unix);
    }

    /// The address of ours that the peer talked to may be what is wrong.
    fn forget_source(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    fn drop_handshake(&mut self, shared: &mut Shared) {
        if let Some(begun) = self.handshake.take() {
            shared.indices.remove(&begun.index);
        }
    }
}

fn release<const N: usize>(gone: [Option<Session>; N], shared: &mut Shared) {
    for session in gone.into_iter().flatten() {
        shared.indices.remove(&session.index);
    }
}
