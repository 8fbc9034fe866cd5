//! The DNS server's part of the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use engine::names::{Name, NameError};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The same on every node, so that one line of configuration does for whoever asks: link-local (RFC 3927), so it never
/// leaves the node.
const EVERYWHERE: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 53);

/// The DNS server on the node. It answers at the node's own addresses in the mesh, always, and at those of `listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Where it answers beside the node's addresses in the mesh. Link-local and unique local addresses are put on the
    /// tunnel's device; others must be the machine's.
    pub listen: Vec<IpAddr>,
    /// The port of all of them.
    pub port: u16,
    /// Who is asked for names of other zones, tried in turn: `ADDRESS` or `ADDRESS:PORT`. Empty: nobody, they are
    /// refused. Without it, those of the machine's `/etc/resolv.conf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<Upstream>>,
    /// The zone of the cluster's own services; empty where somebody else serves it.
    pub cluster_domain: String,
    /// The zone of the clusterset's services; empty to serve none.
    pub clusterset_domain: String,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: vec![EVERYWHERE.into()],
            port: 53,
            upstreams: None,
            cluster_domain: "cluster.local".into(),
            clusterset_domain: "clusterset.local".into(),
        }
    }
}

impl Dns {
    /// The zones: the cluster's and the clusterset's.
    pub(crate) fn zones(&self) -> Result<[Option<Name>; 2], NameError> {
        let zone = |text: &String| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
        let zones: [Option<Name>; 2] = [zone(&self.cluster_domain)?, zone(&self.clusterset_domain)?];
        match &zones {
            // Two zones of one name: the second is the one that is wrong.
            [Some(one), Some(other)] if one == other => "".parse::<Name>().map(|_| zones),
            _ => Ok(zones),
        }
    }

    /// The addresses of `listen` that the tunnel's device is to have.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = IpNet> {
        let ours = |ip: &&IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        };
        self.listen.iter().filter(ours).map(|ip| IpNet::from(*ip))
    }
}

/// An upstream server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream(pub SocketAddr);

/// Text that is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "upstream {0:?} is no address: write 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353"
)]
pub struct UpstreamError(String);

impl TryFrom<String> for Upstream {
    type Error = UpstreamError;
    fn try_from(text: String) -> Result<Self, UpstreamError> {
        let with_port = text.parse().ok();
        let parsed = with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)));
        parsed.map(Self).ok_or(UpstreamError(text))
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        upstream.to_string()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
