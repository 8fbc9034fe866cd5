//! Peers that are no nodes: whose addresses count, which nodes have whose tunnel, and through whom others reach it.
//!
//! A peer talks with the nodes that have its tunnel, its gateways. The first of them is where every other node sends what
//! is for the peer, so its addresses stand with that node's in their tunnels, and answers come back the same way. All
//! nodes know the same world, so they agree on who that is; and each goes over to the next when that one is out.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{
    ClusterName, Gateways, Node, NodeName, Peer, PeerEndpoint, PeerHost, PeerName, PublicKey, World, overlaps,
};
use siphasher::sip::SipHasher13;

use super::claims::Claims;
use super::{LAST_RESORT_METRIC, Mesh, Problem, Seen, add_route};
use crate::plan::{self, Route, RouteVia};

/// A peer, as far as it was granted what it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Which.
    pub peer: &'a Peer,
    /// Its addresses, without those that others have.
    pub ranges: BTreeSet<IpNet>,
    /// The nodes that have its tunnel. Others reach it through the first.
    pub gateways: Vec<&'a Node>,
}

/// Judges all peers as the cluster `own` does: first by name wins, the own cluster's before others'. What is refused is
/// added to the problems.
pub fn standings<'a>(
    world: &'a World,
    own: &ClusterName,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Vec<Standing<'a>> {
    let alive = world.peers.values().filter(|peer| !peer.has_expired(now));
    let (ours, foreign): (Vec<_>, Vec<_>) = alive.partition(|peer| peer.name.cluster == *own);
    if ours.is_empty() && foreign.is_empty() {
        return Vec::new();
    }
    let mut keys: BTreeMap<PublicKey, String> = BTreeMap::new();
    for node in world.nodes.values() {
        keys.extend(node.public_key.map(|key| (key, format!("node {}", node.name))));
    }
    let taken = Taken::new(world, own);
    let mut claims: Claims<&PeerName> = Claims::default();
    let mut standings = Vec::new();
    for peer in ours.into_iter().chain(foreign) {
        let name = || peer.name.clone();
        if let Some(winner) = keys.get(&peer.public_key) {
            problems.push(Problem::PeerKey { peer: name(), winner: winner.clone() });
            continue;
        }
        keys.insert(peer.public_key, format!("peer {}", peer.name));
        let wanted = model::allowed([peer]);
        // One that is inside another of its own adds nothing.
        let inside = |range: &IpNet| wanted.iter().any(|other| other != range && other.contains(range));
        let mut ranges = BTreeSet::new();
        for range in wanted.iter().filter(|range| !inside(range)).copied() {
            if let Some(of) = taken.whose(&range) {
                problems.push(Problem::PeerTaken { peer: name(), range, of });
            } else if let Err(winner) = claims.claim(range, &peer.name) {
                problems.push(Problem::PeerRange { peer: name(), range, winner: (*winner).clone() });
            } else {
                ranges.insert(range);
            }
        }
        let gateways = gateways(world, peer);
        if gateways.is_empty() {
            problems.push(Problem::PeerGateway { peer: name() });
        }
        standings.push(Standing { peer, ranges, gateways });
    }
    standings
}

/// What is wrong with the peers of a cluster beside each other and its nodes, whichever of these looks. For who tells their
/// owners: what names of endpoints lead to is not known here, and nodes that have not said their keys yet are only late.
pub fn wrong(world: &World, own: &ClusterName, now: i64) -> BTreeMap<PeerName, Vec<Problem>> {
    let mut problems = Vec::new();
    let standings = standings(world, own, now, &mut problems);
    let all: Vec<IpNet> = standings.iter().flat_map(|standing| &standing.ranges).copied().collect();
    for standing in &standings {
        endpoint(standing.peer, &BTreeMap::new(), world, &all, &mut problems);
    }
    let mut wrong: BTreeMap<PeerName, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        let Some(name) = problem.peer().filter(|name| name.cluster == *own).cloned() else { continue };
        let is_late = matches!(problem, Problem::PeerGateway { .. })
            && world.peers.get(&name).is_some_and(|peer| has_nodes(world, peer));
        if !is_late {
            wrong.entry(name).or_default().push(problem);
        }
    }
    wrong
}

/// Whether any node is there that may have a peer's tunnel one day.
fn has_nodes(world: &World, peer: &Peer) -> bool {
    let mut of_cluster = world.nodes.keys().filter(|node| node.cluster == peer.name.cluster);
    match &peer.gateways {
        Gateways::Named(names) => of_cluster.any(|node| names.contains(&node.node)),
        Gateways::All => of_cluster.next().is_some(),
    }
}

/// What no peer can have: pods' and services' ranges, and addresses by which nodes are reached.
struct Taken<'a> {
    pods: Vec<(IpNet, &'a ClusterName)>,
    services: Vec<IpNet>,
    nodes: BTreeMap<IpAddr, &'a NodeName>,
}

impl<'a> Taken<'a> {
    fn new(world: &'a World, own: &ClusterName) -> Self {
        let pods = world.clusters.values().flat_map(|c| c.pod_cidrs.iter().map(|net| (*net, &c.name)));
        let cluster = world.clusters.get(own);
        let services = cluster.into_iter().flat_map(|c| c.service_cidrs.iter().chain(&c.clusterset_cidrs));
        let ips = |node: &'a Node| {
            let private = node.private_ips.iter().filter(|_| node.name.cluster == *own);
            private.chain(&node.public_ips).map(|ip| (*ip, &node.name))
        };
        Self {
            pods: pods.collect(),
            services: services.copied().collect(),
            nodes: world.nodes.values().flat_map(ips).collect(),
        }
    }

    /// Whose a part of the range is.
    fn whose(&self, range: &IpNet) -> Option<String> {
        let pods = self.pods.iter().find(|(net, _)| overlaps(net, range));
        let services = || self.services.iter().find(|net| overlaps(net, range));
        let node = || self.nodes.range(range.network()..=range.broadcast()).next();
        pods.map(|(_, cluster)| format!("pods of cluster {cluster}"))
            .or_else(|| services().map(|_| "services".to_string()))
            .or_else(|| node().map(|(_, node)| format!("node {node}")))
    }
}

/// The nodes that have a peer's tunnel, the one that others reach it through first.
fn gateways<'a>(world: &'a World, peer: &Peer) -> Vec<&'a Node> {
    let cluster = &peer.name.cluster;
    let of_cluster = world.nodes.values().filter(|node| node.name.cluster == *cluster);
    let able: Vec<&Node> =
        of_cluster.filter(|node| node.public_key.is_some() && !node.pod_cidrs.is_empty()).collect();
    match &peer.gateways {
        Gateways::Named(names) => {
            let named = |name: &String| able.iter().find(|node| node.name.node == *name).copied();
            names.iter().find_map(named).into_iter().collect()
        }
        Gateways::All => {
            let public: Vec<&Node> =
                able.iter().filter(|node| !node.public_ips.is_empty()).copied().collect();
            let mut all = if public.is_empty() { able } else { public };
            all.sort_by_key(|node| (std::cmp::Reverse(weight(&peer.name.peer, node)), &node.name));
            all
        }
    }
}

/// Which node is the best gateway for a peer of this name, of those of its cluster that everybody reaches, or of all where
/// there is none such: chosen by the highest hash of both names (rendezvous hashing), so that a node that comes or goes
/// moves only the peers that it has or had.
pub fn best_gateway<'a>(world: &'a World, cluster: &ClusterName, peer: &str) -> Option<&'a Node> {
    let able = |node: &&Node| {
        node.name.cluster == *cluster && node.public_key.is_some() && !node.pod_cidrs.is_empty()
    };
    let best = |public: bool| {
        let some = world.nodes.values().filter(able).filter(|node| !public || !node.public_ips.is_empty());
        some.max_by_key(|node| (weight(peer, node), std::cmp::Reverse(&node.name)))
    };
    best(true).or_else(|| best(false))
}

fn weight(peer: &str, node: &Node) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x7065_6572);
    (peer, &node.name.node).hash(&mut hasher);
    hasher.finish()
}

/// Adds the peers to this node's part of the mesh. Returns the addresses of those whose tunnel it has and that may leave the
/// mesh here.
pub(super) fn add(
    world: &World,
    me: &Node,
    my_ips: &[IpAddr],
    seen: &Seen,
    mesh: &mut Mesh,
) -> BTreeSet<IpNet> {
    let mut problems = Vec::new();
    let standings = standings(world, &me.name.cluster, seen.now, &mut problems);
    mesh.problems.append(&mut problems);
    let all: Vec<IpNet> = standings.iter().flat_map(|standing| &standing.ranges).copied().collect();
    let mut leaving = BTreeSet::new();
    for Standing { peer, ranges, gateways } in standings {
        for range in &ranges {
            mesh.guarded.insert(*range);
            let nowhere = Route { via: RouteVia::Blackhole, source: None, mtu: None };
            mesh.routes.insert((*range, LAST_RESORT_METRIC), nowhere);
        }
        let is_gateway = gateways.iter().any(|node| node.name == me.name);
        // The first that is at work.
        let at_work = gateways.iter().find(|node| !seen.out.contains(&node.name)).or(gateways.first());
        let at_work = at_work.filter(|_| !is_gateway);
        if is_gateway {
            let endpoint = endpoint(peer, &seen.resolved, world, &all, &mut mesh.problems);
            let end = plan::Peer {
                endpoint,
                allowed_ips: ranges.clone(),
                keepalive: peer.keepalive,
                preshared_key: peer.preshared_key.clone(),
                ..plan::Peer::default()
            };
            mesh.tunnel.peers.insert(peer.public_key, end);
            if peer.may_exit() {
                leaving.extend(&ranges);
            }
        } else {
            // By whoever carries this node's traffic to the gateway.
            let hop = at_work.map(|node| mesh.via.get(&node.name).unwrap_or(&node.name));
            let key = hop.and_then(|hop| world.nodes.get(hop)?.public_key);
            let Some(tunnel) = key.and_then(|key| mesh.tunnel.peers.get_mut(&key)) else { continue };
            tunnel.allowed_ips.extend(&ranges);
        }
        // No more than gets through to the gateway.
        let mtu = at_work.and_then(|node| seen.narrow.get(&node.name)).copied();
        for range in ranges {
            add_route(range, my_ips, mtu, &mut mesh.routes);
        }
    }
    leaving
}

/// Where a peer is dialled: never at an address that the mesh itself carries.
fn endpoint(
    peer: &Peer,
    resolved: &BTreeMap<String, Vec<IpAddr>>,
    world: &World,
    peers: &[IpNet],
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let PeerEndpoint { host, port } = peer.endpoint.as_ref()?;
    let ip = match host {
        PeerHost::Ip(ip) => *ip,
        PeerHost::Dns(name) => *resolved.get(name)?.first()?,
    };
    let pods = world.clusters.values().flat_map(|cluster| &cluster.pod_cidrs);
    if pods.chain(peers).any(|range| range.contains(&ip)) {
        problems.push(Problem::PeerEndpoint { peer: peer.name.clone(), address: ip });
        return None;
    }
    Some(SocketAddr::new(ip, port.get()))
}

/// A node as a peer has to configure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Which node.
    pub node: NodeName,
    /// Its WireGuard key.
    pub public_key: PublicKey,
    /// Where it is dialled.
    pub endpoint: Option<SocketAddr>,
    /// The ranges of pods behind it, and of other peers.
    pub pods: BTreeSet<IpNet>,
    /// The ranges of services behind it.
    pub services: BTreeSet<IpNet>,
    /// Its addresses in the mesh, where it answers questions for names.
    pub mesh_ips: Vec<IpAddr>,
}

impl Remote {
    /// Where somebody outside dials a node: at a public address before a private one, by IPv4 before IPv6.
    pub fn endpoint_of(node: &Node) -> Option<SocketAddr> {
        let first = |ips: &[IpAddr]| ips.iter().find(|ip| ip.is_ipv4()).or_else(|| ips.first()).copied();
        let ip = first(&node.public_ips).or_else(|| first(&node.private_ips))?;
        (node.port != 0).then(|| SocketAddr::new(ip, node.port))
    }
}

/// What a peer has to configure: its gateways, and what is behind each. The first one is in front of all that no other has.
pub fn remotes(world: &World, standing: &Standing<'_>) -> Vec<Remote> {
    let cluster = world.clusters.get(&standing.peer.name.cluster);
    let mut remotes: Vec<Remote> = standing
        .gateways
        .iter()
        .filter_map(|node| {
            Some(Remote {
                node: node.name.clone(),
                public_key: node.public_key?,
                endpoint: Remote::endpoint_of(node),
                pods: node.pod_cidrs.iter().map(IpNet::trunc).collect(),
                services: BTreeSet::new(),
                mesh_ips: node.mesh_ips(),
            })
        })
        .collect();
    let single = remotes.len() == 1;
    if let Some(first) = remotes.first_mut() {
        if single {
            first.pods.clear();
        }
        let pods = world.clusters.values().flat_map(|cluster| &cluster.pod_cidrs);
        let others = world.peers.values().filter(|peer| peer.name != standing.peer.name);
        first.pods.extend(pods.map(IpNet::trunc));
        first.pods.extend(model::allowed(others));
        let services = cluster.into_iter().flat_map(|c| c.service_cidrs.iter().chain(&c.clusterset_cidrs));
        first.services.extend(services.map(IpNet::trunc));
    }
    remotes
}

#[cfg(test)]
mod tests;
