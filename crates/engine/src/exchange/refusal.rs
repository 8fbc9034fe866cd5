//! What was refused, and why: a closed set of reasons, counted each, reported once per object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::Key;
use serde::{Deserialize, Serialize};

/// How many different refusals are remembered as reported. Beyond it they are counted only.
const REMEMBERED: usize = 1024;

/// Why something that was heard was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// An object of another cluster than the one that speaks.
    ForeignCluster,
    /// The cluster changed its id since it was linked.
    WrongId,
    /// A pod range that another cluster has already.
    CidrOverlap,
    /// A node's range, or an endpoint's or pod's address, outside the pod ranges of its cluster.
    OutsideCidrs,
    /// An endpoint or pod on a node of another cluster.
    ForeignNode,
    /// A node with the WireGuard key of a node of ours.
    ForeignKey,
    /// A service that is neither shared nor exported, a namespace that is not shared, a policy that is not distributed, or
    /// something that never leaves its cluster.
    NotExported,
    /// Bytes that do not parse as the object they claim to be.
    Malformed,
}

impl Reason {
    /// The reason as metrics and logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForeignCluster => "foreign-cluster",
            Self::WrongId => "wrong-id",
            Self::CidrOverlap => "cidr-overlap",
            Self::OutsideCidrs => "outside-cidrs",
            Self::ForeignNode => "foreign-node",
            Self::ForeignKey => "foreign-key",
            Self::NotExported => "not-exported",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What; none when not even that could be read.
    pub key: Option<Key>,
    /// What was said, and what to check.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: refused ({}): {}", self.reason, self.detail),
            None => write!(f, "an object was refused ({}): {}", self.reason, self.detail),
        }
    }
}

/// Counts refusals, and tells the first of each from its repetitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: BTreeMap<Reason, u64>,
    reported: BTreeSet<(Reason, Option<Key>)>,
}

impl Refusals {
    /// Counts a refusal. Returns whether to report it: it is the first of its reason and key.
    pub fn note(&mut self, refusal: &Refusal) -> bool {
        *self.counts.entry(refusal.reason).or_default() += 1;
        let what = (refusal.reason, refusal.key.clone());
        self.reported.len() < REMEMBERED && self.reported.insert(what)
    }

    /// The counts by reason.
    pub fn counts(&self) -> &BTreeMap<Reason, u64> {
        &self.counts
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
