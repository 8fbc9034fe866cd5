//! The smoothed round-trip time of RFC 6298.

use std::time::Duration;

/// Smoothed time and its variation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rtt {
    smoothed: Duration,
    variation: Duration,
}

impl Rtt {
    /// Takes a sample in.
    pub(super) fn update(before: Option<Self>, sample: Duration) -> Self {
        match before {
            None => Self { smoothed: sample, variation: sample / 2 },
            Some(Self { smoothed, variation }) => Self {
                variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
                smoothed: (smoothed * 7 + sample) / 8,
            },
        }
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

    #[test]
    fn smoothing() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::update(None, ms(80));
        assert_eq!((rtt.smoothed(), rtt.overdue()), (ms(80), ms(240)));
        rtt = Rtt::update(Some(rtt), ms(160));
        assert_eq!((rtt.smoothed(), rtt.overdue()), (ms(90), ms(290)));
        for _ in 0..100 {
            rtt = Rtt::update(Some(rtt), ms(20));
        }
        assert!(rtt.smoothed() < ms(21) && rtt.overdue() < ms(22));
    }
}
