//! What a node says of itself.

use std::net::IpAddr;

use model::PublicKey;

/// What an agent reports to its controller: the parts of its [`model::Node`] that only the node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// The UDP port its tunnel listens on.
    pub port: u16,
    /// The addresses of its underlay device; empty when the cluster's source names them already.
    pub addresses: Vec<IpAddr>,
}
