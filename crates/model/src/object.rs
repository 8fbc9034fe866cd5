//! What travels: clusters, nodes, services, endpoints; their keys; a change to one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::{ClusterId, ClusterName, NodeName, ObjectName, Port, Protocol, PublicKey};

/// One control plane, and the address ranges that are its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Its number.
    pub id: ClusterId,
    /// The ranges its pods take addresses from.
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges its services take addresses from; meaningful inside the cluster only.
    pub service_cidrs: Vec<IpNet>,
}

/// Where a node stands. A zone is comparable only inside its region, and both only inside their provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topology {
    /// `topology.kubernetes.io/region`; empty when unknown, and then equal to nothing.
    pub region: String,
    /// `topology.kubernetes.io/zone`; empty when unknown, and then equal to nothing.
    pub zone: String,
}

/// A machine running the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, with its cluster.
    pub name: NodeName,
    /// Region and zone.
    pub topology: Topology,
    /// Nodes with the same location (inside one cluster) reach each other by private address.
    pub location: String,
    /// Addresses that nodes of the same location reach.
    pub private_ips: Vec<IpAddr>,
    /// Addresses that everybody reaches.
    pub public_ips: Vec<IpAddr>,
    /// The ranges its pods take addresses from: at most one a family. The first usable address of each is the
    /// node's own inside the mesh.
    pub pod_cidrs: Vec<IpNet>,
    /// Its WireGuard key, once the agent has made one.
    pub public_key: Option<PublicKey>,
    /// The UDP port its tunnel listens on.
    pub port: u16,
}

impl Node {
    /// A number for the node that every process computes alike (content-addressed, so no allocator is needed).
    /// Never 0: the data path reads 0 as "no node".
    pub fn id(name: &NodeName) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x6e6f_6465);
        name.cluster.as_str().hash(&mut hasher);
        name.node.hash(&mut hasher);
        hasher.finish().max(1)
    }

    /// The node's own addresses inside the mesh: the first usable one of each pod CIDR. What the tunnel device
    /// carries, what pods use as their gateway's name, and what the health probes ask.
    pub fn mesh_ips(&self) -> Vec<IpAddr> {
        self.pod_cidrs.iter().filter_map(|net| net.hosts().next_if_any(net)).collect()
    }
}

/// The first usable address of a prefix: for IPv6 not the subnet-router anycast address (RFC 4291 §2.6.1).
trait FirstUsable {
    fn next_if_any(self, net: &IpNet) -> Option<IpAddr>;
}

impl FirstUsable for ipnet::IpAddrRange {
    fn next_if_any(mut self, net: &IpNet) -> Option<IpAddr> {
        match net {
            IpNet::V4(_) => self.next(),
            IpNet::V6(net6) => self.find(|ip| *ip != IpAddr::V6(net6.network())),
        }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name; empty for the only port of a service.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that clients dial.
    pub port: Port,
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
    /// Whether the service of the same name and namespace in other clusters is one with it.
    pub global: bool,
}

/// Names a service: its cluster, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The cluster whose service it is.
    pub cluster: ClusterName,
    /// Namespace and name.
    pub name: ObjectName,
}

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

/// Names an endpoint: the service it answers for and its own name within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointKey {
    /// The service, and through it the cluster.
    pub service: ServiceKey,
    /// The pod's name, or the address when no pod stands behind it.
    pub name: String,
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

/// The kinds of object that travel, in the order a receiver wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`Cluster`]
    Cluster,
    /// [`Node`]
    Node,
    /// [`Service`]
    Service,
    /// [`Endpoint`]
    Endpoint,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A cluster.
    Cluster(Cluster),
    /// A node.
    Node(Node),
    /// A service.
    Service(Service),
    /// An endpoint.
    Endpoint(Endpoint),
}

impl Object {
    /// What names it.
    pub fn key(&self) -> Key {
        match self {
            Self::Cluster(c) => Key::Cluster(c.name.clone()),
            Self::Node(n) => Key::Node(n.name.clone()),
            Self::Service(s) => Key::Service(s.key.clone()),
            Self::Endpoint(e) => Key::Endpoint(e.key.clone()),
        }
    }
}

/// What names an object. Ordered by kind first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Of a [`Cluster`].
    Cluster(ClusterName),
    /// Of a [`Node`].
    Node(NodeName),
    /// Of a [`Service`].
    Service(ServiceKey),
    /// Of an [`Endpoint`].
    Endpoint(EndpointKey),
}

impl Key {
    /// The cluster that owns the object: its only writer.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Cluster(name) => name,
            Self::Node(name) => &name.cluster,
            Self::Service(key) => &key.cluster,
            Self::Endpoint(key) => &key.service.cluster,
        }
    }

    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::Endpoint(_) => Kind::Endpoint,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Service(key) => write!(f, "service {key}"),
            Self::Endpoint(key) => write!(f, "endpoint {}/{}", key.service, key.name),
        }
    }
}

/// A change to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The object is now so.
    Upsert(Object),
    /// The object is gone.
    Delete(Key),
}

impl Change {
    /// What the change is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Upsert(object) => object.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}
