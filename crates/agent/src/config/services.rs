//! The services' part of the configuration.

use std::time::Duration;

use engine::services::{LoadBalancerMode, LoadBalancing, NodePortAddresses, TableSize};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The word for the addresses by which the cluster knows a node, as in kube-proxy's configuration.
const PRIMARY: &str = "primary";

/// What the node does for services beyond leading sockets to backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Services {
    /// At which of the nodes' addresses node ports are dialled: ranges, or `primary` alone for the nodes' InternalIPs.
    /// Empty: at all of them.
    pub node_port_addresses: Vec<String>,
    /// Whom backends on other nodes see of clients outside of the cluster: `snat`, the node where the client came in; `dsr`,
    /// the client, which is answered by the backend's node.
    pub load_balancer_mode: LoadBalancerMode,
    /// How backends of clients outside are chosen.
    pub load_balancer_algorithm: LoadBalancerAlgorithm,
    /// How many places each table of Maglev has.
    pub maglev_table_size: TableSize,
    /// Whether connections that a service led to an endpoint are ended once the endpoint is deleted.
    pub reset_gone_backends: bool,
    /// For how many seconds it must have been gone.
    pub gone_backend_grace_period_seconds: u32,
    /// Whether backends that fail the connects of this node's clients get none for a while.
    pub eject_outliers: bool,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            node_port_addresses: Vec::new(),
            load_balancer_mode: LoadBalancerMode::Snat,
            load_balancer_algorithm: LoadBalancerAlgorithm::Random,
            maglev_table_size: TableSize::DEFAULT,
            reset_gone_backends: true,
            gone_backend_grace_period_seconds: 10,
            eject_outliers: false,
        }
    }
}

/// How backends of clients outside are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerAlgorithm {
    /// Each node draws among the nearest.
    #[default]
    Random,
    /// All nodes of a cluster choose the same for a flow, by tables.
    Maglev,
}

impl Services {
    /// At which of the nodes' addresses node ports are dialled; nothing if that cannot be told.
    pub(crate) fn node_ports(&self) -> Option<NodePortAddresses> {
        match self.node_port_addresses.as_slice() {
            [] => Some(NodePortAddresses::All),
            [word] if word == PRIMARY => Some(NodePortAddresses::Primary),
            ranges => {
                let ranges = ranges.iter().map(|text| text.parse::<IpNet>().map(|range| range.trunc()));
                ranges.collect::<Result<_, _>>().ok().map(NodePortAddresses::Ranges)
            }
        }
    }

    /// How clients outside are served.
    pub(crate) fn balancing(&self) -> LoadBalancing {
        let maglev = match self.load_balancer_algorithm {
            LoadBalancerAlgorithm::Random => None,
            LoadBalancerAlgorithm::Maglev => Some(self.maglev_table_size),
        };
        LoadBalancing { mode: self.load_balancer_mode, maglev }
    }

    /// How long an endpoint must have been gone before connections to it are ended; nothing if they never are.
    pub(crate) fn grace(&self) -> Option<Duration> {
        let seconds = self.gone_backend_grace_period_seconds;
        self.reset_gone_backends.then(|| Duration::from_secs(seconds.into()))
    }
}
