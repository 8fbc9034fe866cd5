//! What was claimed and not granted.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, NodeName, PublicKey};

/// A claim that was not granted. The rest of the mesh works without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The world does not have this node yet.
    #[error("node {0} is not known to its own cluster yet: check that its Node object exists")]
    Myself(NodeName),
    /// Two clusters claim one range.
    #[error(
        "cluster {loser}'s pod range {range} overlaps cluster {winner}'s and is left out: give them disjoint ranges"
    )]
    Clusters {
        /// The range that is not used.
        range: IpNet,
        /// Who claimed it too late.
        loser: ClusterName,
        /// Who has it.
        winner: ClusterName,
    },
    /// A cluster's pod range has this machine's own address in it.
    #[error(
        "cluster {cluster}'s pod range {range} contains this node's own address {address} and is left out: pods need a range that no machine has"
    )]
    Underlay {
        /// Whose range.
        cluster: ClusterName,
        /// The range that is not used.
        range: IpNet,
        /// The address in it.
        address: IpAddr,
    },
    /// A node claims a range outside its cluster's.
    #[error("node {node}'s pod range {range} is outside cluster {}'s pod ranges and is left out", node.cluster)]
    Outside {
        /// Who claims it.
        node: NodeName,
        /// The range.
        range: IpNet,
    },
    /// Two nodes claim one range.
    #[error("node {loser}'s pod range {range} overlaps node {winner}'s and is left out")]
    Nodes {
        /// The range that is not used.
        range: IpNet,
        /// Who claimed it too late.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// Two nodes show one key.
    #[error(
        "node {loser} shows node {winner}'s WireGuard key {key} and gets no tunnel: remove its private.key and restart its agent"
    )]
    Keys {
        /// The key.
        key: PublicKey,
        /// Who showed it too late.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// A range that somebody put behind a node is in use.
    #[error(
        "node {loser}'s allowed-location-ips {range} overlaps node {winner}'s and is left out: write each range at one node"
    )]
    LocationRanges {
        /// The range that is not used.
        range: IpNet,
        /// Behind whom it is not.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// A range that somebody put behind a node belongs to pods.
    #[error(
        "node {node}'s allowed-location-ips {range} begins inside cluster {cluster}'s pod ranges and is left out"
    )]
    LocationPods {
        /// Behind whom it is not.
        node: NodeName,
        /// The range that is not used.
        range: IpNet,
        /// Whose pods.
        cluster: ClusterName,
    },
    /// A range that somebody put behind a node has the end of a tunnel in it.
    #[error(
        "node {node}'s allowed-location-ips {range} contains {endpoint}, where a tunnel of this node leads, and is left out"
    )]
    LocationUnderlay {
        /// Behind whom it is not.
        node: NodeName,
        /// The range that is not used here.
        range: IpNet,
        /// The address in it.
        endpoint: IpAddr,
    },
}
