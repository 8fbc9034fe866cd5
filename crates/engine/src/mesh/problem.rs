//! What was claimed and not granted.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, NodeName, PeerName, PublicKey};

/// A claim that was not granted. The rest of the mesh works without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The world does not have this node yet.
    #[error("node {0} is not known to its own cluster yet: check that its Node object exists")]
    Myself(NodeName),
    /// Two clusters claim one range.
    #[error(
        "cluster {loser}'s pod range {range} overlaps cluster {winner}'s and is left out: give them disjoint ranges"
    )]
    Clusters {
        /// The range that is not used.
        range: IpNet,
        /// Who claimed it too late.
        loser: ClusterName,
        /// Who has it.
        winner: ClusterName,
    },
    /// A cluster's pod range has this machine's own address in it.
    #[error(
        "cluster {cluster}'s pod range {range} contains this node's own address {address} and is left out: pods need a range that no machine has"
    )]
    Underlay {
        /// Whose range.
        cluster: ClusterName,
        /// The range that is not used.
        range: IpNet,
        /// The address in it.
        address: IpAddr,
    },
    /// A node claims a range outside its cluster's.
    #[error("node {node}'s pod range {range} is outside cluster {}'s pod ranges and is left out", node.cluster)]
    Outside {
        /// Who claims it.
        node: NodeName,
        /// The range.
        range: IpNet,
    },
    /// Two nodes claim one range.
    #[error("node {loser}'s pod range {range} overlaps node {winner}'s and is left out")]
    Nodes {
        /// The range that is not used.
        range: IpNet,
        /// Who claimed it too late.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// A node is to get a key that somebody has already.
    #[error(
        "node {loser} announces {key} as its next WireGuard key, which is that of {winner}, and is not believed with it"
    )]
    NextKey {
        /// The key.
        key: PublicKey,
        /// Who announces it.
        loser: NodeName,
        /// Who has it: `a/n1`, or `peer a/alice`.
        winner: String,
    },
    /// A peer has a key that somebody has already.
    #[error("peer {peer} has the WireGuard key of {winner} and is left out: give it a key of its own")]
    PeerKey {
        /// Which.
        peer: PeerName,
        /// Who has the key: `node a/n1`.
        winner: String,
    },
    /// A peer wants addresses that are no peer's.
    #[error("peer {peer}'s range {range} overlaps addresses of {of} and is left out: give it others")]
    PeerTaken {
        /// Which.
        peer: PeerName,
        /// The range that is not used.
        range: IpNet,
        /// Whose they are.
        of: String,
    },
    /// Two peers want one range.
    #[error("peer {peer}'s range {range} overlaps peer {winner}'s and is left out: the first by name has it")]
    PeerRange {
        /// Who claims it too late.
        peer: PeerName,
        /// The range that is not used.
        range: IpNet,
        /// Who has it.
        winner: PeerName,
    },
    /// None of the nodes that are to have a peer's tunnel is there.
    #[error(
        "peer {peer} has no gateway: none of the nodes that it names is there with a key; change its annotation causeway.io/gateway"
    )]
    PeerGateway {
        /// Which.
        peer: PeerName,
    },
    /// A peer would be dialled through a tunnel.
    #[error(
        "peer {peer} is not dialled at {address}, which is an address inside the mesh: it has to dial us"
    )]
    PeerEndpoint {
        /// Which.
        peer: PeerName,
        /// The address.
        address: IpAddr,
    },
    /// A setting that changes nothing.
    #[error(
        "mesh.encapsulate has no effect while mesh.encryption is all: what is encrypted needs no VXLAN; set mesh.encryption to \
         mesh, or leave mesh.encapsulate out"
    )]
    Encapsulation,
    /// Two nodes show one key.
    #[error(
        "node {loser} shows node {winner}'s WireGuard key {key} and gets no tunnel: remove its private.key and restart its agent"
    )]
    Keys {
        /// The key.
        key: PublicKey,
        /// Who showed it too late.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// Nodes hold no pre-shared key that this node holds, too.
    #[error(
        "{} hold no generation of mesh.presharedKeys that this node holds, and {}: give their agents the same Secret",
        some(nodes),
        if *required { "have no tunnel here, as it is required" } else { "tunnels to them have no pre-shared key" }
    )]
    Unshared {
        /// Which.
        nodes: Vec<NodeName>,
        /// Whether they have no tunnel for it.
        required: bool,
    },
    /// A range that somebody put behind a node is in use.
    #[error(
        "node {loser}'s allowed-location-ips {range} overlaps node {winner}'s and is left out: write each range at one node"
    )]
    LocationRanges {
        /// The range that is not used.
        range: IpNet,
        /// Behind whom it is not.
        loser: NodeName,
        /// Who has it.
        winner: NodeName,
    },
    /// A range that somebody put behind a node belongs to pods.
    #[error(
        "node {node}'s allowed-location-ips {range} begins inside cluster {cluster}'s pod ranges and is left out"
    )]
    LocationPods {
        /// Behind whom it is not.
        node: NodeName,
        /// The range that is not used.
        range: IpNet,
        /// Whose pods.
        cluster: ClusterName,
    },
    /// A range that somebody put behind a node has the end of a tunnel in it.
    #[error(
        "node {node}'s allowed-location-ips {range} contains {endpoint}, where a tunnel of this node leads, and is left out"
    )]
    LocationUnderlay {
        /// Behind whom it is not.
        node: NodeName,
        /// The range that is not used here.
        range: IpNet,
        /// The address in it.
        endpoint: IpAddr,
    },
}

/// So many are named.
const NAMED: usize = 5;

/// The names of the first few, and how many more there are.
fn some(nodes: &[NodeName]) -> String {
    let named: Vec<String> = nodes.iter().take(NAMED).map(ToString::to_string).collect();
    match nodes.len().saturating_sub(NAMED) {
        0 => format!("nodes ({})", named.join(", ")),
        more => format!("nodes ({} and {more} more)", named.join(", ")),
    }
}

impl Problem {
    /// The peer that is no node, if it is about one.
    pub fn peer(&self) -> Option<&PeerName> {
        self.of_peer().map(|(peer, _)| peer)
    }

    /// The peer that is no node, if it is about one, and the reason in one word, as Kubernetes' Events have it.
    pub fn of_peer(&self) -> Option<(&PeerName, &'static str)> {
        match self {
            Self::PeerKey { peer, .. } => Some((peer, "KeyTaken")),
            Self::PeerTaken { peer, .. } => Some((peer, "AddressNotForPeers")),
            Self::PeerRange { peer, .. } => Some((peer, "AddressTaken")),
            Self::PeerGateway { peer } => Some((peer, "GatewayMissing")),
            Self::PeerEndpoint { peer, .. } => Some((peer, "EndpointInsideMesh")),
            _ => None,
        }
    }
}
