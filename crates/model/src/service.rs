//! Services, and what becomes of them in other clusters: exports and imports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

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

/// Which clusters' backends a client gets first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Those of these clusters, in this order, then the others by the ladder. Within the own cluster the ladder counts.
    Clusters(Vec<ClusterName>),
}

/// How clients of a service are spread over the clusters that have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// Whose backends come first.
    pub prefer: Prefer,
    /// What the weights of a cluster's backends are multiplied by, 0 for none of it; 1 for a cluster that is not named.
    pub cluster_weights: BTreeMap<ClusterName, u16>,
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
}

impl Service {
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
