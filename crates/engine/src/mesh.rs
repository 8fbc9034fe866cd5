//! The mesh: which tunnels this node keeps, which routes lead into them, and what may never leave in the clear.
//!
//! Every node with a key has a tunnel to every other. A range belongs to one owner: whoever claims what is taken
//! gets nothing of it and is reported. This node's own claims come first, then the others' in the order of their
//! names, so every node of the clusterset judges alike about everybody but itself.

mod claims;
mod endpoint;
pub mod external;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Cluster, ClusterName, Node, NodeName, PeerName, PublicKey, World};

use crate::plan::{Masquerade, Peer, Route, RouteVia, Tunnel};
use claims::Claims;
use external::PeerSettings;

/// The UDP port of a node that has not said another.
pub const DEFAULT_PORT: u16 = 51820;

/// Metric of the routes that lead into a tunnel.
pub const TUNNEL_METRIC: u32 = 100;

/// Metric of the routes that catch what no tunnel takes.
pub const LAST_RESORT_METRIC: u32 = 4096;

/// What the operator may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the largest packet inside the tunnel.
    pub mtu: u32,
    /// Ranges to guard besides the clusterset's pod ranges.
    pub fail_closed: Vec<IpNet>,
    /// Seconds between packets that keep a NAT's mapping open, where this node may sit behind one; 0 for none.
    pub keepalive: u16,
    /// Pods show the node's address outside the mesh, but for these ranges; none: they show their own everywhere.
    pub masquerade: Option<Vec<IpNet>>,
    /// What becomes of packets to service addresses that nobody has.
    pub unserved: Unserved,
    /// What peers that are no nodes depend on.
    pub peers: PeerSettings,
}

/// What becomes of packets to addresses of services that no socket was led away from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unserved {
    /// This node answers at once that nobody is there.
    #[default]
    Refuse,
    /// They go where the machine's other routes lead. Where kube-proxy is or was, the connections that it translated
    /// are routed by the services' addresses: to refuse those would end them.
    Leave,
}

/// The part of the plan that is the mesh's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mesh {
    /// The tunnel device.
    pub tunnel: Tunnel,
    /// Routes by destination and metric.
    pub routes: BTreeMap<(IpNet, u32), Route>,
    /// Ranges that may leave through the tunnel only.
    pub guarded: BTreeSet<IpNet>,
    /// How pods reach what is outside the mesh.
    pub masquerade: Masquerade,
    /// This node's own slices, as far as they were granted: what its pods take addresses from.
    pub own: Vec<IpNet>,
    /// What was claimed and not granted.
    pub problems: Vec<Problem>,
}

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
}

impl Problem {
    /// The peer that is no node, if it is about one.
    pub fn peer(&self) -> Option<&PeerName> {
        match self {
            Self::PeerKey { peer, .. }
            | Self::PeerTaken { peer, .. }
            | Self::PeerRange { peer, .. }
            | Self::PeerGateway { peer }
            | Self::PeerEndpoint { peer, .. } => Some(peer),
            _ => None,
        }
    }
}

/// Who has what, once every claim is judged.
struct Granted<'a> {
    ranges: Claims<&'a ClusterName>,
    slices: BTreeMap<&'a NodeName, Vec<IpNet>>,
}

/// What the mesh looks like from the node `me`.
pub fn plan(world: &World, me: &NodeName, settings: &Settings) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.tunnel.mtu = settings.mtu;
    mesh.guarded.extend(settings.fail_closed.iter().map(IpNet::trunc));

    let myself = world.nodes.get(me);
    if myself.is_none() {
        mesh.problems.push(Problem::Myself(me.clone()));
    }
    mesh.tunnel.port = myself.map_or(DEFAULT_PORT, |node| node.port);

    let ranges = claim_ranges(world, me, myself, &mut mesh);
    let slices = claim_slices(world, me, &ranges, &mut mesh);
    if settings.unserved == Unserved::Refuse {
        refuse_services(world.clusters.get(&me.cluster), &mut mesh);
    }
    let mut leaving = BTreeSet::new();
    if let Some(node) = myself {
        let mine = slices.get(me).map_or(&[][..], Vec::as_slice);
        let ips = Node { pod_cidrs: mine.to_vec(), ..node.clone() }.mesh_ips();
        mesh.tunnel.addresses.extend(ips.iter().map(|ip| IpNet::from(*ip)));
        mesh.own = mine.to_vec();
        let granted = Granted { ranges, slices };
        add_peers(world, node, &ips, &granted, settings, &mut mesh);
        leaving = external::add(world, node, &ips, &settings.peers, &mut mesh);
    }
    if let Some(except) = &settings.masquerade {
        masquerade(world.clusters.get(&me.cluster), except, &mut mesh);
        mesh.masquerade.sources.extend(leaving);
    }
    mesh
}

/// This node's pods show its address wherever theirs lead nowhere.
fn masquerade(my_cluster: Option<&Cluster>, except: &[IpNet], mesh: &mut Mesh) {
    let services = my_cluster.into_iter().flat_map(|c| c.service_cidrs.iter().chain(&c.clusterset_cidrs));
    let except = mesh.guarded.iter().chain(services).chain(except).map(IpNet::trunc).collect();
    mesh.masquerade = Masquerade {
        sources: mesh.own.iter().copied().collect(),
        except: IpNet::aggregate(&except).into_iter().collect(),
    };
}

/// Grants the clusters their pod ranges: guarded, and a dead end for what no tunnel takes.
fn claim_ranges<'a>(
    world: &'a World,
    me: &NodeName,
    myself: Option<&Node>,
    mesh: &mut Mesh,
) -> Claims<&'a ClusterName> {
    let mut ranges = Claims::default();
    let my_cluster = world.clusters.get(&me.cluster);
    let others = world.clusters.values().filter(|c| c.name != me.cluster);
    let addresses = || myself.into_iter().flat_map(|node| node.private_ips.iter().chain(&node.public_ips));
    for cluster in my_cluster.into_iter().chain(others) {
        for range in cluster.pod_cidrs.iter().map(IpNet::trunc) {
            if let Some(address) = addresses().find(|ip| range.contains(*ip)) {
                let (cluster, address) = (cluster.name.clone(), *address);
                mesh.problems.push(Problem::Underlay { cluster, range, address });
            } else if let Err(winner) = ranges.claim(range, &cluster.name) {
                let (loser, winner) = (cluster.name.clone(), (*winner).clone());
                mesh.problems.push(Problem::Clusters { range, loser, winner });
            } else {
                mesh.guarded.insert(range);
                let nowhere = Route { via: RouteVia::Blackhole, source: None };
                mesh.routes.insert((range, LAST_RESORT_METRIC), nowhere);
            }
        }
    }
    ranges
}

/// Grants the nodes their slices of those ranges.
fn claim_slices<'a>(
    world: &'a World,
    me: &NodeName,
    ranges: &Claims<&ClusterName>,
    mesh: &mut Mesh,
) -> BTreeMap<&'a NodeName, Vec<IpNet>> {
    let mut taken = Claims::default();
    let mut slices: BTreeMap<&NodeName, Vec<IpNet>> = BTreeMap::new();
    for node in mine_first(world, me) {
        for range in node.pod_cidrs.iter().map(IpNet::trunc) {
            if ranges.owner_of(&range) != Some(&&node.name.cluster) {
                mesh.problems.push(Problem::Outside { node: node.name.clone(), range });
            } else if let Err(winner) = taken.claim(range, &node.name) {
                let (loser, winner) = (node.name.clone(), (*winner).clone());
                mesh.problems.push(Problem::Nodes { range, loser, winner });
            } else {
                slices.entry(&node.name).or_default().push(range);
            }
        }
    }
    slices
}

/// Addresses of services nobody has are answered at once, by this node, instead of wandering off to the underlay.
fn refuse_services(my_cluster: Option<&Cluster>, mesh: &mut Mesh) {
    let ranges = my_cluster.into_iter().flat_map(|c| c.service_cidrs.iter().chain(&c.clusterset_cidrs));
    for range in ranges.map(IpNet::trunc) {
        let refuse = Route { via: RouteVia::Unreachable, source: None };
        mesh.routes.entry((range, LAST_RESORT_METRIC)).or_insert(refuse);
    }
}

fn add_peers(
    world: &World,
    me: &Node,
    my_ips: &[IpAddr],
    granted: &Granted,
    settings: &Settings,
    mesh: &mut Mesh,
) {
    let mut keys: BTreeMap<PublicKey, &NodeName> = BTreeMap::new();
    for node in mine_first(world, &me.name) {
        let Some(key) = node.public_key else { continue };
        if let Some(winner) = keys.get(&key) {
            let (loser, winner) = (node.name.clone(), (*winner).clone());
            mesh.problems.push(Problem::Keys { key, loser, winner });
            continue;
        }
        keys.insert(key, &node.name);
        let Some(slices) = granted.slices.get(&node.name).filter(|_| node.name != me.name) else { continue };
        let path = endpoint::choose(me, node, &granted.ranges);
        let keepalive = if path.may_cross_nat { settings.keepalive } else { 0 };
        let allowed_ips = slices.iter().copied().collect();
        let preshared_key = None;
        let end = Peer { endpoint: path.endpoint, allowed_ips, keepalive, preshared_key };
        mesh.tunnel.peers.insert(key, end);
        for range in slices {
            // Without an address of the family there is nothing to send from: the dead end takes it.
            let Some(source) = my_ips.iter().find(|ip| ip.is_ipv4() == range.addr().is_ipv4()) else {
                continue;
            };
            let route = Route { via: RouteVia::Tunnel, source: Some(*source) };
            mesh.routes.insert((*range, TUNNEL_METRIC), route);
        }
    }
}

/// This node, then those of its cluster, then the others: what is claimed twice stays with who is nearer to us, so no
/// other cluster can take from our own.
fn mine_first<'a>(world: &'a World, me: &NodeName) -> impl Iterator<Item = &'a Node> {
    let others = world.nodes.values().filter(|n| n.name != *me);
    let (ours, foreign): (Vec<_>, Vec<_>) = others.partition(|n| n.name.cluster == me.cluster);
    world.nodes.get(me).into_iter().chain(ours).chain(foreign)
}
