//! WireGuard clients that are no nodes of ours: laptops, an office's router.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::{KeyError, secret_from_base64, secret_to_base64};
use crate::name::check;
use crate::policy::Labels;
use crate::{ClusterName, NameError, Port, PublicKey};

/// The label that every peer has without carrying it: its own name. Policies find peers by it, and only by it.
pub const PEER_LABEL: &str = "causeway.io/peer";

/// A peer, named with its cluster; written `CLUSTER/PEER`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerName {
    /// The cluster whose object it is.
    pub cluster: ClusterName,
    /// The peer's own name: an RFC 1123 subdomain, at most 253 characters.
    pub peer: String,
}

impl PeerName {
    /// Parses the peer's own name.
    pub fn new(cluster: ClusterName, peer: impl Into<String>) -> Result<Self, NameError> {
        let peer = peer.into();
        check("peer name", &peer, 253, true)?;
        Ok(Self { cluster, peer })
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.peer)
    }
}

/// A WireGuard client that is no node (Kilo's `kilo.squat.ai/v1alpha1` `Peer`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, with its cluster.
    pub name: PeerName,
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// The addresses that live behind it, never none. Single ones (`/32`, `/128`) are its own.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is dialled; none if it must come to us first.
    pub endpoint: Option<PeerEndpoint>,
    /// Seconds between packets that nodes send to keep a NAT's mapping open; 0 for none.
    pub keepalive: u16,
    /// What both ends know beside their keys. It never leaves the cluster.
    #[serde(skip)]
    pub preshared_key: Option<PresharedKey>,
    /// Which nodes have its tunnel.
    pub gateways: Gateways,
    /// What its configuration leads into the tunnel; empty where nobody has said: whatever its owner likes.
    pub allow: BTreeSet<Allow>,
    /// When it is nobody any more, in seconds since 1970; never if none.
    pub expires: Option<i64>,
    /// Its labels, which policy sees.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Peer {
    /// Its own addresses: those that are allowed singly.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.allowed_ips.iter().filter(|net| net.prefix_len() == net.max_prefix_len()).map(IpNet::addr)
    }

    /// Whether what it sends to somewhere outside of the mesh leaves by its gateway, in the name of that node.
    pub fn may_exit(&self) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|allow| matches!(allow, Allow::Range(_)))
    }

    /// Whether it is nobody any more at a time, in seconds since 1970.
    pub fn has_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The labels that policy sees: its own, and [`PEER_LABEL`].
    pub fn all_labels(&self) -> Labels {
        let mut labels = self.labels.clone();
        labels.insert(PEER_LABEL.into(), self.name.peer.clone());
        labels
    }
}

/// What a peer's configuration leads into the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allow {
    /// The pods of every cluster.
    Pods,
    /// The services of its cluster.
    Services,
    /// Any addresses.
    Range(IpNet),
}

/// A word that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write `pods`, `services`, or a range such as 10.0.0.0/8")]
pub struct AllowError;

impl FromStr for Allow {
    type Err = AllowError;
    fn from_str(word: &str) -> Result<Self, AllowError> {
        match word.trim() {
            "pods" => Ok(Self::Pods),
            "services" => Ok(Self::Services),
            range => range.parse::<IpNet>().map(|net| Self::Range(net.trunc())).map_err(|_| AllowError),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods => f.write_str("pods"),
            Self::Services => f.write_str("services"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// Which nodes of its cluster have a peer's tunnel. Everybody else reaches it through one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gateways {
    /// Every node that has a public address, or every node if none has: the peer has a tunnel with each, as with Kilo.
    #[default]
    All,
    /// The first of these nodes that is there.
    Named(Vec<String>),
}

/// Where a peer is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEndpoint {
    /// The host.
    pub host: PeerHost,
    /// The UDP port.
    pub port: Port,
}

impl fmt::Display for PeerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PeerHost::Ip(ip) => SocketAddr::new(*ip, self.port.get()).fmt(f),
            PeerHost::Dns(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A host, by address or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerHost {
    /// Its address.
    Ip(IpAddr),
    /// Its DNS name, lower case, without the last dot.
    Dns(String),
}

impl PeerHost {
    /// Parses a DNS name.
    pub fn dns(name: &str) -> Result<Self, NameError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        check("host name", &name, 253, true)?;
        Ok(Self::Dns(name))
    }
}

/// What two ends know beside their keys. It is written nowhere but to the device and to the exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(pub [u8; 32]);

impl PresharedKey {
    /// The key in base64, as WireGuard's programs write it: for a file or program that is to have the secret.
    pub fn to_base64(&self) -> Zeroizing<String> {
        secret_to_base64(&self.0)
    }
}

impl Drop for PresharedKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(…)")
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        secret_from_base64(text).map(Self)
    }
}

/// The addresses of some peers, as prefixes.
pub fn allowed<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> BTreeSet<IpNet> {
    peers.into_iter().flat_map(|peer| peer.allowed_ips.iter().map(IpNet::trunc)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(PeerHost::dns("Office.Example.").unwrap(), PeerHost::Dns("office.example".into()));
        for bad in ["", "a_b", "a..b", "-a", &"x".repeat(254)] {
            assert!(PeerHost::dns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preshared_key_is_not_shown() {
        let key: PresharedKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse().unwrap();
        assert_eq!(format!("{key:?}"), "PresharedKey(…)");
        assert!("x".parse::<PresharedKey>().is_err());
    }
}
