//! What the controller says of the mesh, and how peers are written through it.

use model::{Cluster, ClusterName, Node, NodeName, Peer};
use serde::{Deserialize, Serialize};

/// What a mesh is planned from, as the controller has it. Secrets are not in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshReport {
    /// The cluster whose controller answers.
    pub cluster: ClusterName,
    /// Every cluster that it knows.
    pub clusters: Vec<Cluster>,
    /// Their nodes.
    pub nodes: Vec<Node>,
    /// Their peers.
    pub peers: Vec<Peer>,
}

/// Has the controller write a Peer object where its cluster's objects are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerWrite {
    /// The object, as JSON or YAML.
    pub manifest: String,
}

/// Has nodes of the cluster make new WireGuard keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateKeys {
    /// Which, by their names alone; none: all of them.
    #[serde(default)]
    pub nodes: Option<Vec<String>>,
}

/// Which nodes were asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysRequested {
    /// The number of the request.
    pub number: u64,
    /// The nodes.
    pub nodes: Vec<NodeName>,
}
