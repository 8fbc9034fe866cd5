//! What is to be played.

use crate::{Misdeed, Path, Shape};

/// How frames become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Each message compressed by itself, as gRPC does it.
    Messages,
    /// As they are.
    Plain,
}

/// Clusters that cannot reach the others for a while. Both sides go on changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// How many: the first ones, which are also those that hear.
    pub clusters: usize,
    /// Seconds from the beginning of the changes to the cut.
    pub from: u64,
    /// Seconds from the beginning of the changes to the end of it.
    pub to: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Clusters, at most 250. Each tells.
    pub clusters: usize,
    /// How many of them, the first ones, hear all others.
    pub hearers: usize,
    /// Agents of each cluster that hears.
    pub agents: usize,
    /// What each cluster holds.
    pub shape: Shape,
    /// Changes a second, over all clusters.
    pub changes: u64,
    /// Seconds for which there are changes, once everybody knows everything.
    pub seconds: u64,
    /// Between clusters.
    pub path: Path,
    /// Between a controller and its agents.
    pub agent_path: Path,
    /// How long a stream between clusters lives on average, in seconds; without one none breaks by itself.
    pub breaks: Option<u64>,
    /// Who is cut off.
    pub partition: Option<Partition>,
    /// What the last cluster does that it must not.
    pub misdeed: Option<Misdeed>,
    /// How frames become bytes.
    pub encoding: Encoding,
}

impl Default for Scenario {
    /// Small: a test of a second.
    fn default() -> Self {
        Self {
            seed: 1,
            clusters: 6,
            hearers: 2,
            agents: 2,
            shape: Shape { nodes: 4, endpoints: 40, services: 4 },
            changes: 50,
            seconds: 20,
            path: Path { delay: 40_000, jitter: 4_000, bandwidth: 12_500_000, loss: 0 },
            agent_path: Path { delay: 500, jitter: 100, bandwidth: 125_000_000, loss: 0 },
            breaks: None,
            partition: None,
            misdeed: None,
            encoding: Encoding::Messages,
        }
    }
}
