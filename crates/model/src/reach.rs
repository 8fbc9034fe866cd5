//! What a node finds out about how nodes reach each other: who is seen where, and who passes on for whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::NodeName;

/// What a node's agent has found out. It is told to everybody, so only what somebody needs is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reach {
    /// Whether the node passes on WireGuard's messages between nodes that do not reach each other.
    pub relays: bool,
    /// Where it sees other nodes, if that is none of their own addresses: a NAT stands between.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sees: BTreeMap<NodeName, SocketAddr>,
    /// Nodes that may pass on for it, and the round-trip time to each in microseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relayed_by: BTreeMap<NodeName, u32>,
}

impl Reach {
    /// The most nodes that one says it sees.
    pub const MOST_SEEN: usize = 1_024;

    /// The most nodes that may pass on for one.
    pub const MOST_RELAYS: usize = 8;

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a tunnel may end at this address.
pub fn is_endpoint(at: &SocketAddr) -> bool {
    let ip = at.ip();
    at.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback()
}
