//! How often to ask and how long to wait: a small mesh is asked often, a large one less so.

use std::time::Duration;

/// The least time between two probes of a peer that are only for its round-trip time.
pub(super) const RTT_EVERY: Duration = Duration::from_secs(2);

/// What a new peer gets on top: its tunnel has to shake hands first.
pub(super) const FIRST_GRACE: Duration = Duration::from_secs(2);

/// An unanswered question is repeated after so long: often enough that a fifth of all packets may be lost without
/// anybody being taken for dead.
const RETRY: Duration = Duration::from_millis(20);

/// Nobody is waited for longer.
pub(super) const LONGEST: Duration = Duration::from_millis(900);

/// So many probes must have gone unanswered before silence is taken for death.
pub(super) const LEAST_PROBES: u32 = 3;

/// A peer dead for longer is asked every [`DEAD_EVERY`] only.
pub(super) const LONG_DEAD: Duration = Duration::from_secs(10);

/// How often a peer long dead is asked.
pub(super) const DEAD_EVERY: Duration = Duration::from_secs(1);

/// The pace of a mesh of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// A peer that was silent for so long is asked.
    pub(super) interval: Duration,
    /// An unanswered question is repeated after so long.
    pub(super) retry: Duration,
    /// A peer that was silent for so long is dead.
    pub(super) dead_after: Duration,
}

impl Timing {
    /// 125 ms and 500 ms up to 16 peers, 300 ms and 800 ms from 50 on, in proportion between.
    pub(super) fn of(peers: usize) -> Self {
        let beyond = u64::try_from(peers.clamp(16, 50) - 16).expect("at most 34");
        let between = |small: u64, large: u64| Duration::from_millis(small + (large - small) * beyond / 34);
        let interval = between(125, 300);
        Self { interval, retry: RETRY, dead_after: between(500, 800) }
    }

    /// How long this peer may be silent: an answer that is far away needs longer.
    pub(super) fn patience(&self, rtt: Option<Duration>) -> Duration {
        (self.interval + rtt.unwrap_or_default() * 3).clamp(self.dead_after, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace() {
        for (peers, interval, dead_after) in
            [(0, 125, 500), (5, 125, 500), (16, 125, 500), (33, 212, 650), (50, 300, 800), (5_000, 300, 800)]
        {
            let timing = Timing::of(peers);
            assert_eq!(timing.interval.as_millis(), interval, "{peers}");
            assert_eq!(timing.dead_after.as_millis(), dead_after, "{peers}");
        }
    }

    #[test]
    fn patience() {
        for (peers, rtt, patience) in [
            (5, None, 500),
            (5, Some(30), 500),
            (5, Some(200), 725),
            (50, Some(200), 900),
            (5, Some(5_000), 900),
        ] {
            let got = Timing::of(peers).patience(rtt.map(Duration::from_millis));
            assert_eq!(got.as_millis(), patience, "{peers} {rtt:?}");
        }
    }
}
