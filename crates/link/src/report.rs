//! What a node says of itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::mesh::Transport;
use model::{GenerationId, KubeProxy, PublicKey, Reach};

/// What an agent reports to its controller: the parts of its [`model::Node`] that only the node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// The key that it will have next, which others are to believe already.
    pub next_key: Option<PublicKey>,
    /// Whether its tunnel lets others have two keys while they change theirs.
    pub knows_two_keys: bool,
    /// Whether its tunnel lets gateways stand in for each other.
    pub knows_groups: bool,
    /// The UDP port its tunnel listens on.
    pub port: u16,
    /// The addresses of its underlay device; empty when the cluster's source names them already.
    pub addresses: Vec<IpAddr>,
    /// Causeway's version there; empty from an agent that does not say.
    pub version: String,
    /// Whether kube-proxy is at work beside it.
    pub kube_proxy: KubeProxy,
    /// What it has found out about how nodes reach each other.
    pub reach: Reach,
    /// What it takes unencrypted from nodes of its location.
    pub takes: BTreeSet<Transport>,
    /// The generations of pre-shared keys that it holds, the newest first.
    pub generations: Vec<GenerationId>,
}
