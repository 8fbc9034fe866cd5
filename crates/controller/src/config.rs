//! What a controller is told when it starts: one YAML file, refused as a whole when anything in it is unknown.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::index::{Meshing, OfLocation};
use engine::policy::{AllowedError, Distributed, Host, Selectors, allowed};
use ipnet::IpNet;
use link::Address;
use link::controller::{Budget, Lifetimes, LinkSettings};
use model::mesh::{Encapsulate, Encryption, Granularity};
use model::{Cluster, ClusterId, ClusterName, Spread, parse_time};
use serde::{Deserialize, Serialize};

/// A controller's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The cluster it speaks for.
    pub cluster: ClusterConfig,
    /// Where it learns what the cluster holds.
    pub source: Source,
    /// Where agents and other clusters' controllers connect.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// The addresses it names in tokens: how others reach `listen`.
    pub advertise: Vec<SocketAddr>,
    /// How linked clusters reach it, if that is by other addresses, or by names.
    #[serde(default)]
    pub advertise_to_clusters: Vec<Address>,
    /// What has to survive a restart: the CA, links, last known worlds of other clusters.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// Sockets.
    #[serde(default = "run_dir")]
    pub run_dir: PathBuf,
    /// Where metrics and health are answered.
    #[serde(default = "http_listen")]
    pub http_listen: SocketAddr,
    /// The cluster's CA.
    #[serde(default)]
    pub authority: Authority,
    /// What links to other clusters may cost, and when what they brought is forgotten.
    #[serde(default)]
    pub link: Link,
    /// What is imported from other clusters, and what is written of it.
    #[serde(default)]
    pub multicluster: MulticlusterConfig,
    /// What counts for services that do not say.
    #[serde(default)]
    pub services: Services,
    /// What holds for all policies.
    #[serde(default)]
    pub policy: Policy,
    /// Which nodes have tunnels to which.
    #[serde(default)]
    pub mesh: Mesh,
}

/// Which nodes have tunnels to which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mesh {
    /// `full`: each node to every other. `location`: between locations by gateways. `cross`: the same, but that nodes
    /// which everybody reaches need none.
    pub granularity: Granularity,
    /// `all`: what nodes send each other is encrypted. `mesh`: between locations alone.
    pub encryption: Encryption,
    /// Which of what is not encrypted travels in VXLAN: `always`, `crosssubnet` or `never`.
    pub encapsulate: Encapsulate,
    /// What holds otherwise for single locations, by their names.
    pub locations: BTreeMap<String, LocationConfig>,
    /// The label of nodes that names their location, where no annotation does.
    pub topology_label: String,
}

/// What holds for one location.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocationConfig {
    /// As in [`Mesh::granularity`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
    /// As in [`Mesh::encryption`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// As in [`Mesh::encapsulate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulate: Option<Encapsulate>,
}

impl Default for Mesh {
    fn default() -> Self {
        let Meshing { granularity, encryption, encapsulate, topology_label, .. } = Meshing::default();
        Self { granularity, encryption, encapsulate, locations: BTreeMap::new(), topology_label }
    }
}

impl From<&Mesh> for Meshing {
    fn from(mesh: &Mesh) -> Self {
        let locations = mesh.locations.iter().map(|(name, of)| {
            let LocationConfig { granularity, encryption, encapsulate } = *of;
            (name.clone(), OfLocation { granularity, encryption, encapsulate })
        });
        Self {
            granularity: mesh.granularity,
            encryption: mesh.encryption,
            encapsulate: mesh.encapsulate,
            locations: locations.collect(),
            topology_label: mesh.topology_label.clone(),
        }
    }
}

/// What holds for all policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// What becomes of policies that other clusters distribute: `ignore` or `accept`.
    pub distributed: Distributed,
    /// Which clusters a selector of pods means that names none, as the agents have it: `local` or `clusterset`.
    pub selectors: Selectors,
    /// Whether the agents judge nodes themselves.
    pub host: bool,
    /// What they never stop, as they have it.
    pub host_always_allowed: Vec<String>,
    /// The UDP port of the tunnel, as they have it.
    pub wireguard_port: u16,
    /// The UDP port of VXLAN, as they have it.
    pub vxlan_port: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            distributed: Distributed::default(),
            selectors: Selectors::default(),
            host: false,
            host_always_allowed: vec!["tcp/22".into()],
            wireguard_port: 51820,
            vxlan_port: 4789,
        }
    }
}

impl Policy {
    /// How nodes themselves are judged, with controllers there. None: they are not.
    ///
    /// # Errors
    /// Something of what is never stopped is neither a port nor an address.
    pub(crate) fn judging(&self, controllers: &[SocketAddr]) -> Result<Option<Host>, AllowedError> {
        let allowed = allowed(&self.host_always_allowed)?;
        Ok(self.host.then(|| Host::new(allowed, [self.wireguard_port, self.vxlan_port], controllers)))
    }
}

/// What counts for services that do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Services {
    /// How the cluster's backends stand to each other: `ladder` or `even`, as in the annotation `causeway.io/traffic`.
    pub traffic: Spread,
}

/// The Multi-Cluster Services API, as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MulticlusterConfig {
    /// Whether namespaces are shared with other clusters where their annotations do not say.
    pub share_namespaces: bool,
    /// Import into namespaces that the cluster does not have. Where namespaces need not be declared, in a folder of
    /// manifests, every namespace is there.
    pub import_without_namespace: bool,
    /// Import the global, shared services of other clusters of which this one has no Service.
    pub import_global_services: bool,
    /// Whether EndpointSlices are written for imports.
    pub endpoint_slices: bool,
    /// The clusterset's name, as the ClusterProperty `clusterset.k8s.io` says it; empty to be in none.
    pub clusterset_name: String,
}

impl Default for MulticlusterConfig {
    fn default() -> Self {
        Self {
            share_namespaces: true,
            import_without_namespace: false,
            import_global_services: false,
            endpoint_slices: true,
            clusterset_name: "causeway".into(),
        }
    }
}

/// What each link to another cluster may cost, and when what it brought is forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Link {
    /// A link that costs more takes nothing in for a while.
    pub budget: Budget,
    /// What a cluster said that has not been heard for so long is forgotten.
    pub forget_after: ForgetAfter,
}

impl From<&Link> for LinkSettings {
    fn from(link: &Link) -> Self {
        Self { budget: link.budget, forget_after: link.forget_after.0, ..Self::default() }
    }
}

/// `never`, or a time: a number with `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ForgetAfter(pub Option<Duration>);

impl TryFrom<String> for ForgetAfter {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        match parse_time(&text) {
            Some(time) if !time.is_zero() => Ok(Self(Some(time))),
            _ => Err(format!("{text:?} is neither `never` nor a time such as 90s, 15m, 12h or 7d")),
        }
    }
}

impl From<ForgetAfter> for String {
    fn from(after: ForgetAfter) -> Self {
        after.0.map_or_else(|| "never".into(), |after| format!("{}s", after.as_secs()))
    }
}

/// How long what the cluster's CA makes is good, in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authority {
    /// A root.
    pub root_days: u16,
    /// How old a root becomes before the next one takes its place.
    pub rotate_after_days: u16,
    /// How long a root still counts when the next one has taken its place and everything it had signed has expired; and
    /// how long after its end a node's certificate can still be renewed.
    pub grace_days: u16,
}

impl Default for Authority {
    fn default() -> Self {
        Self { root_days: 3650, rotate_after_days: 1825, grace_days: 30 }
    }
}

impl From<&Authority> for Lifetimes {
    fn from(authority: &Authority) -> Self {
        let days = |days: u16| Duration::from_secs(u64::from(days) * 24 * 3600);
        Self {
            root: days(authority.root_days),
            rotate_after: days(authority.rotate_after_days),
            grace: days(authority.grace_days),
            ..Self::default()
        }
    }
}

/// The cluster, as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Its name.
    pub name: ClusterName,
    /// Its number.
    pub id: ClusterId,
    /// The ranges its pods take addresses from.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// The ranges its services take addresses from.
    #[serde(rename = "serviceCIDRs")]
    pub service_cidrs: Vec<IpNet>,
    /// The ranges its imports take addresses from (clusterset IPs). Each cluster may use the same: they mean nothing
    /// outside it.
    #[serde(default = "clusterset_cidrs", rename = "clustersetCIDRs")]
    pub clusterset_cidrs: Vec<IpNet>,
    /// The ranges that `causeway peer add` takes addresses from, and whose addresses other clusters reach. No two clusters
    /// have a part of them in common. Empty: those of [`peer_cidrs`].
    #[serde(default, rename = "peerCIDRs")]
    pub peer_cidrs: Vec<IpNet>,
    /// The length of the IPv4 range that a node is given where nobody else gives it one.
    #[serde(default = "node_mask_size_v4", rename = "nodeMaskSizeIPv4")]
    pub node_mask_size_v4: u8,
    /// The length of the IPv6 range that a node is given where nobody else gives it one.
    #[serde(default = "node_mask_size_v6", rename = "nodeMaskSizeIPv6")]
    pub node_mask_size_v6: u8,
}

impl ClusterConfig {
    /// A cluster with the usual sizes.
    pub fn new(cluster: Cluster) -> Self {
        let Cluster { name, id, pod_cidrs, service_cidrs, clusterset_cidrs, peer_cidrs } = cluster;
        let (node_mask_size_v4, node_mask_size_v6) = (node_mask_size_v4(), node_mask_size_v6());
        Self {
            name,
            id,
            pod_cidrs,
            service_cidrs,
            clusterset_cidrs,
            peer_cidrs,
            node_mask_size_v4,
            node_mask_size_v6,
        }
    }
}

impl From<ClusterConfig> for Cluster {
    fn from(config: ClusterConfig) -> Self {
        let ClusterConfig {
            name,
            id,
            pod_cidrs,
            service_cidrs,
            clusterset_cidrs,
            peer_cidrs: chosen,
            node_mask_size_v4: _,
            node_mask_size_v6: _,
        } = config;
        let mut cluster = Self { name, id, pod_cidrs, service_cidrs, clusterset_cidrs, peer_cidrs: chosen };
        if cluster.peer_cidrs.is_empty() {
            cluster.peer_cidrs = peer_cidrs(&cluster);
        }
        cluster
    }
}

/// Where a controller learns what its cluster holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Source {
    /// A folder of Kubernetes manifests.
    Standalone {
        /// The folder.
        path: PathBuf,
    },
    /// An API server. Several controllers of one cluster may share it: one of them leads.
    #[serde(rename_all = "camelCase")]
    Kubernetes {
        /// How to reach it; without one, as every pod does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kubeconfig: Option<PathBuf>,
        /// The namespace in which Causeway runs.
        #[serde(default = "namespace")]
        namespace: String,
        /// How long a node's certificate is valid, in seconds; it is renewed at half of that.
        #[serde(default = "certificate_seconds")]
        certificate_seconds: u32,
    },
}

/// Clusterset IPs where nobody chose others: never on a wire, so the same in every cluster, from ranges that no network
/// routes (240.0.0.0/4 is reserved by RFC 1112; fd00::/8 is RFC 4193's).
pub fn clusterset_cidrs() -> Vec<IpNet> {
    ["243.0.0.0/16", "fd43:c5e7::/112"].map(|range| range.parse().expect("a range")).into()
}
/// Peers' addresses where nobody chose others: of every cluster others, by its id, and none that its pods or services have.
pub fn peer_cidrs(cluster: &Cluster) -> Vec<IpNet> {
    let id = cluster.id.get();
    let [high, low] = id.to_be_bytes();
    let v4 = IpNet::new([10, 254 + high, low, 0].into(), 24);
    let v6 = IpNet::new(std::net::Ipv6Addr::from([0xfd43, 0xc5e8, id, 0, 0, 0, 0, 0]).into(), 64);
    let others = cluster.pod_cidrs.iter().chain(&cluster.service_cidrs).chain(&cluster.clusterset_cidrs);
    let others: Vec<IpNet> = others.copied().collect();
    let free = |range: &IpNet| !others.iter().any(|other| model::overlaps(other, range));
    v4.into_iter().chain(v6).filter(free).collect()
}
fn node_mask_size_v4() -> u8 {
    24
}
fn node_mask_size_v6() -> u8 {
    64
}
fn namespace() -> String {
    "kube-system".into()
}
fn certificate_seconds() -> u32 {
    3600
}

fn listen() -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, 9640).into()
}
fn http_listen() -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, 9642).into()
}
fn state_dir() -> PathBuf {
    "/var/lib/causeway".into()
}
fn run_dir() -> PathBuf {
    "/run/causeway".into()
}

/// A configuration that cannot be used; nothing was started. Always the writer's to fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the controller's configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text does not say what it should.
    #[error("{path}: not a controller's configuration: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// A field holds something the controller cannot work with.
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

/// Reads and checks a configuration.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let config: Config = serde_saphyr::from_str(text)
        .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
    let field = |field, problem| Err(ConfigError::Field { path: path.into(), field, problem });
    if config.advertise.is_empty() {
        return field("advertise", "give at least one address that agents reach, such as 192.0.2.1:9640");
    }
    if config.cluster.pod_cidrs.is_empty() {
        return field("cluster.podCIDRs", "give at least one range, such as 10.1.0.0/16");
    }
    let ranges = &config.cluster;
    let others = ranges.pod_cidrs.iter().chain(&ranges.service_cidrs).chain(&ranges.clusterset_cidrs);
    if others.into_iter().any(|other| ranges.peer_cidrs.iter().any(|range| model::overlaps(range, other))) {
        return field("cluster.peerCIDRs", "give ranges that neither pods nor services have a part of");
    }
    let ClusterConfig { pod_cidrs, node_mask_size_v4, node_mask_size_v6, .. } = &config.cluster;
    for (is_v4, name, size, longest) in [
        (true, "cluster.nodeMaskSizeIPv4", *node_mask_size_v4, 30),
        (false, "cluster.nodeMaskSizeIPv6", *node_mask_size_v6, 126),
    ] {
        let mut ranges = pod_cidrs.iter().filter(|range| range.addr().is_ipv4() == is_v4);
        if size > longest || ranges.any(|range| range.prefix_len() > size) {
            return field(name, "give a length between those of the cluster's ranges and a few addresses");
        }
    }
    let Authority { root_days, rotate_after_days, grace_days } = config.authority;
    if rotate_after_days == 0 || root_days <= rotate_after_days.saturating_add(grace_days) {
        return field("authority.rootDays", "give more than rotateAfterDays and graceDays together");
    }
    if config.mesh.topology_label.is_empty() {
        return field("mesh.topologyLabel", "name a label, such as topology.kubernetes.io/region");
    }
    if let Source::Kubernetes { certificate_seconds: ..600, .. } = config.source {
        return field("source.kubernetes.certificateSeconds", "give at least 600: clocks differ");
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_and_when() {
        for (text, seconds) in [("never", None), ("90s", Some(90)), ("15m", Some(900)), ("7d", Some(604_800))]
        {
            let after = ForgetAfter::try_from(text.to_string()).unwrap();
            assert_eq!(after.0, seconds.map(Duration::from_secs), "{text}");
            assert_eq!(ForgetAfter::try_from(String::from(after)), Ok(after));
        }
        for wrong in ["", "0s", "s", "7", "7w", "-1h", "soon", "1ö", "99999999999d"] {
            assert!(ForgetAfter::try_from(wrong.to_string()).is_err(), "{wrong}");
        }
    }

    const GOOD: &str = "\
cluster:
  name: aws
  id: 1
  podCIDRs: [10.1.0.0/16, 'fd00:1::/48']
  serviceCIDRs: [10.101.0.0/16, 'fd00:101::/112']
source:
  standalone: {path: /run/causeway-lab/clusters/aws/store}
advertise: ['198.18.1.250:9640']
";

    #[test]
    fn good() {
        let config = parse(Path::new("c.yaml"), GOOD).unwrap();
        assert_eq!(config.listen.port(), 9640);
        let again = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(parse(Path::new("d.yaml"), &again).unwrap(), config, "what is written is what is read");
        assert_eq!(Cluster::from(config.cluster).id.get(), 1);
    }

    #[test]
    fn an_api_server() {
        let text = GOOD.replace("standalone: {path: /run/causeway-lab/clusters/aws/store}", "kubernetes: {}");
        let config = parse(Path::new("c.yaml"), &text).unwrap();
        let expected = Source::Kubernetes {
            kubeconfig: None,
            namespace: "kube-system".into(),
            certificate_seconds: 3600,
        };
        assert_eq!(config.source, expected);
        assert_eq!((config.cluster.node_mask_size_v4, config.cluster.node_mask_size_v6), (24, 64));
        let again = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(parse(Path::new("d.yaml"), &again).unwrap(), config, "what is written is what is read");
    }

    #[test]
    fn bad() {
        for (from, to, said) in [
            ("advertise", "advertises", "advertise"),
            ("id: 1", "id: 512", "512"),
            ("name: aws", "name: AWS", "AWS"),
            ("standalone: {path", "kubernetes: {path", "path"),
            (
                "standalone: {path: /run/causeway-lab/clusters/aws/store}",
                "kubernetes: {certificateSeconds: 60}",
                "600",
            ),
            ("id: 1", "id: 1\n  nodeMaskSizeIPv4: 8", "nodeMaskSizeIPv4"),
            ("id: 1", "id: 1\n  nodeMaskSizeIPv6: 127", "nodeMaskSizeIPv6"),
            ("['198.18.1.250:9640']", "[]", "advertise"),
            ("advertise:", "advertiseToClusters: [aws]\nadvertise:", "NAME:PORT"),
            ("source:", "authority: {rootDays: 1855}\nsource:", "rotateAfterDays"),
            ("source:", "authority: {rotateAfterDays: 0}\nsource:", "rotateAfterDays"),
            (
                "advertise:",
                "multicluster: {importWithoutNamespaces: true}\nadvertise:",
                "importWithoutNamespaces",
            ),
        ] {
            let error = parse(Path::new("c.yaml"), &GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains("c.yaml") && error.contains(said), "{to}: {error}");
        }
    }
}
