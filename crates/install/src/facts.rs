//! What an installation wants to know of a cluster, as plain values.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Whose Kubernetes it is: each keeps some things in places of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// k3s.
    K3s,
    /// RKE2.
    Rke2,
    /// kubeadm, and what is built on it.
    Kubeadm,
    /// Amazon's.
    Eks,
    /// Google's.
    Gke,
    /// Microsoft's.
    Aks,
    /// Any other.
    #[default]
    Other,
}

impl Flavour {
    /// Its name, in messages and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::Kubeadm => "kubeadm",
            Self::Eks => "eks",
            Self::Gke => "gke",
            Self::Aks => "aks",
            Self::Other => "other",
        }
    }

    /// Every one of them.
    pub const ALL: [Self; 7] =
        [Self::K3s, Self::Rke2, Self::Kubeadm, Self::Eks, Self::Gke, Self::Aks, Self::Other];
}

/// What a cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The API server's version, such as `v1.33.1+k3s1`.
    pub server: String,
    /// Whose it is.
    pub flavour: Flavour,
    /// What the caller's kubeconfig calls it; empty: nothing.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<NodeFact>,
    /// The ranges of pods, where the cluster's configuration has them.
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges of services.
    pub service_cidrs: Vec<IpNet>,
    /// Whether something makes services work on nodes already.
    pub kube_proxy: bool,
    /// Where the API server itself listens.
    pub api_servers: Vec<SocketAddr>,
    /// Networks of others that are installed: the DaemonSets, as NAMESPACE/NAME.
    pub other_networks: Vec<String>,
}

/// What a cluster says of one of its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFact {
    /// Its name.
    pub name: String,
    /// Whether it carries the control plane.
    pub control_plane: bool,
    /// Whether it is ready; without a network it is not.
    pub ready: bool,
    /// Its addresses inside the cluster.
    pub internal_ips: Vec<IpAddr>,
    /// The ranges that Kubernetes gave it.
    pub pod_cidrs: Vec<IpNet>,
}
