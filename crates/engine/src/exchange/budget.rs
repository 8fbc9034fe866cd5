//! How much another cluster may make us hold, and how fast it may speak.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a link may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// Objects held.
    pub objects: u64,
    /// Bytes held, as [`super::weight`] counts them.
    pub bytes: u64,
    /// Changes told, in the long run. A whole snapshot at once is always allowed.
    pub changes_per_second: u64,
    /// Bytes told, in the long run. A whole snapshot at once is always allowed.
    pub bytes_per_second: u64,
}

impl Default for Budget {
    /// Far beyond what a cluster of 5,000 nodes says: Kubernetes itself ends at 150,000 pods.
    fn default() -> Self {
        Self {
            objects: 500_000,
            bytes: 512 * 1024 * 1024,
            changes_per_second: 5_000,
            bytes_per_second: 8 * 1024 * 1024,
        }
    }
}

/// A part of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// [`Budget::objects`].
    Objects,
    /// [`Budget::bytes`].
    Bytes,
    /// [`Budget::changes_per_second`].
    ChangesPerSecond,
    /// [`Budget::bytes_per_second`].
    BytesPerSecond,
}

impl Measure {
    /// As settings and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Bytes => "bytes",
            Self::ChangesPerSecond => "changesPerSecond",
            Self::BytesPerSecond => "bytesPerSecond",
        }
    }
}

/// A budget was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Overrun {
    /// Which part of it.
    pub measure: Measure,
    /// How much is allowed.
    pub limit: u64,
    /// How much there would be.
    pub found: u64,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measure, limit, found } = self;
        let what = match measure {
            Measure::Objects => "objects held",
            Measure::Bytes => "bytes held",
            Measure::ChangesPerSecond => "changes a second, over what a snapshot may bring at once",
            Measure::BytesPerSecond => "bytes a second, over what a snapshot may bring at once",
        };
        write!(f, "budget {} exceeded: {found} {what}, {limit} are allowed", measure.as_str())
    }
}

/// Counts what is told against what may be told.
#[derive(Debug, Clone)]
pub struct Meter {
    budget: Budget,
    changes: Bucket,
    bytes: Bucket,
}

impl Meter {
    /// A meter that has seen nothing. At once may be told twice what may be held: a snapshot that is broken off, and the
    /// next.
    pub fn new(budget: Budget, now: Duration) -> Self {
        Self {
            budget,
            changes: Bucket::new(budget.changes_per_second, budget.objects.saturating_mul(2), now),
            bytes: Bucket::new(budget.bytes_per_second, budget.bytes.saturating_mul(2), now),
        }
    }

    /// What is allowed.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes in that so much was told.
    ///
    /// # Errors
    /// It is more than is allowed. Nothing of it may be used.
    pub fn charge(&mut self, changes: u64, bytes: u64, now: Duration) -> Result<(), Overrun> {
        let overrun = |measure, limit| move |found| Overrun { measure, limit, found };
        let Budget { changes_per_second, bytes_per_second, .. } = self.budget;
        let counted = self.changes.take(changes, now);
        let weighed = self.bytes.take(bytes, now);
        counted.map_err(overrun(Measure::ChangesPerSecond, changes_per_second))?;
        weighed.map_err(overrun(Measure::BytesPerSecond, bytes_per_second))
    }

    /// Changes a second, over the last ten or so.
    pub fn changes_per_second(&self, now: Duration) -> f64 {
        self.changes.rate(now)
    }

    /// Bytes a second, over the last ten or so.
    pub fn bytes_per_second(&self, now: Duration) -> f64 {
        self.bytes.rate(now)
    }
}

/// What fills at a rate and is taken from.
#[derive(Debug, Clone)]
struct Bucket {
    rate: f64,
    size: f64,
    level: f64,
    at: Duration,
    /// What was taken a second, the older the less.
    seen: f64,
}

/// The time after which what was taken counts a third.
const MEMORY: f64 = 10.0;

impl Bucket {
    /// Full.
    fn new(rate: u64, size: u64, now: Duration) -> Self {
        let (rate, size) = (rate as f64, (size as f64).max(rate as f64));
        Self { rate, size, level: size, at: now, seen: 0.0 }
    }

    fn take(&mut self, amount: u64, now: Duration) -> Result<(), u64> {
        self.seen = self.rate(now) + amount as f64 / MEMORY;
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.size);
        self.at = self.at.max(now);
        if self.level < amount as f64 {
            return Err(self.seen.max(amount as f64) as u64);
        }
        self.level -= amount as f64;
        Ok(())
    }

    fn rate(&self, now: Duration) -> f64 {
        self.seen * (-now.saturating_sub(self.at).as_secs_f64() / MEMORY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_at_once_then_a_rate() {
        let budget = Budget { objects: 500, bytes: 5_000, changes_per_second: 10, bytes_per_second: 1000 };
        let second = Duration::from_secs;
        let mut meter = Meter::new(budget, second(5));
        assert_eq!(meter.charge(1000, 5000, second(5)), Ok(()));
        let overrun = meter.charge(1, 1, second(5)).unwrap_err();
        assert_eq!((overrun.measure, overrun.limit), (Measure::ChangesPerSecond, 10));
        assert!(overrun.to_string().contains("budget changesPerSecond exceeded"), "{overrun}");
        // What is allowed in the long run may go on for ever.
        for at in 6..1000 {
            assert_eq!(meter.charge(10, 900, second(at)), Ok(()), "{at}");
        }
        let rate = meter.changes_per_second(second(1000));
        assert!((9.0..11.0).contains(&rate), "{rate}");
        // A clock that stands still or goes back gives nothing.
        assert_eq!(meter.charge(0, 20_000, second(900)).unwrap_err().measure, Measure::BytesPerSecond);
        // In time there may be a snapshot again.
        assert_eq!(meter.charge(1000, 10_000, second(2000)), Ok(()));
        assert!(meter.changes_per_second(second(3000)) < 0.01);
    }
}
