//! What an agent is told when it starts: one YAML file, refused as a whole when anything in it is unknown.

mod dns;
mod keys;
mod policy;
mod services;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::health::Way;
use engine::services::Reserved;
use ipnet::IpNet;
use kernel::host::Host;
use link::agent::Proof;
use model::{ClusterName, NameError, Node, NodeName, Protocol, Topology};
use serde::{Deserialize, Serialize};

pub use dns::{Dns, Upstream, UpstreamError};
pub use keys::{KeyRotation, PresharedKeys};
pub use policy::Policy;
pub use services::{LoadBalancerAlgorithm, Services};

/// An agent's configuration. One file does for all nodes of a cluster: what differs between them is found, or comes
/// from the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The cluster the node belongs to.
    pub cluster: ClusterName,
    /// The node's own name; may be given beside the file instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Where the cluster's controllers listen, tried in turn.
    pub controllers: Vec<SocketAddr>,
    /// The file that holds the join token; read only while the node has no identity yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// In place of a join token: what Kubernetes gives the agent's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// The device that reaches other nodes; empty: the one with the node's address, or the default route.
    #[serde(default)]
    pub underlay: String,
    /// The tunnel's name.
    #[serde(default = "defaults::interface")]
    pub interface: String,
    /// The machine's root, where the agent lives in a container on it: `/proc/1/root`. Empty: its own view.
    #[serde(default)]
    pub host_root: PathBuf,
    /// The cgroup (v2) directory under which everything on this node runs: where the socket balancer attaches.
    /// Without one, the root of the machine's hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// This node's slices of its cluster's pod ranges: at most one a family. Without any, those that the world gives
    /// the node.
    #[serde(default, rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// Where the container runtime looks for networks; without it nothing is installed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniFolders>,
    /// Whether pods reach what is outside the mesh under their node's address.
    #[serde(default = "defaults::masquerade")]
    pub masquerade: bool,
    /// Ranges outside the mesh that see pods' own addresses all the same.
    #[serde(default, rename = "nonMasqueradeCIDRs")]
    pub non_masquerade_cidrs: Vec<IpNet>,
    /// Every pod range of every cluster known beforehand: dropped rather than sent in the clear, from the first
    /// packet on.
    #[serde(default)]
    pub fail_closed: Vec<IpNet>,
    /// What has to survive a restart: keys, identity, last known world.
    #[serde(default = "defaults::state_dir")]
    pub state_dir: PathBuf,
    /// Sockets.
    #[serde(default = "defaults::run_dir")]
    pub run_dir: PathBuf,
    /// The UDP port of the tunnel.
    #[serde(default = "defaults::wireguard_port")]
    pub wireguard_port: u16,
    /// The UDP port of VXLAN, where that is wanted.
    #[serde(default = "defaults::vxlan_port")]
    pub vxlan_port: u16,
    /// How old the node's WireGuard key becomes before it is changed.
    #[serde(default)]
    pub key_rotation: KeyRotation,
    /// Secrets of which each two nodes that hold them make a pre-shared key; without, there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preshared_keys: Option<PresharedKeys>,
    /// Where metrics and health are answered.
    #[serde(default = "defaults::http_listen")]
    pub http_listen: SocketAddr,
    /// The DNS server on the node; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// What the ways to other clusters cost, and how much each cluster is wanted: the order in which they are asked
    /// follows from it and from the round-trip times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<ClusterName, OtherCluster>,
    /// What the node does for services beyond leading sockets to backends.
    #[serde(default)]
    pub services: Services,
    /// Who may talk to whom: what holds for all policies.
    #[serde(default)]
    pub policy: Policy,
    /// `topology.kubernetes.io/region`; empty: what the world says.
    #[serde(default)]
    pub region: String,
    /// `topology.kubernetes.io/zone`; empty: what the world says.
    #[serde(default)]
    pub zone: String,
    /// Nodes of one location reach each other by private address; empty means the region's name.
    #[serde(default)]
    pub location: String,
}

/// What Kubernetes gives the agent's pod to show who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// The file that holds the projected token, for the audience `causeway`.
    pub token: PathBuf,
    /// The file that holds the roots of the cluster's CA (PEM): who is believed to be the controller.
    pub roots: PathBuf,
}

/// What is to be thought of the way to another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OtherCluster {
    /// What traffic there costs, as milliseconds of round-trip time that would be put up with to save it.
    pub egress_cost: u32,
    /// How much it is wanted: a cluster of weight 2 counts as half as far. 1 to 100.
    pub weight: u16,
}

impl Default for OtherCluster {
    fn default() -> Self {
        Self { egress_cost: 0, weight: 1 }
    }
}

impl From<&OtherCluster> for Way {
    fn from(OtherCluster { egress_cost, weight }: &OtherCluster) -> Self {
        Self { egress_cost: Duration::from_millis((*egress_cost).into()), weight: *weight }
    }
}

/// Where a container runtime looks for its network, as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CniFolders {
    /// Its folders of plugins; ours goes into each that exists.
    pub bin_dirs: Vec<PathBuf>,
    /// Its folder of configurations.
    pub conf_dir: PathBuf,
}

mod defaults {
    use std::net::{Ipv6Addr, SocketAddr};
    use std::path::PathBuf;

    pub(super) fn interface() -> String {
        "cw0".into()
    }
    pub(super) fn masquerade() -> bool {
        true
    }
    pub(super) fn state_dir() -> PathBuf {
        "/var/lib/causeway".into()
    }
    pub(super) fn run_dir() -> PathBuf {
        "/run/causeway".into()
    }
    pub(super) fn wireguard_port() -> u16 {
        51820
    }
    pub(super) fn vxlan_port() -> u16 {
        4789
    }
    pub(super) fn http_listen() -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, 9641).into()
    }
}

/// A configuration that cannot be used; nothing was started. Always the writer's to fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the agent's configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text does not say what it should.
    #[error("{path}: not an agent's configuration: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// A name is not a name.
    #[error("{path}: {source}")]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// A field holds something the agent cannot work with.
    #[error("{path}: {field}: {problem}")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// What to write instead.
        problem: &'static str,
    },
}

impl Config {
    /// The node's full name; [`load`] has checked it.
    pub fn name(&self) -> NodeName {
        NodeName::new(self.cluster.clone(), self.node.clone()).expect("load() has checked the node's name")
    }

    /// What holds for policies, as the engine wants it for a node.
    pub(crate) fn policing(&self, node: NodeName) -> engine::policy::Settings {
        self.policy.settings(node, [self.wireguard_port, self.vxlan_port], &self.controllers)
    }

    /// The machine that the agent works on; [`load`] has checked its root.
    pub fn host(&self) -> Host {
        Host::new(&self.host_root).expect("load() has checked the machine's root")
    }

    /// The ways to other clusters, as far as something is said of them.
    pub(crate) fn ways(&self) -> BTreeMap<ClusterName, Way> {
        self.clusters.iter().map(|(name, other)| (name.clone(), other.into())).collect()
    }

    /// The ports at which a node answers itself, so that no service can have them.
    pub(crate) fn reserved(&self) -> Vec<Reserved> {
        let port = |protocol, port, purpose| Reserved { protocol, port, purpose };
        let dns = self.dns.iter().flat_map(|dns| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| port(protocol, dns.port, "Causeway's DNS server"))
        });
        let own = [
            port(Protocol::Tcp, self.http_listen.port(), "Causeway's metrics and health"),
            port(Protocol::Udp, self.wireguard_port, "Causeway's tunnel"),
            port(Protocol::Udp, self.vxlan_port, "Causeway's VXLAN"),
        ];
        own.into_iter().chain(dns).collect()
    }

    /// What proves who this is; [`load`] has checked that it is there.
    pub(crate) fn proof(&self) -> Proof {
        match (&self.service_account, &self.token_file) {
            (Some(ServiceAccount { token, roots }), _) => {
                Proof::ServiceAccount { token: token.clone(), roots: roots.clone() }
            }
            (None, file) => Proof::JoinToken(file.clone().expect("load() has checked that there is a proof")),
        }
    }

    /// Where the node stands: what is configured, and for the rest what the world says.
    pub(crate) fn topology(&self, world: Option<&Node>) -> Topology {
        let known = world.map(|node| node.topology.clone()).unwrap_or_default();
        let or = |own: &String, known| if own.is_empty() { known } else { own.clone() };
        let (region, zone) = (or(&self.region, known.region), or(&self.zone, known.zone));
        Topology { provider: known.provider, region, zone }
    }

    /// The node's location: what is configured, else what the world says.
    pub(crate) fn location(&self, world: Option<&Node>) -> String {
        let own = if self.location.is_empty() { &self.region } else { &self.location };
        match world {
            Some(node) if own.is_empty() => node.location.clone(),
            _ => own.clone(),
        }
    }
}

/// The largest weight of another cluster.
const MOST_WANTED: u16 = 100;
/// The largest cost of the way to another cluster, in milliseconds of round-trip time.
const DEAREST: u32 = 60_000;

/// Reads and checks a configuration. The node's name may be given beside it: it wins over the file's.
pub fn load(path: &Path, node: Option<&str>) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(path, &text, node)
}

fn parse(path: &Path, text: &str, node: Option<&str>) -> Result<Config, ConfigError> {
    let mut config: Config = serde_saphyr::from_str(text)
        .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
    if let Some(node) = node {
        config.node = node.into();
    }
    check(&config).map_err(|Wrong { field, problem }| ConfigError::Field {
        path: path.into(),
        field,
        problem,
    })?;
    NodeName::new(config.cluster.clone(), config.node.clone())
        .map_err(|source| ConfigError::Name { path: path.into(), source })?;
    Ok(config)
}

/// What is wrong, and what to write instead.
struct Wrong {
    field: &'static str,
    problem: &'static str,
}

fn check(config: &Config) -> Result<(), Wrong> {
    let one_a_family = |ranges: &[IpNet]| {
        let of = |v4: bool| ranges.iter().filter(|net| net.addr().is_ipv4() == v4).count();
        of(true) <= 1 && of(false) <= 1
    };
    let absolute = |path: &PathBuf| path.is_absolute();
    let proofs = [config.token_file.is_some(), config.service_account.is_some()];
    let service_account = config.service_account.iter().flat_map(|account| [&account.token, &account.roots]);
    let cni = config.cni.as_ref();
    let checks = [
        (!config.node.is_empty(), "node", "name the node here, by --node or in CAUSEWAY_NODE"),
        (!config.controllers.is_empty(), "controllers", "give at least one address, such as 192.0.2.1:9640"),
        (proofs != [false, false], "tokenFile", "give tokenFile, or serviceAccount in its place"),
        (proofs != [true, true], "tokenFile", "give tokenFile or serviceAccount, not both"),
        (service_account.into_iter().all(absolute), "serviceAccount", "give absolute paths"),
        (one_a_family(&config.pod_cidrs), "podCIDRs", "give one range a family, IPv4 or IPv6 or both"),
        (
            config.cgroup.as_ref().is_none_or(absolute),
            "cgroup",
            "give the absolute path of a cgroup v2 directory",
        ),
        (
            is_device(&config.interface),
            "interface",
            "give a name of 1 to 15 characters without '/' and blanks",
        ),
        (
            config.underlay.is_empty() || is_device(&config.underlay),
            "underlay",
            "name a device, or leave it out",
        ),
        (
            Host::new(&config.host_root).is_ok(),
            "hostRoot",
            "write /proc/1/root (with hostPID), or nothing where the agent runs on the machine itself",
        ),
        (
            config.host_root.as_os_str().is_empty() || cni.is_some(),
            "hostRoot",
            "give cni, too: the machine needs a copy of the program",
        ),
        (
            cni.is_none_or(|cni| !cni.bin_dirs.is_empty() && cni.bin_dirs.iter().all(absolute)),
            "cni.binDirs",
            "give the absolute path of at least one folder, such as /opt/cni/bin",
        ),
        (
            cni.is_none_or(|cni| absolute(&cni.conf_dir)),
            "cni.confDir",
            "give an absolute path, such as /etc/cni/net.d",
        ),
        (
            config.dns.as_ref().is_none_or(|dns| dns.port != 0 && dns.zones().is_ok()),
            "dns",
            "give clusterDomain and clustersetDomain as different domain names such as cluster.local (or nothing, to \
             leave one out), and a port such as 53",
        ),
        (
            config.clusters.values().all(|other| (1..=MOST_WANTED).contains(&other.weight)),
            "clusters",
            "give a weight from 1 to 100; causeway.io/cluster-weights takes a cluster out of a service",
        ),
        (
            config.clusters.values().all(|other| other.egress_cost <= DEAREST),
            "clusters",
            "give an egressCost of at most 60000: milliseconds of round-trip time",
        ),
        (
            config.services.node_ports().is_some(),
            "services.nodePortAddresses",
            "give ranges such as 192.0.2.0/24, primary alone, or nothing for all addresses",
        ),
        (
            engine::policy::allowed(&config.policy.host_always_allowed).is_ok(),
            "policy.hostAlwaysAllowed",
            "give ports of the node, such as tcp/22, and addresses, such as 192.0.2.1",
        ),
        (
            config.preshared_keys.as_ref().is_none_or(|keys| absolute(&keys.folder)),
            "presharedKeys.folder",
            "give an absolute path",
        ),
        (config.wireguard_port != 0, "wireguardPort", "give a UDP port, such as 51820"),
        (
            config.vxlan_port != 0 && config.vxlan_port != config.wireguard_port,
            "vxlanPort",
            "give a UDP port that is not wireguardPort, such as 4789",
        ),
    ];
    match checks.into_iter().find(|(good, ..)| !good) {
        None => Ok(()),
        Some((_, field, problem)) => Err(Wrong { field, problem }),
    }
}

/// Whether the kernel takes it for a device's name (`dev_valid_name`).
fn is_device(name: &str) -> bool {
    let good = |c: char| !c.is_whitespace() && c != '/' && c != ':';
    (1..16).contains(&name.len()) && name != "." && name != ".." && name.chars().all(good)
}

#[cfg(test)]
mod tests;
