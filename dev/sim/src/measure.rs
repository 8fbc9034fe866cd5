//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How old changes were when they arrived, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ages(Vec<u64>);

impl Ages {
    pub(crate) fn add(&mut self, age: u64) {
        self.0.push(age);
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The age that this many of a thousand were below.
    pub fn permille(&self, permille: usize) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl Serialize for Ages {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = |permille| self.permille(permille) as f64 / 1000.0;
        let values =
            [("p50Ms", milliseconds(500)), ("p99Ms", milliseconds(990)), ("maxMs", milliseconds(1000))];
        let mut map: BTreeMap<&str, f64> = values.into();
        map.insert("count", self.count() as f64);
        map.serialize(serializer)
    }
}

impl fmt::Display for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |permille| self.permille(permille) as f64 / 1000.0;
        let [half, most, all] = [500, 990, 1000].map(milliseconds);
        write!(f, "p50 {half:.1} ms, p99 {most:.1} ms, greatest {all:.1} ms of {}", self.count())
    }
}

/// What went over some of the streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Their bytes, with gRPC's, HTTP/2's and TLS' own.
    pub bytes: u64,
    /// Objects and deletions in them.
    pub changes: u64,
    /// Snapshots begun.
    pub snapshots: u64,
}

impl Traffic {
    /// What came since.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            changes: self.changes - before.changes,
            snapshots: self.snapshots - before.snapshots,
        }
    }

    /// Bytes for each change.
    pub fn bytes_per_change(&self) -> f64 {
        self.bytes as f64 / self.changes.max(1) as f64
    }
}

/// What a run has shown. Nothing in it depends on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Virtual milliseconds until every controller that hears knew everything.
    pub controllers_synced_ms: u64,
    /// The same for every agent.
    pub agents_synced_ms: u64,
    /// What went between controllers until then.
    pub bootstrap: Traffic,
    /// What went to agents until then.
    pub agents_bootstrap: Traffic,
    /// What went between controllers afterwards.
    pub churn: Traffic,
    /// What went to agents afterwards.
    pub agents_churn: Traffic,
    /// Changes made.
    pub made: u64,
    /// How old changes were when a controller of another cluster had them; without those that met a break.
    pub to_controllers: Ages,
    /// The same for agents.
    pub to_agents: Ages,
    /// Changes that met a break and arrived after it.
    pub delayed: u64,
    /// Streams that broke.
    pub breaks: u64,
    /// What went between controllers that had been apart, until each knew everything again.
    pub healing: Traffic,
    /// Virtual milliseconds that took.
    pub healed_ms: u64,
    /// What all of it would have been as snapshots.
    pub healing_as_snapshots: u64,
    /// Objects refused, over all.
    pub refused: u64,
    /// Objects held of the clusters that misbehave.
    pub held_of_hostile: u64,
    /// Where a receiver differs from what it should know; empty in a good run.
    pub diverged: Vec<String>,
}
