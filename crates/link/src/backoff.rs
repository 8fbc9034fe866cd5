//! How long to wait before trying again: longer each time, never in step with others.

use std::time::Duration;

use aws_lc_rs::rand;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from 100 ms to 5 s.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// It worked: the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits: between half and all of the current step.
    pub(crate) async fn wait(&mut self) {
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        tokio::time::sleep(step / 2 + at_some_time(step / 2)).await;
    }
}

/// Somewhere between now and `latest`.
pub(crate) fn at_some_time(latest: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness the wait is merely in step with others'.
    let _ = rand::fill(&mut random);
    latest.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}
