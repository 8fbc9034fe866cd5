//! The numbers of other ends. Each is a keyed hash of what it stands for, under a key for its kind, and never 0.

use std::hash::{Hash, Hasher};

use model::policy::{Labels, NamedPort, NamespaceName};
use model::{ClusterName, NodeName};
use siphasher::sip::SipHasher13;

use crate::plan::policing::Peer;

/// A hash under a key for a kind.
pub(super) fn number(kind: &[u8; 8], content: impl Hash) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, u64::from_be_bytes(*kind));
    content.hash(&mut hasher);
    hasher.finish().max(1)
}

/// Pods of one namespace that have the same labels and named ports.
pub(super) fn identity(namespace: &NamespaceName, labels: &Labels, ports: &[NamedPort]) -> Peer {
    Peer(number(b"identity", (namespace, labels, ports)))
}

/// The pods of a namespace.
pub(super) fn namespace(name: &NamespaceName) -> Peer {
    Peer(number(b"namespac", name))
}

/// The pods of a cluster.
pub(super) fn cluster_pods(name: &ClusterName) -> Peer {
    Peer(number(b"clusterp", name))
}

/// A node.
pub(super) fn node(name: &NodeName) -> Peer {
    Peer(number(b"nodename", name))
}

/// The nodes of a cluster.
pub(super) fn cluster_nodes(name: &ClusterName) -> Peer {
    Peer(number(b"clustern", name))
}

/// The node itself.
pub(super) fn host() -> Peer {
    Peer(number(b"nodehost", ()))
}

/// Every other node.
pub(super) fn remote_node() -> Peer {
    Peer(number(b"noderemo", ()))
}

/// Whatever is in no cluster.
pub(super) fn world() -> Peer {
    Peer(number(b"worldall", ()))
}
