//! How long to wait before a watch is tried again: longer each time, never in step with others, and never so long that the
//! return of an API server goes unnoticed.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use kube::runtime::utils::Backoff;

/// Doubles from the first to the longest; each is waited for between a half and the whole.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Steps {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }
}

impl Iterator for Steps {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        // Any number that others do not have.
        let part = RandomState::new().hash_one(()) % 512;
        Some(step / 2 + step / 2 * u32::try_from(part).unwrap_or(0) / 512)
    }
}

impl Backoff for Steps {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_each_time_to_a_limit() {
        let mut steps = Steps::new(Duration::from_millis(200), Duration::from_secs(2));
        for expected in [200, 400, 800, 1600, 2000, 2000] {
            let step = steps.next().unwrap();
            let range = Duration::from_millis(expected / 2)..=Duration::from_millis(expected);
            assert!(range.contains(&step), "{step:?} in {range:?}");
        }
        steps.reset();
        assert!(steps.next().unwrap() <= Duration::from_millis(200));
    }
}
