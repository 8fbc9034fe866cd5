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
        let mut random = [0; 4];
        // Without randomness the wait is merely in step with others'.
        let _ = rand::fill(&mut random);
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        tokio::time::sleep(step.mul_f64(0.5 + part / 2.0)).await;
    }
}
