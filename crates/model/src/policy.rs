//! Who may talk to whom: policies, and what they select by. One shape for NetworkPolicy (networking.k8s.io/v1),
//! ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) and CiliumNetworkPolicy (cilium.io/v2); whatever an object
//! says that has no place here was refused where it was read.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ClusterName, NodeName, Port, Protocol};

/// Labels of an object, by key.
pub type Labels = BTreeMap<String, String>;

/// A label that every pod and namespace has without carrying it: the name of its cluster. Selectors may name it.
pub const CLUSTER_LABEL: &str = "causeway.io/cluster";
/// Cilium's word for [`CLUSTER_LABEL`].
pub const CILIUM_CLUSTER_LABEL: &str = "io.cilium.k8s.policy.cluster";
/// The label that every namespace has: its name.
pub const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// The parts (rules, peers, ports, requirements of labels, their values, names) that a policy has at most.
pub const MAX_PARTS: usize = 65_536;
/// The ranges of addresses that a policy has at most, exceptions among them.
pub const MAX_RANGES: usize = 131_072;
/// The bytes that it takes on the wire at most: it travels in one message.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// Names a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespaceName {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: String,
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// A namespace, as selectors see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub name: NamespaceName,
    /// Its labels, [`NAMESPACE_LABEL`] among them.
    pub labels: Labels,
    /// Whether other clusters hear of it and its pods.
    pub shared: bool,
}

/// Names a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodName {
    /// Where it is.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.name.as_str() {
            // A peer: it is in no namespace.
            "" => write!(f, "peer:{}/{}", self.namespace.cluster, self.name),
            _ => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

/// A port of a pod that has a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: Port,
}

/// A pod, as policy sees it. Pods in their node's network are none: theirs are the node's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Which.
    pub name: PodName,
    /// Its addresses, at most one a family; none until it has been given them.
    pub ips: Vec<IpAddr>,
    /// The node it is on.
    pub node: Option<NodeName>,
    /// Its labels.
    pub labels: Labels,
    /// Its named ports, in order.
    pub ports: Vec<NamedPort>,
}

/// What kind of object a policy is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyKind {
    /// networking.k8s.io/v1.
    NetworkPolicy,
    /// policy.networking.k8s.io/v1alpha2.
    ClusterNetworkPolicy,
    /// cilium.io/v2, in a namespace.
    CiliumNetworkPolicy,
    /// cilium.io/v2, of the cluster.
    CiliumClusterwideNetworkPolicy,
}

impl PolicyKind {
    /// The kind, as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
        }
    }
}

/// Names a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyName {
    /// The cluster it was written in.
    pub cluster: ClusterName,
    /// What it was written as.
    pub kind: PolicyKind,
    /// Its namespace; empty for one of the whole cluster.
    pub namespace: String,
    /// Its name. An object that says several things (Cilium's `specs`) is several policies: `NAME` is its `spec`, `NAME[0]`
    /// the first of its `specs`.
    pub name: String,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.as_str())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{} of {}", self.name, self.cluster)
    }
}

/// When a policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyTier {
    /// Before those of namespaces: the lowest `priority` first.
    Admin {
        /// 0 to 1000.
        priority: u16,
    },
    /// NetworkPolicy and Cilium's: without an order among themselves. A pod that one of them selects for a direction is
    /// isolated in it: what none of them accepts is denied. A `Deny` (Cilium's alone) comes before every `Accept`.
    Namespace,
    /// After those of namespaces, for pods that none of those isolates: the lowest `priority` first.
    Baseline {
        /// 0 to 1000.
        priority: u16,
    },
}

/// Who may talk to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which.
    pub name: PolicyName,
    /// When it is asked.
    pub tier: PolicyTier,
    /// Whether clusters that opt in take it for their own pods, too (`causeway.io/distribute`).
    pub distribute: bool,
    /// Whom it is about.
    pub subject: PolicySubject,
    /// About connections to them. None: it says nothing of that direction. An empty list, in the namespaces' tier: it
    /// isolates, and accepts nothing.
    pub ingress: Option<Vec<PolicyRule>>,
    /// About connections from them, likewise.
    pub egress: Option<Vec<PolicyRule>>,
}

/// Whom a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicySubject {
    /// Pods of the cluster that applies it, whatever the labels of clusters say.
    Pods(PodSelector),
    /// Nodes of the cluster that it was written in, by their labels: what they send and are sent themselves.
    Nodes(Selector),
}

impl PolicySubject {
    fn parts(&self) -> usize {
        match self {
            Self::Pods(pods) => pods.parts(),
            Self::Nodes(nodes) => nodes.parts(),
        }
    }
}

impl From<PodSelector> for PolicySubject {
    fn from(pods: PodSelector) -> Self {
        Self::Pods(pods)
    }
}

impl Policy {
    /// How many parts it has, and how many ranges of addresses; at most [`MAX_PARTS`] and [`MAX_RANGES`].
    pub fn size(&self) -> (usize, usize) {
        let (mut parts, mut ranges) = (self.subject.parts(), 0);
        for rule in self.ingress.iter().chain(&self.egress).flatten() {
            parts += 1 + rule.ports.as_ref().map_or(0, Vec::len);
            for peer in rule.peers.iter().flatten() {
                parts += 1 + match peer {
                    PolicyPeer::Pods(pods) => pods.parts(),
                    PolicyPeer::Nodes(nodes) => nodes.parts(),
                    PolicyPeer::DomainNames(names) => names.len(),
                    PolicyPeer::Networks { .. } | PolicyPeer::Entity(_) => 0,
                };
                if let PolicyPeer::Networks { ranges: some, except } = peer {
                    ranges += some.len() + except.len();
                }
            }
        }
        (parts, ranges)
    }
}

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyAction {
    /// It may pass. In the admin and baseline tiers that is the end of it; in the namespaces' one, too.
    Accept,
    /// It is dropped.
    Deny,
    /// The rest of the tier is not asked. Not in the namespaces' tier.
    Pass,
}

/// A rule. In the admin and baseline tiers the first that matches counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Where in the object it is: `spec.ingress[2]`, `spec.egressDeny[0]`.
    pub path: String,
    /// Its name, if it has one.
    pub name: String,
    /// What it does.
    pub action: PolicyAction,
    /// The other ends it is about; none for all of them, whoever they are.
    pub peers: Option<Vec<PolicyPeer>>,
    /// What it is about of what they say; none for all of it.
    pub ports: Option<Vec<PolicyPort>>,
}

/// Some other ends of connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyPeer {
    /// Pods.
    Pods(PodSelector),
    /// Addresses, whoever has them: pods, too.
    Networks {
        /// In one of these ranges; sorted.
        ranges: Vec<IpNet>,
        /// And in none of these; sorted.
        except: Vec<IpNet>,
    },
    /// Nodes of the own cluster, by their labels.
    Nodes(Selector),
    /// Whatever these names lead to, as this node's DNS server answered its pods: `example.com`, or `*.example.com` for
    /// every name below it.
    DomainNames(Vec<String>),
    /// Some that have a word.
    Entity(PolicyEntity),
}

/// Other ends that have a word (Cilium's entities).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyEntity {
    /// Pods and nodes of the own cluster.
    Cluster,
    /// Pods and nodes of every cluster.
    ClusterMesh,
    /// The pod's own node.
    Host,
    /// Other nodes, of every cluster.
    RemoteNode,
    /// Whatever is in no cluster.
    World,
    /// Everybody.
    All,
}

/// Some pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodSelector {
    /// Their namespaces. Sameness: a namespace of that name, in whichever cluster counts.
    pub namespaces: NamespaceChoice,
    /// Their labels.
    pub pods: Selector,
}

impl PodSelector {
    fn parts(&self) -> usize {
        let namespaces = match &self.namespaces {
            NamespaceChoice::Named(_) => 0,
            NamespaceChoice::Selected(selector) => selector.parts(),
        };
        namespaces + self.pods.parts()
    }
}

/// Some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NamespaceChoice {
    /// The one of this name.
    Named(String),
    /// Those with such labels.
    Selected(Selector),
}

/// Labels as an object must have them: all of the requirements. Without one: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// In a fixed order (by key, operator, values), each once.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    fn parts(&self) -> usize {
        let values = |requirement: &Requirement| match &requirement.operator {
            Operator::In(values) | Operator::NotIn(values) => values.len(),
            Operator::Exists | Operator::DoesNotExist => 0,
        };
        self.requirements.iter().map(|requirement| 1 + values(requirement)).sum()
    }
}

/// One requirement of labels. `matchLabels` are `In` with one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What of it.
    pub operator: Operator,
}

/// What is required of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// It is there, with one of these values.
    In(BTreeSet<String>),
    /// It is not there, or has none of these values.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// Some of what two ends say to each other, at the one that is dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyPort {
    /// Ports of one protocol, from the first to the last. 0 to 65535: all of them.
    Ports {
        /// The protocol.
        protocol: Protocol,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The port that the pod which is dialled calls so. Without a protocol: of whichever it has that name.
    Named {
        /// The protocol.
        protocol: Option<Protocol>,
        /// The name.
        name: String,
    },
    /// ICMP, or ICMPv6, of one type; of all of them without one. Errors about connections that may be belong to those.
    Icmp {
        /// Whether of IPv6.
        v6: bool,
        /// The type (IANA).
        kind: Option<u8>,
    },
}
