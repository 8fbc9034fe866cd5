//! What counts for services that do not say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What counts for services that do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Services {
    /// How the cluster's backends stand to each other where a service has no annotation `causeway.io/traffic`: the nearest
    /// first, or all alike as with kube-proxy.
    pub traffic: Traffic,
    /// What the ways to other clusters cost and how much each cluster is wanted, by its name, such as
    /// `{gcp: {egressCost: 30, weight: 1}}`. The less `(round-trip time + egressCost) / weight`, the nearer it counts.
    pub clusters: BTreeMap<String, OtherCluster>,
    /// At which of the nodes' addresses node ports are dialled: ranges, or `primary` alone for the nodes' InternalIPs, as in
    /// kube-proxy's configuration. Empty: at all of them.
    pub node_port_addresses: Vec<String>,
    /// Whom backends on other nodes see of clients outside of the cluster, where `externalTrafficPolicy` is `Cluster`: the node
    /// where the client came in (`snat`), or the client, which the backend's node then answers (`dsr`, direct server return).
    pub load_balancer_mode: LoadBalancerMode,
    /// How backends of clients outside are chosen where `externalTrafficPolicy` is `Cluster`: each node draws among the nearest
    /// (`random`), or all nodes of the cluster choose the same for a flow, among all backends of the cluster (`maglev`).
    pub load_balancer_algorithm: LoadBalancerAlgorithm,
    /// How many places each table of Maglev has: 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521 or 131071.
    pub maglev_table_size: u32,
    /// Whether connections that a service led to an endpoint are ended once the endpoint is deleted, so that clients dial
    /// anew instead of waiting for their timeouts.
    pub reset_gone_backends: bool,
    /// For how many seconds the endpoint must have been gone.
    pub gone_backend_grace_period_seconds: u32,
    /// Whether backends that refuse or do not answer the TCP connects of a node's clients get none from that node for a while;
    /// never more than half of a service's.
    pub eject_outliers: bool,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            traffic: Traffic::default(),
            clusters: BTreeMap::new(),
            node_port_addresses: Vec::new(),
            load_balancer_mode: LoadBalancerMode::default(),
            load_balancer_algorithm: LoadBalancerAlgorithm::default(),
            maglev_table_size: 1021,
            reset_gone_backends: true,
            gone_backend_grace_period_seconds: 10,
            eject_outliers: false,
        }
    }
}

/// How backends of one cluster stand to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "Kubernetes' own words; comments would turn them into alternatives in the schema"
)]
pub enum Traffic {
    #[default]
    Ladder,
    Even,
}

/// Whom backends on other nodes see of clients outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum LoadBalancerMode {
    #[default]
    Snat,
    Dsr,
}

/// How backends of clients outside are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum LoadBalancerAlgorithm {
    #[default]
    Random,
    Maglev,
}

/// What is to be thought of the way to another cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OtherCluster {
    /// What traffic there costs, as milliseconds of round-trip time that would be put up with to save it.
    #[schemars(range(max = 60000))]
    pub egress_cost: u32,
    /// How much it is wanted: a cluster of weight 2 counts as half as far.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u16,
}

impl Default for OtherCluster {
    fn default() -> Self {
        Self { egress_cost: 0, weight: 1 }
    }
}
