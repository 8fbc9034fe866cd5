//! What answers for a service, and how near it is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{NodeName, Port, Protocol, ServiceKey};

/// A port that an endpoint answers on, matched to a service's port by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointPort {
    /// The service port's name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port on the endpoint itself.
    pub port: Port,
}

impl EndpointPort {
    /// This port, on the endpoint itself.
    pub fn new(name: impl Into<String>, protocol: Protocol, port: Port) -> Self {
        Self { name: name.into(), protocol, port }
    }
}

/// Names an endpoint: the service it answers for and its own name within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointKey {
    /// The service, and through it the cluster.
    pub service: ServiceKey,
    /// The pod's name, or the address when no pod stands behind it.
    pub name: String,
}

/// For whose clients an endpoint is meant (EndpointSlice's `hints`). Only nodes of its own cluster ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hints {
    /// For everybody's.
    #[default]
    None,
    /// As its slice says.
    Given {
        /// `forZones`.
        zones: Vec<String>,
        /// `forNodes`.
        nodes: Vec<String>,
    },
    /// For those of its own zone: what Kubernetes would write for `trafficDistribution: PreferSameZone`.
    OwnZone,
    /// For those of its own node, and else of its zone: what Kubernetes would write for `PreferSameNode`.
    OwnNode,
}

/// What answers for a service. It travels with its node and its labels, so nobody sees an address it cannot name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which.
    pub key: EndpointKey,
    /// Its addresses, at most one a family.
    pub ips: Vec<IpAddr>,
    /// What it answers on.
    pub ports: Vec<EndpointPort>,
    /// The node it runs on, if it runs on one of ours.
    pub node: Option<NodeName>,
    /// EndpointSlice's `ready`.
    pub ready: bool,
    /// EndpointSlice's `serving`.
    pub serving: bool,
    /// EndpointSlice's `terminating`.
    pub terminating: bool,
    /// Its part of new connections, relative to the others in its tier: 1 unless something says otherwise, 0 for
    /// none (maintenance).
    pub weight: u16,
    /// The labels of the pod, which policy sees.
    pub labels: BTreeMap<String, String>,
    /// The pod's host name, as EndpointSlice's `hostname`; empty when it has none.
    pub hostname: String,
    /// For whose clients it is meant.
    pub hints: Hints,
}

impl Endpoint {
    /// One of which nothing else is said: it is ready, on no node of ours, and weighs 1.
    pub fn new(key: EndpointKey, ips: Vec<IpAddr>, ports: Vec<EndpointPort>) -> Self {
        Self {
            key,
            ips,
            ports,
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            weight: 1,
            labels: BTreeMap::new(),
            hostname: String::new(),
            hints: Hints::None,
        }
    }
}

/// How near a backend is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// On the same node.
    Node,
    /// In the same zone of the same region.
    Zone,
    /// In the same region.
    Region,
    /// In the same cluster.
    Cluster,
    /// In another cluster.
    Elsewhere,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Zone => "zone",
            Self::Region => "region",
            Self::Cluster => "cluster",
            Self::Elsewhere => "elsewhere",
        })
    }
}
