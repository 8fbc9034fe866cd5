//! What the lab's daemon answers on its Unix socket: JSON over HTTP/1.1. One side of it is [`router`], the other
//! [`crate::client`].

mod serve;

use model::ClusterName;
use serde::{Deserialize, Serialize};

pub use serve::router;

/// How far `lab up` has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What has happened since the lines that were asked for.
    pub lines: Vec<String>,
    /// How many lines there are by now.
    pub count: usize,
    /// Where it stands.
    pub phase: Phase,
}

/// Where `lab up` stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Not there yet; this is still missing.
    Starting {
        /// In words.
        missing: Vec<String>,
    },
    /// All there.
    Up,
    /// It cannot come up.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// Puts Kubernetes objects into a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Apply {
    /// Which cluster.
    pub cluster: ClusterName,
    /// What errors call the text.
    pub file: String,
    /// The objects, in YAML.
    pub text: String,
}

/// Takes an object out of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delete {
    /// Which cluster.
    pub cluster: ClusterName,
    /// The kind, as a person writes it.
    pub kind: String,
    /// `NAMESPACE/NAME`, or the name alone for what is in no namespace or in `default`.
    pub name: String,
}

/// What was done, one line for each thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Such as `service demo/echo created`.
    pub changes: Vec<String>,
}

/// Two nodes or clusters, to be cut from each other or joined again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// As a person writes it.
    pub a: String,
    /// As a person writes it.
    pub b: String,
}

/// One node or cluster, to be killed or started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct One {
    /// As a person writes it.
    pub name: String,
}

/// Where a command for a pod or node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entrance {
    /// What was found: `pod aws/demo/client-aws-1`.
    pub target: String,
    /// The name of the network namespace.
    pub netns: String,
    /// The control group's directory.
    pub cgroup: String,
    /// A path that leads to the mount namespace; none for the machine's own.
    pub mount: Option<String>,
    /// A pod's own `resolv.conf`.
    pub resolv: Option<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
}
