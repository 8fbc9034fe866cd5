//! What an agent is told when it starts: one YAML file, refused as a whole when anything in it is unknown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use model::{ClusterName, NameError, NodeName, Topology};
use serde::{Deserialize, Serialize};

/// An agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The cluster the node belongs to.
    pub cluster: ClusterName,
    /// The node's own name.
    pub node: String,
    /// Where the cluster's controllers listen, tried in turn.
    pub controllers: Vec<SocketAddr>,
    /// The file that holds the join token; read only while the node has no identity yet.
    pub token_file: PathBuf,
    /// The device that reaches other nodes.
    #[serde(default = "defaults::underlay")]
    pub underlay: String,
    /// The tunnel's name.
    #[serde(default = "defaults::interface")]
    pub interface: String,
    /// The cgroup (v2) directory under which everything on this node runs: where the socket balancer attaches.
    pub cgroup: PathBuf,
    /// This node's slices of its cluster's pod ranges: at most one a family.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
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
    /// Where metrics and health are answered.
    #[serde(default = "defaults::http_listen")]
    pub http_listen: SocketAddr,
    /// `topology.kubernetes.io/region`.
    #[serde(default)]
    pub region: String,
    /// `topology.kubernetes.io/zone`.
    #[serde(default)]
    pub zone: String,
    /// Nodes of one location reach each other by private address; empty means the region's name.
    #[serde(default)]
    pub location: String,
}

mod defaults {
    use std::net::{Ipv6Addr, SocketAddr};
    use std::path::PathBuf;

    pub(super) fn underlay() -> String {
        "eth0".into()
    }
    pub(super) fn interface() -> String {
        "cw0".into()
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

    /// Where the node stands.
    pub fn topology(&self) -> Topology {
        Topology { region: self.region.clone(), zone: self.zone.clone() }
    }
}

/// Reads and checks a configuration.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut config: Config = serde_saphyr::from_str(text)
        .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
    NodeName::new(config.cluster.clone(), config.node.clone())
        .map_err(|source| ConfigError::Name { path: path.into(), source })?;
    let field = |field, problem| Err(ConfigError::Field { path: path.into(), field, problem });
    if config.controllers.is_empty() {
        return field("controllers", "give at least one address, such as 192.0.2.1:9640");
    }
    let families = |v4: bool| config.pod_cidrs.iter().filter(|net| net.addr().is_ipv4() == v4).count();
    if config.pod_cidrs.is_empty() || families(true) > 1 || families(false) > 1 {
        return field("podCIDRs", "give one range a family, IPv4 or IPv6 or both");
    }
    if !config.cgroup.is_absolute() {
        return field("cgroup", "give the absolute path of a cgroup v2 directory");
    }
    if config.location.is_empty() {
        config.location = config.region.clone();
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
cluster: aws
node: aws-1
controllers: ['198.18.1.250:9640']
tokenFile: /run/causeway/join-token
cgroup: /sys/fs/cgroup/causeway-lab/aws/aws-1
podCIDRs: [10.1.0.0/24, 'fd00:1::/64']
region: eu-west-1
";

    #[test]
    fn good() {
        let config = parse(Path::new("a.yaml"), GOOD).unwrap();
        assert_eq!(config.name().to_string(), "aws/aws-1");
        assert_eq!((config.underlay.as_str(), config.wireguard_port), ("eth0", 51820));
        assert_eq!(config.location, "eu-west-1");
        let again = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(parse(Path::new("b.yaml"), &again).unwrap(), config, "what is written is what is read");
    }

    #[test]
    fn bad() {
        for (from, to, said) in [
            ("node: aws-1", "nodes: aws-1", "nodes"),
            ("node: aws-1", "node: AWS_1", "AWS_1"),
            ("['198.18.1.250:9640']", "[]", "controllers"),
            ("cgroup: /", "cgroup: ", "absolute"),
            ("'fd00:1::/64'", "10.2.0.0/24", "podCIDRs"),
            ("10.1.0.0/24", "10.1.0.0/33", "podCIDRs"),
        ] {
            let error = parse(Path::new("a.yaml"), &GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains("a.yaml") && error.contains(said), "{to}: {error}");
        }
    }
}
