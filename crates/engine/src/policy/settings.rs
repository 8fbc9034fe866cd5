//! What the operator may choose of policy.

use model::{ClusterName, NodeName};
use serde::{Deserialize, Serialize};

/// Whose pods are judged, and how policies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose pods are judged.
    pub scope: Scope,
    /// Which clusters a selector means that does not say so.
    pub selectors: Selectors,
    /// What becomes of policies of other clusters.
    pub distributed: Distributed,
    /// How much the kernel has room for.
    pub limits: Limits,
}

impl Settings {
    /// A node's, with nothing chosen.
    pub fn of_node(node: NodeName) -> Self {
        Self {
            scope: Scope::Node(node),
            selectors: Selectors::default(),
            distributed: Distributed::default(),
            limits: Limits::default(),
        }
    }
}

/// Whose pods are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A node's.
    Node(NodeName),
    /// A whole cluster's: to explain, never to enforce. No node is the pods' own there.
    Cluster(ClusterName),
}

impl Scope {
    /// The own cluster.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Node(node) => &node.cluster,
            Self::Cluster(cluster) => cluster,
        }
    }
}

/// Which clusters a selector of pods means that names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selectors {
    /// The one that applies the policy.
    #[default]
    Local,
    /// All of them.
    Clusterset,
}

/// What becomes of policies that other clusters distribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distributed {
    /// Nothing.
    #[default]
    Ignore,
    /// They hold for the own pods, too.
    Accept,
}

/// What becomes of flows that there are when policies change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Established {
    /// They are judged again.
    #[default]
    Cut,
    /// They go on.
    Keep,
}

/// How many entries the kernel has room for. What does not fit closes the pods and directions concerned, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Verdicts of all rulesets.
    pub verdicts: usize,
    /// Addresses of pods and nodes. Whoever finds no room is unknown.
    pub identities: usize,
    /// Ranges of addresses.
    pub networks: usize,
    /// Addresses that names led to. What finds no room was not learned.
    pub names: usize,
}

impl Limits {
    /// As many as there are: to explain.
    pub const NONE: Self =
        Self { verdicts: usize::MAX, identities: usize::MAX, networks: usize::MAX, names: usize::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self { verdicts: 262_144, identities: 131_072, networks: 262_144, names: 65_536 }
    }
}
