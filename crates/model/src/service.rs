//! Services, and what becomes of them in other clusters: exports and imports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ClusterName, ObjectName, Port, Protocol};

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name; empty for the only port of a service.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that clients dial.
    pub port: Port,
    /// What is spoken there, as in Kubernetes' `appProtocol`; empty when nobody said.
    pub app_protocol: String,
}

impl ServicePort {
    /// A port of which nobody said what is spoken there.
    pub fn new(name: impl Into<String>, protocol: Protocol, port: Port) -> Self {
        Self { name: name.into(), protocol, port, app_protocol: String::new() }
    }
}

/// Which clusters' backends a client gets first. Two of the words are Cilium's (`affinity: local`, `remote`) and know no
/// nearness; the others order by the ladder.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Prefer {
    /// The nearest: node, zone, region, cluster, then the other clusters by round-trip time.
    #[default]
    Ladder,
    /// All alike, wherever they are: Cilium's `affinity: none`.
    Even,
    /// Those of the own cluster, all alike; those of others, all alike, only when it has none: Cilium's
    /// `affinity: local`.
    Local,
    /// Those of other clusters, all alike; those of the own one only when they have none: Cilium's `affinity: remote`.
    Remote,
    /// Those of the own cluster by the ladder; those of others by the ladder, only when it has none.
    LadderLocal,
    /// Those of other clusters by the ladder; those of the own one by the ladder, only when they have none.
    LadderRemote,
    /// Those of these clusters, in this order, then the others by the ladder. Within the own cluster the ladder counts.
    Clusters(Vec<ClusterName>),
}

/// How the backends of a client's own cluster stand to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// The nearest first.
    #[default]
    Ladder,
    /// All alike, as kube-proxy has them.
    Even,
}

/// How clients of a service are spread over its backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Which cluster's backends come first.
    pub prefer: Prefer,
    /// How those of the own cluster stand to each other.
    pub spread: Spread,
    /// What the weights of a cluster's backends are multiplied by, 0 for none of it; 1 for a cluster that is not named.
    pub cluster_weights: BTreeMap<ClusterName, u16>,
    /// What a cluster's backends are meant to carry together, in units of a backend's weight: it counts in place of the
    /// weights of those that are there.
    pub capacities: BTreeMap<ClusterName, u32>,
}

impl Traffic {
    /// What the weights of a cluster's backends are multiplied by.
    pub fn weight_of(&self, cluster: &ClusterName) -> u16 {
        self.cluster_weights.get(cluster).copied().unwrap_or(1)
    }
}

/// What the oldest export of a name decides for all (KEP-1645).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Whether it has no virtual address: clients are told of the endpoints themselves.
    pub headless: bool,
    /// Seconds for which a client stays with its backend; none without session affinity.
    pub session_affinity: Option<u32>,
    /// `internalTrafficPolicy` is `Local`.
    pub internal_local: bool,
    /// `trafficDistribution`; empty when nobody said.
    pub traffic_distribution: String,
    /// The families of its addresses, in order; whether each is IPv6. Empty when nobody said.
    pub ipv6: Vec<bool>,
    /// Labels for the import.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the import.
    pub annotations: BTreeMap<String, String>,
}

/// That a service is exported (a ServiceExport of the MCS API).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Export {
    /// When the export was created, in seconds since 1970: of two that differ, the older decides.
    pub created: i64,
    /// What it would have the import be.
    pub terms: Terms,
}

/// What the services that are exported under one name are together, for the clients of one cluster (a ServiceImport of
/// the MCS API). Never leaves the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The cluster whose import it is, and the name.
    pub key: ServiceKey,
    /// Its clusterset IPs, at most one a family; none for a headless one.
    pub vips: Vec<IpAddr>,
    /// The union of the exported ports.
    pub ports: Vec<ServicePort>,
    /// What the oldest export decides.
    pub terms: Terms,
    /// Which clusters' backends come first.
    pub traffic: Traffic,
    /// The clusters that export it, in order: their services of this name answer, each on the ports that it has.
    pub clusters: Vec<ClusterName>,
}

/// A port under which a service is reached at every node's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePort {
    /// The service's port, by its number.
    pub port: Port,
    /// The protocol of both.
    pub protocol: Protocol,
    /// The port at the node.
    pub node_port: Port,
}

/// The part of the Service API that a service's own cluster carries out and nobody else asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// `internalTrafficPolicy` is `Local`: clients of a virtual address get backends of their own node or none.
    pub internal_local: bool,
    /// `externalTrafficPolicy` is `Local`: what comes from outside stays on the node where it comes in.
    pub external_local: bool,
    /// Seconds for which a client stays with its backend; none without session affinity.
    pub session_affinity: Option<u32>,
    /// Its ports at every node's address.
    pub node_ports: Vec<NodePort>,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// The addresses of its load balancers, where they are to be answered for here (`ipMode: VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may dial `load_balancer_ips` from outside (`loadBalancerSourceRanges`), without overlaps. None: everybody. An
    /// empty list is nobody: some were written, and none of them can be used.
    pub source_ranges: Option<Vec<IpNet>>,
    /// Where every node says whether it has endpoints of its own (`healthCheckNodePort`); of a LoadBalancer with
    /// `external_local` only.
    pub health_check_node_port: Option<Port>,
    /// Another proxy serves it (`service.kubernetes.io/service-proxy-name`).
    pub other_proxy: bool,
}

/// A service of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Which.
    pub key: ServiceKey,
    /// Its virtual addresses, at most one a family; none for a headless service.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Whether it has no virtual addresses on purpose.
    pub headless: bool,
    /// Whether the service of the same name and namespace in other clusters is one with it.
    pub global: bool,
    /// Whether, being global, it lends its endpoints to other clusters.
    pub shared: bool,
    /// How its clients are spread over clusters.
    pub traffic: Traffic,
    /// That it is exported; none when it is not.
    pub export: Option<Export>,
    /// What its own cluster does for its clients.
    pub access: Access,
}

impl Service {
    /// A service of which nothing else is said: it is its cluster's alone, and its clients are spread by the ladder.
    pub fn new(key: ServiceKey, vips: Vec<IpAddr>, ports: Vec<ServicePort>) -> Self {
        Self {
            key,
            vips,
            ports,
            headless: false,
            global: false,
            shared: false,
            traffic: Traffic::default(),
            export: None,
            access: Access::default(),
        }
    }

    /// Whether other clusters may know of it.
    pub fn travels(&self) -> bool {
        (self.global && self.shared) || self.export.is_some()
    }
}

/// Names a service: its cluster, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The cluster whose service it is.
    pub cluster: ClusterName,
    /// Namespace and name.
    pub name: ObjectName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}
