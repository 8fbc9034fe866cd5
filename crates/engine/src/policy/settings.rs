//! What the operator may choose of policy.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{ClusterName, NodeName, Protocol};
use serde::{Deserialize, Serialize};

use crate::plan::policing::Always;

/// Whose pods are judged, and how policies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose pods are judged.
    pub scope: Scope,
    /// Which clusters a selector means that does not say so.
    pub selectors: Selectors,
    /// What becomes of policies of other clusters.
    pub distributed: Distributed,
    /// How much the kernel has room for.
    pub limits: Limits,
    /// Whether nodes themselves are judged, and what no policy takes from them. None: they are not.
    pub host: Option<Host>,
}

impl Settings {
    /// A node's, with nothing chosen.
    pub fn of_node(node: NodeName) -> Self {
        Self {
            scope: Scope::Node(node),
            selectors: Selectors::default(),
            distributed: Distributed::default(),
            limits: Limits::default(),
            host: None,
        }
    }
}

/// How nodes themselves are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// What no policy takes from them, beside the addresses of the API server.
    pub always: BTreeSet<Always>,
}

impl Host {
    /// What the operator wants never to be stopped, and what holds the clusters together: the tunnel's UDP port, and the
    /// controllers, at their addresses and at their ports wherever they are.
    pub fn new(allowed: BTreeSet<Always>, tunnel_ports: [u16; 2], controllers: &[SocketAddr]) -> Self {
        let mut always = allowed;
        always.extend(tunnel_ports.map(|port| Always::Port(Protocol::Udp.number(), port)));
        let tcp = Protocol::Tcp.number();
        for at in controllers {
            always.extend([
                Always::Address(at.ip().to_canonical()),
                Always::Port(tcp, at.port()),
                Always::OthersPort(tcp, at.port()),
            ]);
        }
        Self { always }
    }
}

/// Whose pods are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A node's.
    Node(NodeName),
    /// A whole cluster's: to explain, never to enforce. No node is the pods' own there.
    Cluster(ClusterName),
}

impl Scope {
    /// The own cluster.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Node(node) => &node.cluster,
            Self::Cluster(cluster) => cluster,
        }
    }
}

/// Which clusters a selector of pods means that names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selectors {
    /// The one that applies the policy.
    #[default]
    Local,
    /// All of them.
    Clusterset,
}

/// What becomes of policies that other clusters distribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distributed {
    /// Nothing.
    #[default]
    Ignore,
    /// They hold for the own pods, too.
    Accept,
}

/// What becomes of flows that there are when policies change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Established {
    /// They are judged again.
    #[default]
    Cut,
    /// They go on.
    Keep,
}

/// How many entries the kernel has room for. What does not fit closes the pods and directions concerned, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Verdicts of all rulesets.
    pub verdicts: usize,
    /// Addresses of pods and nodes. Whoever finds no room is unknown.
    pub identities: usize,
    /// Ranges of addresses.
    pub networks: usize,
    /// Addresses that names led to. What finds no room was not learned.
    pub names: usize,
}

impl Limits {
    /// As many as there are: to explain.
    pub const NONE: Self =
        Self { verdicts: usize::MAX, identities: usize::MAX, networks: usize::MAX, names: usize::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self { verdicts: 262_144, identities: 131_072, networks: 262_144, names: 65_536 }
    }
}
