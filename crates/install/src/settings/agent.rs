//! The nodes' daemon.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cidr, Dns, Resources, Toleration};

/// The nodes' daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Agent {
    /// The name of the tunnel's device.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_.-]{1,15}$"))]
    pub interface: String,
    /// The UDP port of the tunnel: open between all nodes.
    #[schemars(range(min = 1))]
    pub wireguard_port: u16,
    /// The UDP port of VXLAN, the same on all nodes: open between nodes of one location where `mesh.encryption` is `mesh`.
    #[schemars(range(min = 1))]
    pub vxlan_port: u16,
    /// The device that reaches other nodes; empty: the one with the default route.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_.-]{0,15}$"))]
    pub underlay: String,
    /// The TCP port of metrics and health.
    #[schemars(range(min = 1))]
    pub http_port: u16,
    /// Whether pods reach the outside under their node's address.
    pub masquerade: bool,
    /// Ranges that see pods' own addresses, beside the pods of every linked cluster.
    #[serde(rename = "nonMasqueradeCIDRs")]
    pub non_masquerade_cidrs: Vec<Cidr>,
    /// Pod ranges of other clusters that are known beforehand: dropped rather than sent in the clear, from a node's
    /// first packet on. The cluster's own are always among them.
    pub fail_closed: Vec<Cidr>,
    /// How container runtimes find us.
    pub cni: Cni,
    /// A DNS server on every node, for names of the clusterset.
    pub dns: Dns,
    /// Where the agent finds the host's files, as seen from its pod.
    pub host_root: String,
    /// Run privileged rather than with single capabilities. Only needed where the container runtime keeps /dev/net/tun
    /// from pods and the kernel has no WireGuard.
    pub privileged: bool,
    /// Undo instead: every agent takes everything of ours off its node, is ready when it has, and then rests. What to
    /// set before manifests are deleted by other means than `causeway uninstall`, which does it by itself.
    pub cleanup: bool,
    /// How many nodes are updated at a time, as a share of all: at least one always.
    #[schemars(regex(pattern = r"^([1-9][0-9]?|100)%$"))]
    pub max_unavailable: String,
    /// What an agent asks for, and may use at most.
    pub resources: Resources,
    /// What an agent puts up with on its node.
    pub tolerations: Vec<Toleration>,
    /// Which nodes get one, by label.
    pub node_selector: BTreeMap<String, String>,
    /// The priority of agents.
    pub priority_class_name: String,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            interface: "cw0".into(),
            wireguard_port: 51820,
            vxlan_port: 4789,
            underlay: String::new(),
            http_port: 9641,
            masquerade: true,
            non_masquerade_cidrs: Vec::new(),
            fail_closed: Vec::new(),
            cni: Cni::default(),
            dns: Dns::default(),
            host_root: "/proc/1/root".into(),
            privileged: false,
            cleanup: false,
            max_unavailable: "10%".into(),
            resources: Resources::requests("50m", "48Mi"),
            tolerations: vec![Toleration::everything()],
            node_selector: BTreeMap::from([("kubernetes.io/os".into(), "linux".into())]),
            priority_class_name: "system-node-critical".into(),
        }
    }
}

/// How container runtimes find us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cni {
    /// Where the runtime looks for plugins; the binary goes into each that exists. k3s:
    /// /var/lib/rancher/k3s/data/cni.
    #[schemars(length(min = 1))]
    pub bin_dirs: Vec<String>,
    /// Where the runtime looks for its network. k3s: /var/lib/rancher/k3s/agent/etc/cni/net.d.
    #[schemars(length(min = 1))]
    pub conf_dir: String,
}

impl Default for Cni {
    fn default() -> Self {
        Self { bin_dirs: vec!["/opt/cni/bin".into()], conf_dir: "/etc/cni/net.d".into() }
    }
}
