//! Ends of connections, as people write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use model::policy::PodName;
use model::{ClusterName, NameError, NodeName, ObjectName, PeerName};
use serde::{Deserialize, Serialize};

/// An end of a connection: `NAMESPACE/POD`, `CLUSTER/NAMESPACE/POD`, `node:NAME`, `node:CLUSTER/NAME`, `peer:NAME`,
/// `peer:CLUSTER/NAME`, an address, or `world`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PolicyEnd {
    /// A pod; a peer that is no node, in place of one in a namespace without a name.
    Pod {
        /// Its cluster; none: that of whoever is asked.
        cluster: Option<ClusterName>,
        /// Its namespace and name.
        pod: ObjectName,
    },
    /// A node.
    Node {
        /// Its cluster; none: that of whoever is asked.
        cluster: Option<ClusterName>,
        /// Its own name.
        name: String,
    },
    /// Whoever has an address.
    Address(IpAddr),
    /// Some address in no cluster, and in no range that a rule names.
    World,
}

/// Text that is no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// None of the forms.
    #[error(
        "{0:?} names no end of a connection: write NAMESPACE/POD, CLUSTER/NAMESPACE/POD, node:NAME, peer:NAME, an address, or `world`"
    )]
    Form(String),
    /// A range.
    #[error("{0:?} is a range: write one address of it, such as {1}")]
    Range(String, IpAddr),
    /// A part of it is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for PolicyEnd {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        if text == "world" {
            return Ok(Self::World);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Address(ip.to_canonical()));
        }
        if let Ok(range) = text.parse::<ipnet::IpNet>() {
            return Err(EndError::Range(text.into(), range.addr()));
        }
        if let Some(node) = text.strip_prefix("node:") {
            let (cluster, name) = match node.split_once('/') {
                Some((cluster, name)) => (Some(ClusterName::new(cluster)?), name),
                None => (None, node),
            };
            // Checked with a cluster that stands for any.
            let any = cluster.clone().map_or_else(|| ClusterName::new("any"), Ok)?;
            return Ok(Self::Node { cluster, name: NodeName::new(any, name)?.node });
        }
        if let Some(peer) = text.strip_prefix("peer:") {
            let (cluster, name) = match peer.split_once('/') {
                Some((cluster, name)) => (Some(ClusterName::new(cluster)?), name),
                None => (None, peer),
            };
            let any = cluster.clone().map_or_else(|| ClusterName::new("any"), Ok)?;
            let name = PeerName::new(any, name)?.peer;
            return Ok(Self::Pod { cluster, pod: ObjectName { namespace: String::new(), name } });
        }
        match text.split('/').collect::<Vec<_>>()[..] {
            [namespace, name] => Ok(Self::Pod { cluster: None, pod: ObjectName::new(namespace, name)? }),
            [cluster, namespace, name] => Ok(Self::Pod {
                cluster: Some(ClusterName::new(cluster)?),
                pod: ObjectName::new(namespace, name)?,
            }),
            _ => Err(EndError::Form(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for PolicyEnd {
    type Error = EndError;
    fn try_from(text: String) -> Result<Self, EndError> {
        text.parse()
    }
}

impl From<PolicyEnd> for String {
    fn from(end: PolicyEnd) -> Self {
        end.to_string()
    }
}

impl From<&PodName> for PolicyEnd {
    fn from(name: &PodName) -> Self {
        let pod = ObjectName { namespace: name.namespace.name.clone(), name: name.name.clone() };
        Self::Pod { cluster: Some(name.namespace.cluster.clone()), pod }
    }
}

impl From<&NodeName> for PolicyEnd {
    fn from(name: &NodeName) -> Self {
        Self::Node { cluster: Some(name.cluster.clone()), name: name.node.clone() }
    }
}

impl PolicyEnd {
    /// The cluster it is said to be in; none for addresses, and where nobody said.
    pub fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Pod { cluster, .. } | Self::Node { cluster, .. } => cluster.as_ref(),
            Self::Address(_) | Self::World => None,
        }
    }

    /// Whether it is a peer that is no node: nobody judges what those do.
    pub fn is_peer(&self) -> bool {
        matches!(self, Self::Pod { pod, .. } if pod.namespace.is_empty())
    }

    /// The same with a cluster, where it is a pod or node of which nobody said it.
    pub fn or_in(self, own: &ClusterName) -> Self {
        match self {
            Self::Pod { cluster: None, pod } => Self::Pod { cluster: Some(own.clone()), pod },
            Self::Node { cluster: None, name } => Self::Node { cluster: Some(own.clone()), name },
            said => said,
        }
    }
}

impl fmt::Display for PolicyEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { cluster: Some(cluster), pod } if pod.namespace.is_empty() => {
                write!(f, "peer:{cluster}/{}", pod.name)
            }
            Self::Pod { cluster: None, pod } if pod.namespace.is_empty() => write!(f, "peer:{}", pod.name),
            Self::Pod { cluster: Some(cluster), pod } => write!(f, "{cluster}/{pod}"),
            Self::Pod { cluster: None, pod } => pod.fmt(f),
            Self::Node { cluster: Some(cluster), name } => write!(f, "node:{cluster}/{name}"),
            Self::Node { cluster: None, name } => write!(f, "node:{name}"),
            Self::Address(ip) => ip.fmt(f),
            Self::World => f.write_str("world"),
        }
    }
}
