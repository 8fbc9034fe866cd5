//! Why packets were not carried, and requests not done as they were meant: a closed set, counted.

/// A reason to drop a packet, or to refuse something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// Out: not an IPv4 or IPv6 packet, or shorter than its header.
    NotIp,
    /// Out: no peer has the destination among its allowed addresses.
    NoPeer,
    /// Out: the peer's endpoint is not known, and it has not come to us.
    NoEndpoint,
    /// Out: too many packets already wait for the handshake; the oldest went.
    QueueFull,
    /// Out: the peer did not answer the handshake in time; what waited for it went.
    NoAnswer,
    /// Out: the peer was removed, or its keys, while packets waited.
    PeerRemoved,
    /// Out: the underlay did not take the datagram.
    SendFailed,
    /// Out: a message of ours came back to us, as the way to a peer's endpoint leads into the tunnel.
    Looped,
    /// Out: more than can be sealed; whose peer had most waiting lost it.
    Overloaded,
    /// In: not a WireGuard message.
    NotWireGuard,
    /// In: for a session that does not exist (any more).
    NoSession,
    /// In: the session is too old to be used.
    SessionExpired,
    /// In: does not decrypt.
    Forged,
    /// In: seen before, or too old to tell.
    Replayed,
    /// In: from an address that is not the peer's to use.
    NotAllowed,
    /// In: what was inside is not a whole IP packet.
    NotIpInside,
    /// In: the device did not take the packet.
    DeviceFull,
    /// Handshake: the sender does not know our public key.
    BadMac,
    /// Handshake: we are busy; a cookie was sent instead.
    Busy,
    /// Handshake: one address sends too many.
    RateLimited,
    /// Handshake: from nobody we know.
    UnknownPeer,
    /// Handshake: does not decrypt, or answers nothing we asked.
    BadHandshake,
    /// Handshake: an old initiation again, or initiations too fast.
    HandshakeReplayed,
    /// Relay: more handshakes than a peer may have passed on, or more sessions than are kept.
    RelayLimited,
    /// Relay: for a peer that is nowhere, or reached over a third one itself.
    RelayNowhere,
    /// Control: a peer with our own key; it was not made.
    OwnKey,
    /// Control: a peer's second key that somebody else has; it was not taken.
    KeyTaken,
    /// Control: a range that another peer had; it is the later one's now.
    RangeTaken,
    /// Control: a request that is not of the protocol; nothing of it was done.
    BadRequest,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 29] = [
        Self::NotIp,
        Self::NoPeer,
        Self::NoEndpoint,
        Self::QueueFull,
        Self::NoAnswer,
        Self::PeerRemoved,
        Self::SendFailed,
        Self::Looped,
        Self::Overloaded,
        Self::NotWireGuard,
        Self::NoSession,
        Self::SessionExpired,
        Self::Forged,
        Self::Replayed,
        Self::NotAllowed,
        Self::NotIpInside,
        Self::DeviceFull,
        Self::BadMac,
        Self::Busy,
        Self::RateLimited,
        Self::UnknownPeer,
        Self::BadHandshake,
        Self::HandshakeReplayed,
        Self::RelayLimited,
        Self::RelayNowhere,
        Self::OwnKey,
        Self::KeyTaken,
        Self::RangeTaken,
        Self::BadRequest,
    ];

    /// Its name in metrics and on the control socket.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NoPeer => "no_peer",
            Self::NoEndpoint => "no_endpoint",
            Self::QueueFull => "queue_full",
            Self::NoAnswer => "no_answer",
            Self::PeerRemoved => "peer_removed",
            Self::SendFailed => "send_failed",
            Self::Looped => "looped",
            Self::Overloaded => "overloaded",
            Self::NotWireGuard => "not_wireguard",
            Self::NoSession => "no_session",
            Self::SessionExpired => "session_expired",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::NotAllowed => "not_allowed",
            Self::NotIpInside => "not_ip_inside",
            Self::DeviceFull => "device_full",
            Self::BadMac => "bad_mac",
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::UnknownPeer => "unknown_peer",
            Self::BadHandshake => "bad_handshake",
            Self::HandshakeReplayed => "handshake_replayed",
            Self::RelayLimited => "relay_limited",
            Self::RelayNowhere => "relay_nowhere",
            Self::OwnKey => "own_key",
            Self::KeyTaken => "key_taken",
            Self::RangeTaken => "range_taken",
            Self::BadRequest => "bad_request",
        }
    }
}

/// How often each reason occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters([u64; DropReason::ALL.len()]);

impl Counters {
    /// How many packets were dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        self.0[reason as usize] += count;
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(DropReason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
        let mut counters = Counters::default();
        counters.add(DropReason::HandshakeReplayed, 2);
        assert_eq!(counters.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
