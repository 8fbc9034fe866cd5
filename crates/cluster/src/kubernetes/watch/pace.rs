//! How long to wait after a failure: twice as long after each in a row, up to a limit.

use std::time::Duration;

use super::WatchOptions;
use super::failure::Failure;

/// The failures in a row.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
    /// Whether the last one was that nobody answered.
    silent: bool,
}

impl Pace {
    /// Takes in a failure. Says how long to wait, before jitter.
    pub(super) fn failed(&mut self, failure: &Failure, options: &WatchOptions) -> Duration {
        let silent = matches!(failure, Failure::Unreachable(_));
        self.failures += 1;
        if std::mem::replace(&mut self.silent, silent) && !silent {
            // A server that is back refuses everybody as long as it does not know the rights yet: that passes quickly.
            self.failures = 1;
        }
        let doubled = options.retry.saturating_mul(1 << (self.failures - 1).min(16));
        let longest = options.retry_at_most.saturating_mul(if failure.lasting() { 2 } else { 1 });
        doubled.min(longest)
    }

    /// How many there were.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_back_is_asked_quickly() {
        let options = WatchOptions {
            retry: Duration::from_millis(200),
            retry_at_most: Duration::from_secs(5),
            ..WatchOptions::default()
        };
        let away = Failure::Unreachable("refused".into());
        let forbidden = Failure::Refused { code: 403, message: "no".into(), retry_after: None };
        let mut pace = Pace::default();
        let mut waits = |failure: &Failure, times: usize| -> Vec<u128> {
            (0..times).map(|_| pace.failed(failure, &options).as_millis()).collect()
        };
        assert_eq!(waits(&away, 7), [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(waits(&forbidden, 7), [200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert_eq!(waits(&away, 2), [5000, 5000], "one that refuses and is gone is as it was");
        assert_eq!(waits(&forbidden, 1), [200]);
    }
}
