//! The address plan: what every machine of a lab is called, where it stands and which addresses it has.
//!
//! A pure function of the lab file, so two runs of one file build the same lab. It builds nothing itself.

mod address;
mod slice;
mod wires;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::{Cluster, NodeName, Topology};
use serde::{Deserialize, Serialize};

use crate::file::{Lab, LabPolicy, Manifest, PresharedKeys, Shape};
use crate::underlay::{NatBox, NatKind};

pub use address::{Addresses, CONTROLLER_HOST, GATEWAY_HOST, MAX_HOSTS, MAX_LOCATIONS, NAT_HOST, RESERVED};
pub use slice::{SMALLEST_SLICE_V4, SMALLEST_SLICE_V6, slices};
pub use wires::{DEFAULT_BETWEEN_CLUSTERS, DEFAULT_BETWEEN_LOCATIONS};

/// Everything that is to be built.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The clusters, in the order of the file.
    pub clusters: Vec<ClusterPlan>,
    /// The private segments, by number: `locations[0]` is number 1.
    pub locations: Vec<Location>,
    /// What lies between each two of them.
    pub wires: Vec<Wire>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterPlan {
    /// Its name, number and ranges.
    pub cluster: Cluster,
    /// Where its controller stands.
    pub controller: Host,
    /// Its nodes.
    pub nodes: Vec<NodePlan>,
    /// Machines beside them that are no nodes.
    pub hosts: Vec<HostPlan>,
    /// What its agents do for services.
    pub services: agent::config::Services,
    /// What holds for its policies.
    pub policy: LabPolicy,
    /// Which of its nodes have tunnels to which.
    pub mesh: controller::config::Mesh,
    /// Whether its nodes have pre-shared keys with each other.
    pub preshared_keys: PresharedKeys,
    /// Whether its pods reach what is outside of the mesh, under their node's address.
    pub masquerade: bool,
    /// Whom its nodes ask for names of the outside; nobody without one.
    pub upstreams: Vec<agent::config::Upstream>,
    /// Its Kubernetes objects.
    pub manifests: Vec<Manifest>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePlan {
    /// Its name, with its cluster.
    pub name: NodeName,
    /// Region and zone.
    pub topology: Topology,
    /// Its place on the underlay.
    pub host: Host,
    /// Its cgroup, relative to the lab's: `CLUSTER/NODE`.
    pub cgroup: String,
    /// The ranges of its pods, at most one a family.
    pub pod_cidrs: Vec<IpNet>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A NAT that a node is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatPlan {
    /// How it maps and filters.
    pub kind: NatKind,
    /// Its address outside.
    pub outside: Ipv4Addr,
}

/// A machine without Causeway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name, with the cluster whose location it stands on.
    pub name: NodeName,
    /// Its place on the underlay.
    pub host: Host,
}

/// A machine's place on the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its network namespace, a name that `ip netns` knows.
    pub netns: String,
    /// The number of its [`Location`].
    pub location: u8,
    /// Its number on that segment.
    pub number: u8,
    /// What its `eth0` has.
    pub addresses: Addresses,
    /// What translates them towards other locations, if anything does.
    pub nat: Option<NatPlan>,
}

/// A private segment: nodes of one cluster that reach each other directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// 1 to 250.
    pub number: u8,
    /// The cluster it belongs to.
    pub cluster: model::ClusterName,
    /// Its name inside the cluster: the region's, unless the nodes say otherwise.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// The bridge's addresses: the gateways of the machines on it.
    pub gateways: Vec<IpNet>,
    /// The addresses on the uplink to the other locations, so that what the gateway itself has to say (ICMP) can
    /// be answered.
    pub uplink: Vec<IpNet>,
    /// The public addresses found here, which the segment's namespace routes to its bridge and the underlay to the
    /// segment. Private ones never leave.
    pub public: Vec<IpNet>,
}

/// What lies between two locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wire {
    /// The numbers of the locations, the smaller first.
    pub between: [u8; 2],
    /// What it does to packets.
    pub shape: Shape,
    /// Whether it carries anything; `lab cut` turns it off.
    pub up: bool,
}

impl Plan {
    /// Gives every machine of the lab its place and addresses.
    pub fn new(lab: &Lab) -> Self {
        address::plan(lab)
    }

    /// The node with this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodePlan> {
        self.nodes().find(|node| node.name == *name)
    }

    /// All nodes of all clusters.
    pub fn nodes(&self) -> impl Iterator<Item = &NodePlan> {
        self.clusters.iter().flat_map(|cluster| &cluster.nodes)
    }

    /// The NATs of a location.
    pub fn nats(&self, location: u8) -> Vec<NatBox> {
        let mut boxes: BTreeMap<Ipv4Addr, NatBox> = BTreeMap::new();
        for node in self.nodes().filter(|node| node.host.location == location) {
            let Some(NatPlan { kind, outside }) = node.host.nat else { continue };
            let inside = node.host.private_ips().into_iter().filter_map(|ip| match ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            });
            boxes.entry(outside).or_insert(NatBox { kind, outside, inside: vec![] }).inside.extend(inside);
        }
        boxes.into_values().collect()
    }

    /// What lies between two locations; nothing between a location and itself.
    pub fn wire(&self, a: u8, b: u8) -> Option<&Wire> {
        let between = [a.min(b), a.max(b)];
        self.wires.iter().find(|wire| wire.between == between)
    }
}

impl NodePlan {
    /// The node as a Kubernetes object: what a cloud's controller would have written.
    pub fn manifest(&self) -> serde_json::Value {
        let addresses = &self.host.addresses;
        let with = |kind: &str, ips: &[IpNet]| {
            let kind = kind.to_string();
            ips.iter()
                .map(move |ip| serde_json::json!({"type": kind, "address": ip.addr().to_string()}))
                .collect::<Vec<_>>()
        };
        let mut listed = with("InternalIP", &addresses.private);
        listed.extend(with("ExternalIP", &addresses.public));
        listed.push(serde_json::json!({"type": "Hostname", "address": self.name.node}));
        let cidrs: Vec<String> = self.pod_cidrs.iter().map(ToString::to_string).collect();
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name.node, "labels": self.labels, "annotations": self.annotations},
            "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs},
            "status": {"addresses": listed, "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }
}

impl Host {
    /// Its addresses that machines of other locations reach.
    pub fn public_ips(&self) -> Vec<IpAddr> {
        self.addresses.public.iter().map(IpNet::addr).collect()
    }

    /// The addresses by which others may see it: its own, and that of the NAT it is behind.
    pub fn seen_ips(&self) -> Vec<IpAddr> {
        let outside = self.nat.map(|nat| nat.outside.into());
        self.private_ips().into_iter().chain(self.public_ips()).chain(outside).collect()
    }

    /// Its addresses that machines of its own location reach.
    pub fn private_ips(&self) -> Vec<IpAddr> {
        self.addresses.private.iter().map(IpNet::addr).collect()
    }
}

#[cfg(test)]
mod tests;
