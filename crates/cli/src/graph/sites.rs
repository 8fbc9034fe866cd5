//! Who is where and who reaches whom, put together from what each node knows.

use std::collections::BTreeMap;

use anyhow::Context as _;
use model::mesh::Transport;
use model::{ClusterName, NodeName, Topology};
use serde::Serialize;
use wire::local::{AgentStatus, PeerStatus, TunnelPath, TunnelStatus};

/// A node and its tunnels, in its own words.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// The node.
    pub(crate) name: NodeName,
    /// Where it stands.
    pub(crate) topology: Topology,
    /// Its location.
    pub(crate) location: String,
    /// Whether its agent is ready.
    pub(crate) ready: bool,
    /// Its tunnels.
    pub(crate) tunnels: Vec<TunnelStatus>,
    /// Peers that are no nodes and have a tunnel with it.
    pub(crate) peers: Vec<PeerStatus>,
}

impl From<AgentStatus> for Site {
    fn from(status: AgentStatus) -> Self {
        Self {
            name: status.node,
            topology: status.topology,
            location: status.location,
            ready: status.ready,
            tunnels: status.tunnels,
            peers: status.peers,
        }
    }
}

impl TryFrom<lab::status::NodeStatus> for Site {
    type Error = anyhow::Error;
    fn try_from(node: lab::status::NodeStatus) -> anyhow::Result<Self> {
        Ok(Self {
            name: NodeName::new(node.cluster, node.name).context("reading a node of the lab")?,
            topology: Topology { region: node.region, zone: node.zone, ..Topology::default() },
            location: node.location,
            ready: node.agent.ready,
            tunnels: node.tunnels,
            peers: node.peers,
        })
    }
}

/// The whole picture. Ordered by name, so that the same mesh gives the same graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Graph {
    /// Groups of nodes that reach each other directly.
    pub(crate) locations: Vec<Location>,
    /// One for each pair of nodes.
    pub(crate) tunnels: Vec<Tunnel>,
    /// One for each laptop or other peer that is no node, and each node that it has a tunnel with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) peers: Vec<Peer>,
}

/// Nodes of one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Location {
    /// Their cluster.
    pub(crate) cluster: ClusterName,
    /// The location's name; empty when nobody said.
    pub(crate) name: String,
    /// The nodes.
    pub(crate) nodes: Vec<Node>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: NodeName,
    /// Its region.
    pub(crate) region: String,
    /// Its zone.
    pub(crate) zone: String,
    /// How it is.
    pub(crate) state: State,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It says that it is ready.
    Ready,
    /// It says that it is not.
    Waiting,
    /// It was not asked; others reach it.
    Reached,
    /// It was not asked, and nobody who was reaches it.
    Dead,
}

/// A tunnel of a peer that is no node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// The peer, `CLUSTER/NAME`.
    pub(crate) peer: String,
    /// The node.
    pub(crate) node: NodeName,
    /// Whether they have agreed on keys lately.
    pub(crate) alive: bool,
    /// Seconds since the last handshake.
    pub(crate) last_handshake_seconds: Option<f64>,
}

/// Keys live so many seconds (WireGuard's Reject-After-Time).
const ALIVE: f64 = 180.0;

/// Two nodes that keep a tunnel.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tunnel {
    /// The first by name.
    pub(crate) a: NodeName,
    /// The other.
    pub(crate) b: NodeName,
    /// Whether it carries traffic, as far as either end knows.
    pub(crate) alive: bool,
    /// The round-trip time, the mean of what both ends measured.
    pub(crate) rtt_ms: Option<f64>,
    /// Seconds since the last handshake, by whoever saw the later one.
    pub(crate) last_handshake_seconds: Option<f64>,
    /// What carries packets between the nodes' pods: `wireguard`, or inside a location `vxlan` or `plain`.
    pub(crate) transport: Transport,
    /// Which way the tunnel's packets go: `direct`, `punched` through NATs, or by a `relay`.
    pub(crate) path: TunnelPath,
    /// Who passes them on; each end may have another one for a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<NodeName>,
}

impl Graph {
    /// Puts together what the nodes say.
    pub(crate) fn new(sites: &[Site]) -> Self {
        let mut tunnels: BTreeMap<(&NodeName, &NodeName), Vec<&TunnelStatus>> = BTreeMap::new();
        let mut locations: BTreeMap<(&ClusterName, &str), BTreeMap<&NodeName, Node>> = BTreeMap::new();
        for site in sites {
            let state = if site.ready { State::Ready } else { State::Waiting };
            let node = Node::new(&site.name, &site.topology, state);
            locations.entry((&site.name.cluster, &site.location)).or_default().insert(&site.name, node);
            for tunnel in &site.tunnels {
                let ends = (&site.name).min(&tunnel.peer)..=(&site.name).max(&tunnel.peer);
                let (a, b) = ends.into_inner();
                tunnels.entry((a, b)).or_default().push(tunnel);
            }
        }
        for tunnel in sites.iter().flat_map(|site| &site.tunnels) {
            if sites.iter().any(|site| site.name == tunnel.peer) {
                continue;
            }
            let of_location = locations.entry((&tunnel.peer.cluster, &tunnel.peer_location)).or_default();
            let node = of_location
                .entry(&tunnel.peer)
                .or_insert_with(|| Node::new(&tunnel.peer, &tunnel.peer_topology, State::Dead));
            if tunnel.alive {
                node.state = State::Reached;
            }
        }
        let location = |((cluster, name), nodes): ((&ClusterName, &str), BTreeMap<_, Node>)| Location {
            cluster: cluster.clone(),
            name: name.into(),
            nodes: nodes.into_values().collect(),
        };
        Self {
            locations: locations.into_iter().map(location).collect(),
            tunnels: tunnels.into_iter().map(|((a, b), ends)| Tunnel::new(a, b, &ends)).collect(),
            peers: peers(sites),
        }
    }

    /// The place of a node's location and its own place in it.
    pub(crate) fn find(&self, name: &NodeName) -> Option<(usize, usize)> {
        self.locations.iter().enumerate().find_map(|(l, location)| {
            location.nodes.iter().position(|node| node.name == *name).map(|n| (l, n))
        })
    }
}

fn peers(sites: &[Site]) -> Vec<Peer> {
    let one = |site: &Site, peer: &PeerStatus| Peer {
        peer: format!("{}/{}", peer.cluster, peer.name),
        node: site.name.clone(),
        alive: peer.last_handshake_seconds.is_some_and(|seconds| seconds < ALIVE),
        last_handshake_seconds: peer.last_handshake_seconds,
    };
    let all = sites.iter().flat_map(|site| site.peers.iter().map(move |peer| one(site, peer)));
    let mut all: Vec<Peer> = all.collect();
    all.sort_by(|a, b| (&a.peer, &a.node).cmp(&(&b.peer, &b.node)));
    all
}

impl Node {
    fn new(name: &NodeName, topology: &Topology, state: State) -> Self {
        Self { name: name.clone(), region: topology.region.clone(), zone: topology.zone.clone(), state }
    }
}

impl Tunnel {
    fn new(a: &NodeName, b: &NodeName, ends: &[&TunnelStatus]) -> Self {
        let times: Vec<f64> = ends.iter().filter_map(|end| end.rtt_ms).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        Self {
            a: a.clone(),
            b: b.clone(),
            alive: ends.iter().all(|end| end.alive),
            rtt_ms: (!times.is_empty()).then_some(mean),
            last_handshake_seconds: ends
                .iter()
                .filter_map(|end| end.last_handshake_seconds)
                .min_by(f64::total_cmp),
            // Of two ends that say otherwise, what is encrypted counts for less.
            transport: ends.iter().map(|end| end.transport).max().unwrap_or_default(),
            path: ends.iter().map(|end| end.path).max_by_key(|path| rank(*path)).unwrap_or_default(),
            relay: ends.iter().find_map(|end| end.relay.clone()),
        }
    }

    /// The way as text; empty for the usual one.
    pub(crate) fn way(&self) -> String {
        match (self.transport, self.path, &self.relay) {
            (Transport::Vxlan | Transport::Plain, ..) => self.transport.name().into(),
            (_, TunnelPath::Relay, Some(relay)) => format!("by {relay}"),
            (_, TunnelPath::Relay, None) => "by a relay".into(),
            (_, TunnelPath::Punched, _) => "punched".into(),
            (_, TunnelPath::Direct | TunnelPath::None, _) => String::new(),
        }
    }
}

/// Of two ends that say otherwise, the one farther from the usual counts.
fn rank(path: TunnelPath) -> u8 {
    match path {
        TunnelPath::Direct => 0,
        TunnelPath::None => 1,
        TunnelPath::Punched => 2,
        TunnelPath::Relay => 3,
    }
}

impl Location {
    /// What a picture calls it.
    pub(crate) fn title(&self) -> String {
        if self.name.is_empty() {
            self.cluster.to_string()
        } else {
            format!("{} · {}", self.cluster, self.name)
        }
    }
}

impl Tunnel {
    /// The round-trip time as text; empty before the first answer.
    pub(crate) fn rtt(&self) -> String {
        self.rtt_ms.map(crate::status::milliseconds).unwrap_or_default()
    }
}
