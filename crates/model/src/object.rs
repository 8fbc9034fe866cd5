//! What travels: clusters, nodes, peers, policies, namespaces, pods, services, imports, endpoints; their keys; a change to
//! one of them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::policy::{Labels, Namespace, NamespaceName, Pod, PodName, Policy, PolicyName};
use crate::{
    ClusterId, ClusterName, Endpoint, EndpointKey, Import, NodeMesh, NodeName, Peer, PeerName, PublicKey,
    Service, ServiceKey,
};

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
    /// The ranges its imports take addresses from (clusterset IPs); meaningful inside the cluster only.
    pub clusterset_cidrs: Vec<IpNet>,
    /// The ranges whose addresses its peers may have so that other clusters reach them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_cidrs: Vec<IpNet>,
}

/// Where a node stands. A zone is comparable only inside its region, and both only inside their provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topology {
    /// Whose machine it is: `aws`, `gce`; empty when unknown, and then equal to another unknown one: names of regions
    /// are all there is to go by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// `topology.kubernetes.io/region`; empty when unknown, and then equal to nothing.
    pub region: String,
    /// `topology.kubernetes.io/zone`; empty when unknown, and then equal to nothing.
    pub zone: String,
}

impl Topology {
    /// Whether both are in one region of one provider.
    pub fn shares_region(&self, other: &Self) -> bool {
        !self.region.is_empty() && (&self.provider, &self.region) == (&other.provider, &other.region)
    }

    /// Whether both are in one zone: of one region of one provider.
    pub fn shares_zone(&self, other: &Self) -> bool {
        self.shares_region(other) && !self.zone.is_empty() && self.zone == other.zone
    }
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
    /// Its labels, for policies that select nodes; of nodes of the own cluster only: they do not leave it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// How it takes part in the mesh.
    #[serde(default)]
    pub mesh: NodeMesh,
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

/// The kinds of object that travel, in the order a receiver wants them: policies before the pods they may be about, so that
/// nothing is open that is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`Cluster`]
    Cluster,
    /// [`Node`]
    Node,
    /// [`Peer`]
    Peer,
    /// [`Policy`]
    Policy,
    /// [`Namespace`]
    Namespace,
    /// [`Pod`]
    Pod,
    /// [`Service`]
    Service,
    /// [`Import`]
    Import,
    /// [`Endpoint`]
    Endpoint,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Node,
        Self::Peer,
        Self::Policy,
        Self::Namespace,
        Self::Pod,
        Self::Service,
        Self::Import,
        Self::Endpoint,
    ];
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A cluster.
    Cluster(Cluster),
    /// A node.
    Node(Node),
    /// A peer.
    Peer(Peer),
    /// A policy.
    Policy(Policy),
    /// A namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// A service.
    Service(Service),
    /// An import.
    Import(Import),
    /// An endpoint.
    Endpoint(Endpoint),
}

impl Object {
    /// What names it.
    pub fn key(&self) -> Key {
        match self {
            Self::Cluster(c) => Key::Cluster(c.name.clone()),
            Self::Node(n) => Key::Node(n.name.clone()),
            Self::Peer(p) => Key::Peer(p.name.clone()),
            Self::Policy(p) => Key::Policy(p.name.clone()),
            Self::Namespace(n) => Key::Namespace(n.name.clone()),
            Self::Pod(p) => Key::Pod(p.name.clone()),
            Self::Service(s) => Key::Service(s.key.clone()),
            Self::Import(i) => Key::Import(i.key.clone()),
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
    /// Of a [`Peer`].
    Peer(PeerName),
    /// Of a [`Policy`].
    Policy(PolicyName),
    /// Of a [`Namespace`].
    Namespace(NamespaceName),
    /// Of a [`Pod`].
    Pod(PodName),
    /// Of a [`Service`].
    Service(ServiceKey),
    /// Of an [`Import`].
    Import(ServiceKey),
    /// Of an [`Endpoint`].
    Endpoint(EndpointKey),
}

impl Key {
    /// The cluster that owns the object: its only writer.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Cluster(name) => name,
            Self::Node(name) => &name.cluster,
            Self::Peer(name) => &name.cluster,
            Self::Policy(name) => &name.cluster,
            Self::Namespace(name) => &name.cluster,
            Self::Pod(name) => &name.namespace.cluster,
            Self::Service(key) | Self::Import(key) => &key.cluster,
            Self::Endpoint(key) => &key.service.cluster,
        }
    }

    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Peer(_) => Kind::Peer,
            Self::Policy(_) => Kind::Policy,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::Import(_) => Kind::Import,
            Self::Endpoint(_) => Kind::Endpoint,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Peer(name) => write!(f, "peer {name}"),
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::Pod(name) => write!(f, "pod {name}"),
            Self::Service(key) => write!(f, "service {key}"),
            Self::Import(key) => write!(f, "import {key}"),
            Self::Endpoint(key) => write!(f, "endpoint {}/{}", key.service, key.name),
        }
    }
}

/// A change to one object.
#[expect(
    clippy::large_enum_variant,
    reason = "most changes are the large one, and each is moved a few times only"
)]
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
