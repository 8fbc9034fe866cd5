//! The mesh: which tunnels this node keeps, which routes lead into them, and what may never leave in the clear.
//!
//! Nodes stand in segments: by themselves, or with the others of their location. Inside a segment each node with a key
//! has a tunnel to every other; between segments those have that carry the others' traffic. A range belongs to one owner: whoever claims what is taken
//! gets nothing of it and is reported. This node's own claims come first, then the others' in the order of their
//! names, so every node of the clusterset judges alike about everybody but itself.

mod claims;
pub mod encapsulation;
mod endpoint;
pub mod external;
mod handover;
mod outside;
mod planner;
mod problem;
pub mod reach;
mod segment;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Cluster, ClusterName, Node, NodeName, PublicKey, World};

use crate::plan::{Masquerade, Neighbour, Peer, Route, RouteVia, Tunnel};
use crate::preshared::{Pair, Preshared};
use claims::Claims;
pub use handover::{Changing, Handover, Standing, Standings, Step};
pub use planner::Planner;
pub use problem::Problem;
pub use segment::Share;
use view::View;

/// The UDP port of a node that has not said another.
pub const DEFAULT_PORT: u16 = 51820;

/// Metric of the routes that lead into a tunnel.
pub const TUNNEL_METRIC: u32 = 100;

/// Metric of the routes that catch what no tunnel takes.
pub const LAST_RESORT_METRIC: u32 = 4096;

/// Seconds between packets that keep a tunnel ready which is about to be used.
const AHEAD: u16 = 5;

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
    /// Whether the tunnel device lets peers have two keys.
    pub knows_two_keys: bool,
    /// Whether the tunnel device lets peers stand in for each other, as gateways do.
    pub knows_groups: bool,
    /// The pre-shared keys of pairs of nodes.
    pub preshared: Preshared,
}

/// What this node has seen itself, beside what it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nodes that are no gateways for now: they do not answer, or carry nothing
    /// ([`crate::health::Gateways`]).
    pub out: BTreeSet<NodeName>,
    /// Gateways that forward badly, and what others carry in their place ([`crate::health::Relief`]).
    pub relieved: BTreeMap<NodeName, Share>,
    /// Gateways that are changing hands ([`Handover`]).
    pub changing: Changing,
    /// Where the names lead that endpoints are given by; what leads nowhere is not here.
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
    /// The nodes that less than the tunnel's MTU gets through to: bytes of the largest packet that does.
    pub narrow: BTreeMap<NodeName, u32>,
    /// The time, in seconds since 1970: peers that have expired are nobody.
    pub now: i64,
    /// Which unencrypted ways there are to nodes of the location.
    pub unencrypted: encapsulation::Unencrypted,
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
    /// The other nodes that tunnels lead to, and over which peer: themselves, or a gateway.
    pub via: BTreeMap<NodeName, NodeName>,
    /// What goes to nodes of the location unencrypted, and comes so.
    pub neighbours: BTreeMap<IpNet, Neighbour>,
    /// Peers that this node cannot dial, and they not it: ways to them have to be found ([`crate::health::Paths`]).
    pub hidden: BTreeSet<NodeName>,
    /// What was claimed and not granted.
    pub problems: Vec<Problem>,
}

/// Who has what, once every claim is judged.
struct Granted<'a> {
    ranges: Claims<&'a ClusterName>,
    slices: BTreeMap<&'a NodeName, Vec<IpNet>>,
}

/// What the mesh looks like from the node `me`.
pub fn plan(world: &World, me: &NodeName, settings: &Settings, seen: &Seen) -> Mesh {
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
    let mut delivers = false;
    let mut leaving = BTreeSet::new();
    if let Some(node) = myself {
        let mine = slices.get(me).map_or(&[][..], Vec::as_slice);
        let ips = Node { pod_cidrs: mine.to_vec(), ..node.clone() }.mesh_ips();
        mesh.tunnel.addresses.extend(ips.iter().map(|ip| IpNet::from(*ip)));
        mesh.own = mine.to_vec();
        let granted = Granted { ranges, slices };
        delivers = add_peers(world, node, &ips, &granted, settings, seen, &mut mesh);
        leaving = external::add(world, node, &ips, seen, &mut mesh);
        encapsulation::add(world, node, seen, &mut mesh);
    }
    if let Some(except) = &settings.masquerade {
        masquerade(world.clusters.get(&me.cluster), except, delivers, &mut mesh);
        mesh.masquerade.sources.extend(leaving);
    }
    mesh
}

/// This node's pods show its address wherever theirs lead nowhere; and so do all, where it `delivers` what others send to
/// ranges beside the mesh.
fn masquerade(my_cluster: Option<&Cluster>, except: &[IpNet], delivers: bool, mesh: &mut Mesh) {
    let services = my_cluster.into_iter().flat_map(|c| c.service_cidrs.iter().chain(&c.clusterset_cidrs));
    let except = mesh.guarded.iter().chain(services).chain(except).map(IpNet::trunc).collect();
    let sources = if delivers { mesh.guarded.iter().copied().collect() } else { mesh.own.clone() };
    mesh.masquerade = Masquerade {
        sources: IpNet::aggregate(&sources).into_iter().collect(),
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
                let nowhere = Route { via: RouteVia::Blackhole, source: None, mtu: None };
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
        let refuse = Route { via: RouteVia::Unreachable, source: None, mtu: None };
        mesh.routes.entry((range, LAST_RESORT_METRIC)).or_insert(refuse);
    }
}

/// Puts the peers in, and the routes to them. Returns whether this node delivers what others send to ranges beside the
/// mesh.
fn add_peers(
    world: &World,
    me: &Node,
    my_ips: &[IpAddr],
    granted: &Granted,
    settings: &Settings,
    seen: &Seen,
    mesh: &mut Mesh,
) -> bool {
    let keys = claim_keys(world, me, mesh);
    let next_keys = if settings.knows_two_keys { next_keys(world, me, &keys, mesh) } else { BTreeMap::new() };
    let here = |node: &Node| {
        node.name == me.name || keys.contains_key(&node.name) && granted.slices.contains_key(&node.name)
    };
    // Who cannot take part would refuse what others send by the new ways before it does so itself.
    let is_changing = !seen.changing.was.is_empty() && segment::all_know_groups(world, settings);
    let relieved = &segment::relieved(world, settings, seen);
    let view_as = |standings: &Standings| View::new(world, me, here, standings, &seen.out, relieved);
    let mut other = is_changing.then(|| view_as(&seen.changing.before()));
    let mut view = if is_changing { view_as(&seen.changing.held) } else { view_as(&Standings::new()) };
    if let Some(former) = &mut other
        && seen.changing.is_before(former.carried.is_some(), view.carried.is_some())
    {
        std::mem::swap(&mut view, former);
    }
    leave_unshared(&mut view.ways, &settings.preshared, mesh);
    if let Some(other) = &mut other {
        // Said already, of those that are used.
        leave_unshared(&mut other.ways, &settings.preshared, &mut Mesh::default());
    }
    let peer_to = |hop: &Node, mesh: &mut Mesh| {
        let next = next_keys.get(&hop.name).copied();
        new_peer(me, hop, next, &granted.ranges, settings, seen, mesh)
    };
    for (node, hop) in &view.ways {
        let key = keys[&hop.name];
        if !mesh.tunnel.peers.contains_key(&key) {
            let peer = peer_to(hop, mesh);
            mesh.tunnel.peers.insert(key, peer);
        }
        let peer = mesh.tunnel.peers.get_mut(&key).expect("it was put there");
        mesh.via.insert(node.name.clone(), hop.name.clone());
        let slices = &granted.slices[&node.name];
        peer.allowed_ips.extend(slices);
        for range in slices {
            add_route(*range, my_ips, seen.narrow.get(&node.name).copied(), &mut mesh.routes);
        }
    }
    if let Some(other) = &other {
        for (_, hop) in &other.ways {
            let key = keys[&hop.name];
            if !mesh.tunnel.peers.contains_key(&key) {
                let mut peer = peer_to(hop, mesh);
                // Hands are shaken before anything is sent.
                peer.keepalive = peer.keepalive.max(AHEAD);
                mesh.tunnel.peers.insert(key, peer);
            }
        }
    }
    if settings.knows_groups {
        let mut groups = view.groups.clone();
        for (name, gateways) in other.iter().flat_map(|other| &other.groups) {
            groups.entry(*name).or_default().extend(gateways);
        }
        view::set_groups(&groups, |name| keys.get(name).copied(), &mut mesh.tunnel.peers);
    }
    for (node, hop) in other.iter().flat_map(|other| &other.ways) {
        let Some(via) = mesh.via.get(&node.name) else { continue };
        let peers = &mesh.tunnel.peers;
        let (now, then) = (keys[via], keys[&hop.name]);
        if now != then && (peers[&now].group == 0 || peers[&now].group != peers[&then].group) {
            let peer = mesh.tunnel.peers.get_mut(&then).expect("it was put there");
            peer.accepted_ips.extend(&granted.slices[&node.name]);
        }
    }
    let scene = outside::Scene {
        me,
        my_ips,
        segments: &view.segments,
        mine: &view.segments[&view.mine],
        granted,
        keys: &keys,
        carried: view.carried.as_deref(),
    };
    outside::add(&scene, &view.ways, seen, mesh)
}

/// The peer that leads to a node, and to nobody yet.
fn new_peer(
    me: &Node,
    hop: &Node,
    other_key: Option<PublicKey>,
    ranges: &Claims<&ClusterName>,
    settings: &Settings,
    seen: &Seen,
    mesh: &mut Mesh,
) -> Peer {
    let path = endpoint::choose(me, hop, ranges, seen);
    let found = |path: endpoint::Path| path.endpoint.is_some() || path.is_chosen;
    if !found(path) && !found(endpoint::choose(hop, me, ranges, seen)) {
        mesh.hidden.insert(hop.name.clone());
    }
    let needed = if path.may_cross_nat { settings.keepalive } else { 0 };
    let keepalive = me.mesh.keepalive.unwrap_or(needed);
    let Pair { key, others } = settings.preshared.pair(&me.name, hop);
    Peer {
        endpoint: path.endpoint,
        keepalive,
        other_key,
        preshared_key: key,
        other_preshared_keys: others,
        ..Peer::default()
    }
}

/// Says with whom this node shares no pre-shared key, and leaves out the ways over them if it has to.
fn leave_unshared(ways: &mut Vec<(&Node, &Node)>, preshared: &Preshared, mesh: &mut Mesh) {
    if !preshared.is_wanted() {
        return;
    }
    let unshared = ways.iter().filter(|(_, hop)| preshared.used_with(hop).is_none());
    let unshared: BTreeSet<&NodeName> = unshared.map(|(_, hop)| &hop.name).collect();
    if unshared.is_empty() {
        return;
    }
    let (nodes, required) = (unshared.iter().map(|name| (*name).clone()).collect(), preshared.is_required());
    mesh.problems.push(Problem::Unshared { nodes, required });
    if required {
        ways.retain(|(_, hop)| !unshared.contains(&hop.name));
    }
}

/// What every network carries that has IPv6 (RFC 8200, section 5).
const LEAST_V6: u32 = 1280;

/// A route into the tunnel. Without an address of the family there is nothing to send from: the dead end takes it.
fn add_route(to: IpNet, my_ips: &[IpAddr], mtu: Option<u32>, routes: &mut BTreeMap<(IpNet, u32), Route>) {
    let v4 = to.addr().is_ipv4();
    if let Some(source) = my_ips.iter().find(|ip| ip.is_ipv4() == v4) {
        let mtu = mtu.map(|mtu| if v4 { mtu } else { mtu.max(LEAST_V6) });
        routes.insert((to, TUNNEL_METRIC), Route { via: RouteVia::Tunnel, source: Some(*source), mtu });
    }
}

/// Grants the nodes their keys.
fn claim_keys<'a>(world: &'a World, me: &Node, mesh: &mut Mesh) -> BTreeMap<&'a NodeName, PublicKey> {
    let mut owners: BTreeMap<PublicKey, &NodeName> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for node in mine_first(world, &me.name) {
        let Some(key) = node.public_key else { continue };
        if let Some(winner) = owners.get(&key) {
            let (loser, winner) = (node.name.clone(), (*winner).clone());
            mesh.problems.push(Problem::Keys { key, loser, winner });
            continue;
        }
        owners.insert(key, &node.name);
        keys.insert(&node.name, key);
    }
    keys
}

/// The keys that nodes will have next. Nobody gets one that is somebody's: not even his who asks first.
fn next_keys<'a>(
    world: &'a World,
    me: &Node,
    keys: &BTreeMap<&NodeName, PublicKey>,
    mesh: &mut Mesh,
) -> BTreeMap<&'a NodeName, PublicKey> {
    let coming = || {
        let nodes = mine_first(world, &me.name);
        nodes.filter_map(|node| Some((&node.name, node.mesh.rekeying.next_key?)))
    };
    if coming().next().is_none() {
        return BTreeMap::new();
    }
    let of_nodes = keys.iter().map(|(name, key)| (*key, name.to_string()));
    let of_peers = world.peers.values().map(|peer| (peer.public_key, format!("peer {}", peer.name)));
    let mut owners: BTreeMap<PublicKey, String> = of_peers.chain(of_nodes).collect();
    let mut next = BTreeMap::new();
    for (name, key) in coming() {
        if let Some(winner) = owners.get(&key) {
            let (loser, winner) = (name.clone(), winner.clone());
            mesh.problems.push(Problem::NextKey { key, loser, winner });
            continue;
        }
        owners.insert(key, name.to_string());
        next.insert(name, key);
    }
    next
}

/// This node, then those of its cluster, then the others: what is claimed twice stays with who is nearer to us, so no
/// other cluster can take from our own.
fn mine_first<'a>(world: &'a World, me: &NodeName) -> impl Iterator<Item = &'a Node> {
    let others = world.nodes.values().filter(|n| n.name != *me);
    let (ours, foreign): (Vec<_>, Vec<_>) = others.partition(|n| n.name.cluster == me.cluster);
    world.nodes.get(me).into_iter().chain(ours).chain(foreign)
}
