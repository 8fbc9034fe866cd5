//! Services, as `causeway services` shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, NodeName, Protocol, Tier};
use serde::{Deserialize, Serialize};

use super::{BackendStatus, ConditionStatus, PortStatus};

/// Every service and import of a cluster, as one of its nodes sees them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReport {
    /// The node.
    pub from: NodeName,
    /// Services by name, then imports by name.
    pub services: Vec<ServiceReport>,
}

/// One service or import.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// The cluster whose clients dial it.
    pub cluster: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer`, `Headless`; of an import `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The node that sees it so, without the cluster.
    pub from: String,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// Whether it is one with its namesakes in other clusters.
    pub global: bool,
    /// Whether, being global, it lends its backends.
    pub shared: bool,
    /// Whether it is exported (a ServiceExport).
    pub exported: bool,
    /// What the status of its ServiceExport says (`Valid`, `Ready`, `Conflict`), where the controller could be asked.
    #[serde(default)]
    pub export_conditions: Vec<ConditionStatus>,
    /// Whether it is an import (a ServiceImport).
    pub imported: bool,
    /// Which clusters come first: `ladder`, `even`, `affinity-local`, `affinity-remote`, `local`, `remote`, or clusters in
    /// order with commas between them.
    pub prefer: String,
    /// What the weights of a cluster's backends are multiplied by, where it is not 1.
    pub cluster_weights: BTreeMap<ClusterName, u16>,
    /// What a cluster's backends are meant to carry together, in units of a backend's weight, where it is declared.
    #[serde(default)]
    pub capacities: BTreeMap<ClusterName, u32>,
    /// The clusters that have a backend for it, the nearest first.
    pub clusters: Vec<ClusterName>,
    /// How many backends could take connections.
    pub healthy: usize,
    /// How many there are.
    pub total: usize,
    /// What answers, nearest first.
    pub backends: Vec<BackendStatus>,
    /// The other clusters among them in the order in which they are asked, and how that order came about.
    #[serde(default)]
    pub distances: Vec<ClusterDistance>,
    /// The rungs behind the first address and port, in the order in which they are asked.
    #[serde(default)]
    pub tiers: Vec<ServiceTier>,
    /// What its clients dial, and the rungs behind each.
    #[serde(default)]
    pub frontends: Vec<ServiceFrontend>,
    /// What clients outside get on this node, where `externalTrafficPolicy` is `Local` or they are restricted.
    #[serde(default)]
    pub outside: Vec<ServiceOutside>,
    /// What was asked for and not granted.
    pub problems: Vec<String>,
    /// What is carried out as it is written, and hardly meant so.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// Where the data path does not hold what was planned; nothing where another node is looked from than answers.
    pub differences: Vec<String>,
}

/// How far another cluster is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDistance {
    /// Which.
    pub cluster: ClusterName,
    /// Its place among all other clusters, 1 for the nearest.
    pub place: usize,
    /// The smoothed round-trip time to it; none while nothing was measured.
    pub rtt_ms: Option<f64>,
    /// What the way there costs, as configured, in milliseconds of round-trip time.
    pub egress_cost_ms: f64,
    /// How much it is wanted, as configured.
    pub weight: u16,
    /// `(rtt + cost) / weight`: the less, the nearer.
    pub score_ms: Option<f64>,
}

/// An address and port that clients dial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFrontend {
    /// The address; the unspecified one of its family (`0.0.0.0`, `::`) for a port of the nodes.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The rungs behind it, in the order in which they are asked; none where nobody fits.
    pub tiers: Vec<ServiceTier>,
}

/// One rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTier {
    /// How near the furthest of its backends is.
    pub tier: Tier,
    /// Whose backends stand on it.
    pub clusters: Vec<ClusterName>,
    /// The weights of those that are ready.
    pub ready: u64,
    /// The weights of all, those that are shutting down left out; of a cluster that stands on no other rung, what is
    /// declared for it.
    pub capacity: u64,
    /// The part of what reaches it that goes on to the next, 0 to 1.
    pub passes: f64,
    /// Its part of all new connections now, 0 to 1.
    pub share: f64,
}

/// What clients outside get at an address and port of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOutside {
    /// The address they dial.
    pub address: IpAddr,
    /// The port they dial.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// What may answer: pods, `NAMESPACE/NAME`, or addresses.
    pub backends: Vec<String>,
    /// Whether backends see an address of the node in place of the client's.
    pub masquerade: bool,
    /// Whom backends see in the end: with direct server return some see the client although there is a masquerade.
    #[serde(default)]
    pub sees: Sees,
    /// Whether all nodes choose the same backend for a flow (Maglev); else each draws for itself.
    #[serde(default)]
    pub agreed: bool,
    /// What becomes of packets for which there is no backend.
    pub otherwise: Otherwise,
    /// Who may dial it; everybody if none.
    pub sources: Option<Vec<IpNet>>,
}

/// Whom backends see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// The node where the client came in.
    #[default]
    Node,
    /// The client.
    Client,
    /// Some the one, some the other: not all are on nodes that answer clients by themselves.
    Either,
}

/// What becomes of packets for which there is no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// They are answered with an error: nobody is behind the service anywhere.
    Refuse,
    /// They disappear: there are backends, on other nodes.
    Drop,
}
