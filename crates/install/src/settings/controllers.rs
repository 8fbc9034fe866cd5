//! The cluster's daemon.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Resources, Toleration};

/// The cluster's daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Controllers {
    /// The nodes that run a controller, one each, on the host's network: one leads, the others stand by. Two or three
    /// are enough for any cluster.
    pub nodes: Vec<String>,
    /// Where agents and other clusters' controllers reach them, as ADDRESS:PORT: the nodes' addresses, or a load
    /// balancer's that passes TCP through. Every agent has them in its configuration, because no service works before
    /// the agent does.
    #[schemars(inner(regex(pattern = r"^([0-9.]+|\[[0-9a-f:.]+\]):[0-9]{1,5}$")), with = "Vec<String>")]
    pub addresses: Vec<SocketAddr>,
    /// Where other clusters' controllers reach them, as ADDRESS:PORT or NAME:PORT; empty: at the same addresses.
    #[schemars(inner(regex(pattern = r"^([A-Za-z0-9._-]+|\[[0-9a-f:.]+\]):[0-9]{1,5}$")))]
    pub addresses_for_clusters: Vec<String>,
    /// The TCP port that agents and other controllers connect to.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The TCP port of metrics and health.
    #[schemars(range(min = 1))]
    pub http_port: u16,
    /// Where controllers reach the API server. Needed where nothing else makes the `kubernetes` service work on nodes
    /// before the agent runs, that is without kube-proxy.
    pub api_server: ApiServer,
    /// The cluster's CA.
    pub authority: Authority,
    /// What a controller asks for, and may use at most.
    pub resources: Resources,
    /// What a controller puts up with on its node.
    pub tolerations: Vec<Toleration>,
    /// The priority of controllers.
    pub priority_class_name: String,
}

impl Default for Controllers {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            addresses: Vec::new(),
            addresses_for_clusters: Vec::new(),
            port: 9640,
            http_port: 9642,
            api_server: ApiServer::default(),
            authority: Authority::default(),
            resources: Resources::requests("50m", "64Mi"),
            tolerations: vec![
                Toleration::of("node-role.kubernetes.io/control-plane"),
                Toleration::of("node.kubernetes.io/not-ready"),
                Toleration::of("node.kubernetes.io/network-unavailable"),
                Toleration::of("node.cloudprovider.kubernetes.io/uninitialized"),
            ],
            priority_class_name: "system-cluster-critical".into(),
        }
    }
}

/// The cluster's CA: how long what it makes is good, in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authority {
    /// How long a root is valid.
    #[schemars(range(min = 1))]
    pub root_days: u16,
    /// How old a root becomes before the next one takes its place. Everybody follows by itself.
    #[schemars(range(min = 1))]
    pub rotate_after_days: u16,
    /// How long an old root still counts after that.
    pub grace_days: u16,
}

impl Default for Authority {
    fn default() -> Self {
        Self { root_days: 3650, rotate_after_days: 1825, grace_days: 30 }
    }
}

/// The API server, by an address that needs no service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiServer {
    /// Its address or name; empty: the `kubernetes` service.
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1))]
    pub port: u16,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self { host: String::new(), port: 6443 }
    }
}
