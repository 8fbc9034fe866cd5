//! What a lab says of itself: every agent's and controller's own status, put side by side.
//!
//! The field names are what `causeway lab status -o json` promises; they only ever grow.

mod merge;
mod settled;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, NodeName, Tier};
use serde::{Deserialize, Serialize};
use wire::local::{FeatureStatus, PeerStatus, PortStatus, TunnelStatus};

pub use merge::{Asked, ControllerReport, NodeReport, merge};
pub use settled::{Expected, unsettled};

/// The whole lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabStatus {
    /// The clusters, in the order of the lab file.
    pub clusters: Vec<ClusterStatus>,
    /// Their nodes.
    pub nodes: Vec<NodeStatus>,
    /// Machines beside them that are no nodes.
    #[serde(default)]
    pub hosts: Vec<HostStatus>,
    /// Their services, each as one node of its cluster sees it.
    pub services: Vec<ServiceStatus>,
    /// Their pods.
    pub pods: Vec<PodStatus>,
    /// How the clusters hang together: one entry for each direction.
    pub links: Vec<LinkStatus>,
    /// What lies between the locations.
    pub wires: Vec<WireStatus>,
    /// Machines that `lab cut` keeps apart: `CLUSTER/NODE`, or `CLUSTER/_controller`.
    pub cuts: Vec<[String; 2]>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name.
    pub name: ClusterName,
    /// Its number.
    pub id: u16,
    /// The ranges of its pods.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges of its services.
    #[serde(rename = "serviceCIDRs")]
    pub service_cidrs: Vec<IpNet>,
    /// Its controller.
    pub controller: ControllerStatus,
}

/// A cluster's controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerStatus {
    /// Whether its source has been read in full; false while it does not run.
    pub ready: bool,
    /// The network namespace it runs in.
    pub netns: String,
    /// The process.
    pub pid: Option<u32>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Agents connected.
    pub agents: usize,
    /// The revision of what it tells.
    pub revision: u64,
    /// Times it was started again.
    pub restarts: u32,
    /// Why it does not answer; empty when it does.
    pub error: String,
    /// Objects it refused, with the reason.
    pub problems: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its own name.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it.
    pub netns: String,
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// Its location.
    pub location: String,
    /// False from `lab kill` to `lab start`.
    pub up: bool,
    /// Addresses inside the location.
    #[serde(rename = "privateIPs")]
    pub private_ips: Vec<IpAddr>,
    /// Addresses that everybody reaches.
    #[serde(rename = "publicIPs")]
    pub public_ips: Vec<IpAddr>,
    /// The ranges of its pods.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// Its agent.
    pub agent: AgentStatus,
    /// Its tunnels.
    pub tunnels: Vec<TunnelStatus>,
    /// Laptops and other peers that have a tunnel with it.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// What its kernel can and cannot do.
    pub features: Vec<FeatureStatus>,
}

/// A machine without Causeway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The cluster whose location it stands on.
    pub cluster: ClusterName,
    /// Its own name.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it.
    pub netns: String,
    /// Its location.
    pub location: String,
    /// Addresses inside the location.
    #[serde(rename = "privateIPs")]
    pub private_ips: Vec<IpAddr>,
    /// Addresses that everybody reaches.
    #[serde(rename = "publicIPs")]
    pub public_ips: Vec<IpAddr>,
}

/// A node's agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Whether the kernel holds the plan; false while the agent does not run.
    pub ready: bool,
    /// The process.
    pub pid: Option<u32>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Seconds since it started.
    pub uptime_seconds: Option<f64>,
    /// Times it was started again.
    pub restarts: u32,
    /// Whether its stream to the controller is up.
    pub connected: bool,
    /// `kernel` or `userspace`.
    pub wireguard: String,
    /// What it waits for; empty when ready.
    pub waiting_for: Vec<String>,
    /// Why it does not answer; empty when it does.
    pub error: String,
}

/// A service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// Whether other clusters' backends are included.
    pub global: bool,
    /// The node whose view this is, without the cluster.
    pub from: String,
    /// What answers, nearest first.
    pub backends: Vec<BackendStatus>,
}

/// A service's backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The pod, or the address when no pod stands behind it.
    pub pod: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its node, without the cluster.
    pub node: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Its region.
    pub region: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// How near it is to the service's `from`.
    pub tier: Tier,
    /// Ready, and on a node that answers.
    pub healthy: bool,
    /// Part of all new connections that go to it now, 0 to 1.
    pub share: f64,
    /// Why it gets none; empty when it is in rotation.
    pub why: String,
    /// How near it is to every node of the service's cluster.
    pub tiers: BTreeMap<String, Tier>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node, without the cluster.
    pub node: Option<String>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its network namespace, as `ip netns` knows it.
    pub netns: String,
    /// Kubernetes' condition of that name.
    pub ready: bool,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// Times its containers were started again.
    pub restarts: u32,
    /// Why it is not running or not ready; empty when it is.
    pub message: String,
}

/// What one cluster holds of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Whose view this is.
    pub cluster: ClusterName,
    /// The other cluster.
    pub peer: ClusterName,
    /// Whether the stream is up.
    pub connected: bool,
    /// Whether what is held came from disk and was not confirmed since.
    pub stale: bool,
    /// Nodes received.
    pub nodes: usize,
    /// Services received.
    pub services: usize,
    /// Endpoints received.
    pub endpoints: usize,
    /// Objects refused.
    pub refused: u64,
    /// The last error, with what to do.
    pub last_error: Option<String>,
}

/// What lies between two locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireStatus {
    /// The two, as `CLUSTER/LOCATION`.
    pub between: [String; 2],
    /// There and back, in milliseconds.
    pub rtt_ms: f64,
    /// The part that is lost each way.
    pub loss: f64,
    /// Bits per second; none is as fast as the machine.
    pub rate: Option<u64>,
    /// Bytes of the largest packet that gets through; none: of any.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// False while nobody at one end reaches anybody at the other.
    pub up: bool,
}

impl LabStatus {
    /// The node with this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.cluster == name.cluster && node.name == name.node)
    }
}
