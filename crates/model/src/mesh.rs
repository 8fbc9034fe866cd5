//! How a node takes part in the mesh.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{GenerationId, PublicKey, Reach};

/// Which nodes have tunnels to which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Each node to every other.
    #[default]
    Full,
    /// Inside a location each node to every other; between locations by their gateways.
    Location,
    /// The same, but that nodes which everybody reaches need no gateway.
    Cross,
}

/// Where what nodes send each other is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Everywhere.
    #[default]
    All,
    /// Between locations; inside one it is not.
    Mesh,
}

/// Which of what is not encrypted travels in VXLAN (RFC 7348).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulate {
    /// Nothing: the network between the nodes carries pods' addresses.
    Never,
    /// What leaves the node's own subnets.
    CrossSubnet,
    /// All of it.
    #[default]
    Always,
}

/// How packets get from one node's mesh device to another's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Encrypted, by a tunnel.
    #[default]
    Wireguard,
    /// In VXLAN.
    Vxlan,
    /// As they are.
    Plain,
}

impl Transport {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wireguard => "wireguard",
            Self::Vxlan => "vxlan",
            Self::Plain => "plain",
        }
    }
}

/// Whether a node is to carry its location's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gateway {
    /// Somebody wants it to be one.
    Wanted,
    /// If it suits.
    #[default]
    Neutral,
    /// Only if there is nobody else: it is cordoned, or somebody does not want it.
    Unwanted,
}

/// How a node takes part in the mesh: what its cluster's settings say, and its annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeMesh {
    /// With whom it has tunnels.
    pub granularity: Granularity,
    /// Whether it carries its location's traffic.
    pub gateway: Gateway,
    /// Where other locations find it, in place of its public addresses.
    pub endpoint: Option<Endpoint>,
    /// Seconds between packets by which it keeps all its tunnels open; 0 for none, nothing to decide by need.
    pub keepalive: Option<u16>,
    /// Ranges outside the mesh that its location reaches: others of its cluster reach them through it.
    pub allowed_location_ips: Vec<IpNet>,
    /// How it changes its key.
    pub rekeying: Rekeying,
    /// Whether its tunnel lets gateways stand in for each other; the kernel's does not.
    pub knows_groups: bool,
    /// Where what it sends is encrypted.
    pub encryption: Encryption,
    /// Which of what is not encrypted travels in VXLAN.
    pub encapsulate: Encapsulate,
    /// What it takes unencrypted from nodes of its location, as its agent says: nobody sends it anything else so.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub takes: BTreeSet<Transport>,
    /// The generations of pre-shared keys that it holds, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<GenerationId>,
    /// What its agent has found out about how nodes reach each other.
    #[serde(skip_serializing_if = "Reach::is_empty")]
    pub reach: Reach,
}

/// How a node changes its key: it has another one beside it before it does without the old one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rekeying {
    /// The key that it will have next, which is to be believed already.
    pub next_key: Option<PublicKey>,
    /// Whether its tunnel lets others have two keys while they change theirs; the kernel's does not.
    pub knows_two: bool,
    /// The number of the last request for a new key: whoever has not seen it makes one. 0: none was made.
    pub requested: u64,
}

/// Where a tunnel ends: an address or a name, with a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// The address, or a name that DNS knows.
    pub host: Host,
    /// The UDP port; not 0.
    pub port: u16,
}

/// An address, or a name for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The address itself.
    Ip(IpAddr),
    /// A domain name, in lower case.
    Dns(String),
}

/// A text that says no end of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no endpoint: write ADDRESS:PORT, [ADDRESS]:PORT or NAME:PORT, such as vpn.example.net:51820"
)]
pub struct NoEndpoint(String);

impl Endpoint {
    /// The longest text of one: a domain name, a colon, a port.
    pub const MAX_CHARS: usize = 253 + 6;
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let wrong = || NoEndpoint(text.chars().take(80).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            let (ip, port) = (address.ip(), address.port());
            let good = port != 0 && !ip.is_unspecified() && !ip.is_multicast();
            return if good { Ok(Self { host: Host::Ip(ip), port }) } else { Err(wrong()) };
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        let named = name.len() <= 253 && name.split('.').all(is_label);
        // What ends in digits is meant as an address (RFC 3986 §3.2.2), and is none.
        let address = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if !named || address {
            return Err(wrong());
        }
        Ok(Self { host: Host::Dns(name), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Dns(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NoEndpoint;
    fn try_from(text: String) -> Result<Self, NoEndpoint> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        for (text, written) in [
            ("198.18.0.1:51820", Some("198.18.0.1:51820")),
            ("[2001:db8::1]:1", Some("[2001:db8::1]:1")),
            ("VPN.example.net:51820", Some("vpn.example.net:51820")),
            ("vpn.example.net.:51820", Some("vpn.example.net:51820")),
            ("host:1", Some("host:1")),
            ("", None),
            (":51820", None),
            ("vpn.example.net", None),
            ("vpn.example.net:0", None),
            ("vpn.example.net:65536", None),
            ("198.18.0.1:0", None),
            ("198.18.0:51820", None),
            ("300.1.2.3:51820", None),
            ("0.0.0.0:51820", None),
            ("[ff02::1]:51820", None),
            ("2001:db8::1:51820", None),
            ("a..b:1", None),
            ("a b:1", None),
        ] {
            let read = text.parse::<Endpoint>();
            assert_eq!(read.ok().map(|e| e.to_string()).as_deref(), written, "{text:?}");
        }
        let of_labels = |count: usize| format!("{}b:51820", "a.".repeat(count)).parse::<Endpoint>();
        assert!(of_labels(126).is_ok() && of_labels(127).is_err(), "253 characters, 255");
        assert!(format!("{}:1", "a".repeat(64)).parse::<Endpoint>().is_err());
    }
}
