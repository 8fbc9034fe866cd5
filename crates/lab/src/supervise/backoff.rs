//! How long to wait before something that died is started again.

use std::time::Duration;

/// The rule: the first restart is immediate, each further one waits twice as long, and a long life forgives all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What the second restart waits.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// A life of this length counts as a fresh start.
    pub forgive: Duration,
}

/// For agents, controllers and the underlay: a mesh without them ages quickly.
pub const DAEMON: Policy = Policy {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
    forgive: Duration::from_secs(10),
};

/// For containers: Kubernetes' doubling, with a lab's patience.
pub const CONTAINER: Policy = Policy {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(20),
    forgive: Duration::from_secs(30),
};

/// The restarts of one thing.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: Policy,
    row: u32,
}

impl Backoff {
    /// Nothing has died yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, row: 0 }
    }

    /// Takes in a death after `lived`, gives the wait before the next start.
    pub fn handle_death(&mut self, lived: Duration) -> Duration {
        if lived >= self.policy.forgive {
            self.row = 0;
        }
        let wait = match self.row {
            0 => Duration::ZERO,
            n => self.policy.base.saturating_mul(1 << (n - 1).min(16)).min(self.policy.cap),
        };
        self.row += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        let ms = Duration::from_millis;
        let policy = Policy { base: ms(100), cap: ms(500), forgive: ms(10_000) };
        let mut backoff = Backoff::new(policy);
        for (lived, wait) in [
            (ms(5), ms(0)),
            (ms(5), ms(100)),
            (ms(5), ms(200)),
            (ms(9_999), ms(400)),
            (ms(5), ms(500)),
            (ms(5), ms(500)),
            (ms(10_000), ms(0)),
            (ms(5), ms(100)),
        ] {
            assert_eq!(backoff.handle_death(lived), wait, "after a life of {lived:?}");
        }
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(DAEMON);
        let waits: Vec<_> = (0..100).map(|_| backoff.handle_death(Duration::ZERO)).collect();
        assert_eq!(waits[0], Duration::ZERO);
        assert_eq!(waits[99], DAEMON.cap);
    }
}
