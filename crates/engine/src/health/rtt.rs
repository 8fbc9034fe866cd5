//! The smoothed round-trip time of RFC 6298, hardened against a busy machine: a machine can only make a time longer,
//! so the least of the first samples is the beginning, and one late answer later on moves little.

use std::time::Duration;

/// So many samples are needed before the time is settled; until then the least of them counts.
const FIRST: u32 = 4;

/// The variation is never taken for less, lest a steady time could not change any more.
const LEAST_VARIATION: Duration = Duration::from_micros(50);

/// Smoothed time and its variation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rtt {
    smoothed: Duration,
    variation: Duration,
    samples: u32,
}

impl Rtt {
    /// Takes a sample in.
    pub(super) fn update(before: Option<Self>, sample: Duration) -> Self {
        match before {
            None => Self { smoothed: sample, variation: sample / 2, samples: 1 },
            Some(Self { smoothed, samples, .. }) if samples < FIRST => {
                let least = smoothed.min(sample);
                Self { smoothed: least, variation: least / 2, samples: samples + 1 }
            }
            Some(Self { smoothed, variation, samples }) => {
                // A change that lasts widens the variation, and is followed within some ten samples.
                let usual = variation.max(smoothed / 16).max(LEAST_VARIATION);
                let sample = sample.min(smoothed + usual * 4);
                Self {
                    variation: (usual * 3 + smoothed.abs_diff(sample)) / 4,
                    smoothed: (smoothed * 7 + sample) / 8,
                    samples,
                }
            }
        }
    }

    /// Whether enough was sampled.
    pub(super) fn is_settled(&self) -> bool {
        self.samples == FIRST
    }

    /// The smoothed time.
    pub(super) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// When an answer is overdue.
    pub(super) fn overdue(&self) -> Duration {
        self.smoothed + self.variation * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = u64>) -> Rtt {
        let all = samples.into_iter().map(Duration::from_millis);
        all.fold(None, |rtt, sample| Some(Rtt::update(rtt, sample))).expect("at least one")
    }

    #[test]
    fn the_first_is_the_beginning() {
        let rtt = after([80]);
        assert_eq!(
            (rtt.smoothed().as_millis(), rtt.overdue().as_millis(), rtt.is_settled()),
            (80, 240, false)
        );
    }

    #[test]
    fn the_least_of_the_first_counts() {
        let rtt = after([150, 20, 90, 30]);
        assert_eq!((rtt.smoothed().as_millis(), rtt.is_settled()), (20, true));
    }

    #[test]
    fn one_late_answer_moves_little() {
        let steady = || std::iter::repeat_n(20, 50);
        let before = after(steady()).smoothed();
        let late = after(steady().chain([900])).smoothed();
        assert!(late < before + Duration::from_millis(2), "{late:?}");
        assert_eq!(after(steady().chain([900]).chain(steady())).smoothed().as_millis(), 20);
    }

    #[test]
    fn a_change_that_lasts_is_followed() {
        for (from, to) in [(20, 80), (80, 20), (1, 100)] {
            let rtt = after(std::iter::repeat_n(from, 50).chain(std::iter::repeat_n(to, 30)));
            let off = rtt.smoothed().abs_diff(Duration::from_millis(to));
            assert!(off < Duration::from_millis(to) / 10, "{from} to {to}: {:?}", rtt.smoothed());
        }
    }
}
