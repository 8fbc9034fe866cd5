//! Everything a question may depend on.

use std::net::IpAddr;

use ipnet::IpNet;
use model::policy::{Labels, Namespace, Pod, PodName, Policy};
use model::{ClusterName, NodeName};

/// A machine, as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Which.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// What a node knows.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The node whose pods are asked about.
    pub me: NodeName,
    /// Whether a selector that names no cluster means pods of all of them.
    pub selectors_clusterset: bool,
    /// Whether policies that other clusters distribute hold here.
    pub accepts_distributed: bool,
    /// The clusters there are, with the ranges of their pods.
    pub clusters: Vec<(ClusterName, Vec<IpNet>)>,
    /// Those whose pods are all told.
    pub told: Vec<ClusterName>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Addresses that the node has given to pods, whatever else is told of those.
    pub attached: Vec<(PodName, Vec<IpAddr>)>,
    /// Policies.
    pub policies: Vec<Policy>,
    /// What names lead to.
    pub names: Vec<(String, IpAddr)>,
}
