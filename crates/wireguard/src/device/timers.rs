//! When a peer is due for what (the paper, section 6; the details are Linux', `drivers/net/wireguard/timers.c`).

use std::time::Duration;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The initiator makes new keys after so long.
pub(super) const REKEY_AFTER_TIME: Duration = seconds(120);
/// Keys are not used after so long.
pub(super) const REJECT_AFTER_TIME: Duration = seconds(180);
/// Handshakes are not begun more often than this; an unanswered one is repeated after so long.
pub(super) const REKEY_TIMEOUT: Duration = seconds(5);
/// Nothing sent for so long since we received something: send a keepalive.
pub(super) const KEEPALIVE_TIMEOUT: Duration = seconds(10);
/// Either side makes new keys after so many messages.
pub(super) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Keys are not used after so many messages.
pub(super) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// How often an unanswered handshake is repeated: for 90 seconds (REKEY_ATTEMPT_TIME).
pub(super) const ATTEMPTS: u32 = 18;
/// An initiator about to lose its keys makes new ones on receiving, from this age on.
pub(super) const LAST_MINUTE: Duration = seconds(180 - 10 - 5);
/// One peer may begin so many handshakes with us per second.
pub(super) const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// One peer's timers. Each is the time it fires.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Repeat the handshake.
    pub(super) retransmit: Option<Duration>,
    /// Tell the peer we are there.
    pub(super) keepalive: Option<Duration>,
    /// We sent and heard nothing back: shake hands.
    pub(super) new_handshake: Option<Duration>,
    /// The session is of another key of ours than the one to use: shake hands.
    pub(super) refresh: Option<Duration>,
    /// Forget all keys.
    pub(super) zero_keys: Option<Duration>,
    /// Keep the NAT's mapping open.
    pub(super) persistent: Option<Duration>,
    /// Something was received since the keepalive timer was set.
    pub(super) another_keepalive: bool,
    /// How often the handshake under way was repeated.
    pub(super) attempts: u32,
    /// The last-minute handshake of these keys was begun.
    pub(super) sent_last_minute: bool,
    /// The configured interval of `persistent`.
    pub(super) interval: Option<Duration>,
}

/// Takes the timer if it is due.
pub(super) fn due(timer: &mut Option<Duration>, now: Duration) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Timers {
    /// The first of them.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let Self { retransmit, keepalive, new_handshake, refresh, zero_keys, persistent, .. } = self;
        [retransmit, keepalive, new_handshake, refresh, zero_keys, persistent]
            .into_iter()
            .filter_map(|timer| *timer)
            .min()
    }

    /// A packet with something in it was sent. The jitter is computed only when the timer is set.
    pub(super) fn data_sent(&mut self, now: Duration, jitter: impl FnOnce() -> Duration) {
        self.new_handshake.get_or_insert_with(|| now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter());
    }

    /// A packet with something in it was received.
    pub(super) fn data_received(&mut self, now: Duration) {
        if self.keepalive.is_none() {
            self.keepalive = Some(now + KEEPALIVE_TIMEOUT);
        } else {
            self.another_keepalive = true;
        }
    }

    /// Any message but a cookie was sent.
    pub(super) fn sent(&mut self, now: Duration) {
        self.keepalive = None;
        self.traversed(now);
    }

    /// Any message that proves the peer was received.
    pub(super) fn received(&mut self, now: Duration) {
        self.new_handshake = None;
        self.traversed(now);
    }

    /// A handshake was begun.
    pub(super) fn initiated(&mut self, now: Duration, jitter: Duration) {
        self.retransmit = Some(now + REKEY_TIMEOUT + jitter);
    }

    /// A handshake is complete: the peer has the keys too.
    pub(super) fn completed(&mut self) {
        self.retransmit = None;
        self.attempts = 0;
        self.sent_last_minute = false;
    }

    /// There are new keys.
    pub(super) fn derived(&mut self, now: Duration) {
        self.zero_keys = Some(now + REJECT_AFTER_TIME * 3);
    }

    fn traversed(&mut self, now: Duration) {
        self.persistent = self.interval.map(|interval| now + interval);
    }
}
