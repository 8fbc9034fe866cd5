//! Between nodes of one location, where their settings say that it is not encrypted: in VXLAN, or as it is.
//!
//! Tunnels stay as they are planned, between neighbours too: whoever has a reason to encrypt is understood. Beside them
//! stands what is sent and taken otherwise. Nobody sends what the other end does not say it takes, so that a change of the
//! settings, a node of another version or one whose kernel knows no VXLAN costs encryption and not a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::mesh::{Encapsulate, Encryption, Transport};
use model::{Node, NodeName, PublicKey, World};

use super::segment::Place;
use super::{Mesh, Problem, Seen};
use crate::plan::Neighbour;

/// What this node has found out about unencrypted ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unencrypted {
    /// Those that the kernel is ready for.
    pub able: BTreeSet<Transport>,
    /// Those that it takes a little longer, although the settings do not want them any more.
    pub lingering: BTreeSet<Transport>,
    /// The subnets that the device to other nodes stands in.
    pub on_link: BTreeSet<IpNet>,
}

/// What a node takes unencrypted from its neighbours, going by its settings.
pub fn wanted(me: &Node) -> BTreeSet<Transport> {
    if me.mesh.encryption == Encryption::All || Place::near(me).is_none() {
        return BTreeSet::new();
    }
    match me.mesh.encapsulate {
        Encapsulate::Always => [Transport::Vxlan].into(),
        Encapsulate::CrossSubnet => [Transport::Vxlan, Transport::Plain].into(),
        Encapsulate::Never => [Transport::Plain].into(),
    }
}

/// What it takes of that, and takes a little longer.
pub(super) fn takes(me: &Node, ours: &Unencrypted) -> BTreeSet<Transport> {
    let wanted = wanted(me);
    wanted.union(&ours.lingering).filter(|transport| ours.able.contains(*transport)).copied().collect()
}

/// Puts in what goes to neighbours unencrypted, and what comes so, of all that the tunnels are planned for.
pub(super) fn add(world: &World, me: &Node, seen: &Seen, mesh: &mut Mesh) {
    if me.mesh.encryption == Encryption::All && me.mesh.encapsulate != Encapsulate::default() {
        mesh.problems.push(Problem::Encapsulation);
    }
    let takes = takes(me, &seen.unencrypted);
    if takes.is_empty() {
        return;
    }
    let mut near = BTreeMap::new();
    for node in world.nodes.values() {
        let Some((key, peer)) = node.public_key.and_then(|key| mesh.tunnel.peers.get_key_value(&key)) else {
            continue;
        };
        let Some(ip) = address(me, node, &mesh.guarded) else { continue };
        let sends = choose(me, node, ip, &seen.unencrypted);
        let neighbour = Neighbour { ip, sends, takes: takes.clone(), group: peer.group };
        mesh.neighbours.extend(peer.allowed_ips.iter().map(|range| (*range, neighbour.clone())));
        near.insert(*key, neighbour);
    }
    for (key, neighbour) in &near {
        let peer = &mesh.tunnel.peers[key];
        // What is his until everybody knows of a change, or from then on: it may come, and nothing goes there.
        let heard = Neighbour { sends: Transport::Wireguard, ..neighbour.clone() };
        for range in &peer.accepted_ips {
            mesh.neighbours.entry(*range).or_insert_with(|| heard.clone());
        }
        // By his address he is known as one of his group.
        if peer.group != 0 {
            let himself = Neighbour { takes: BTreeSet::new(), ..heard };
            mesh.neighbours.entry(neighbour.ip.into()).or_insert(himself);
        }
    }
    keep_apart(&near, mesh);
}

/// A range beside the mesh may contain ranges of pods that others have. Those are theirs all the same.
fn keep_apart(near: &BTreeMap<PublicKey, Neighbour>, mesh: &mut Mesh) {
    let inside = |range: &IpNet, of: &BTreeSet<IpNet>| of.iter().any(|outer| outer.contains(range));
    let wide: BTreeSet<IpNet> =
        mesh.neighbours.keys().filter(|range| !inside(range, &mesh.guarded)).copied().collect();
    if wide.is_empty() {
        return;
    }
    let others = mesh.tunnel.peers.iter().filter(|(key, _)| !near.contains_key(key));
    let others = others.flat_map(|(_, peer)| &peer.allowed_ips).chain(&mesh.own);
    let others: Vec<IpNet> = others.filter(|range| inside(range, &wide)).copied().collect();
    for range in others {
        let unspecified = match range {
            IpNet::V4(_) => IpAddr::from([0, 0, 0, 0]),
            IpNet::V6(_) => IpAddr::from([0; 16]),
        };
        let nobody =
            Neighbour { ip: unspecified, sends: Transport::Wireguard, takes: BTreeSet::new(), group: 0 };
        mesh.neighbours.entry(range).or_insert(nobody);
    }
}

/// The neighbour's private address, in a family that both have, IPv4 first; none if the other is no neighbour. Never one
/// inside the mesh.
fn address(me: &Node, other: &Node, inside: &BTreeSet<IpNet>) -> Option<IpAddr> {
    let place = Place::near(me)?;
    if Place::near(other) != Some(place) {
        return None;
    }
    let usable = |ip: &IpAddr| {
        !ip.is_unspecified() && !ip.is_multicast() && !inside.iter().any(|range| range.contains(ip))
    };
    let first =
        |node: &Node, v4| node.private_ips.iter().copied().find(|ip| ip.is_ipv4() == v4 && usable(ip));
    [true, false].into_iter().find_map(|v4| {
        first(me, v4)?;
        first(other, v4)
    })
}

/// How packets to a neighbour are sent.
fn choose(me: &Node, other: &Node, ip: IpAddr, ours: &Unencrypted) -> Transport {
    if [me, other].iter().any(|node| node.mesh.encryption == Encryption::All) {
        return Transport::Wireguard;
    }
    let is_on_link = || ours.on_link.iter().any(|subnet| subnet.contains(&ip));
    let transport = match me.mesh.encapsulate {
        Encapsulate::Always => Transport::Vxlan,
        Encapsulate::CrossSubnet if !is_on_link() => Transport::Vxlan,
        Encapsulate::CrossSubnet | Encapsulate::Never => Transport::Plain,
    };
    let works = ours.able.contains(&transport) && other.mesh.takes.contains(&transport);
    if works { transport } else { Transport::Wireguard }
}

/// How packets to each node with a tunnel are sent, of those that are not encrypted.
pub fn transports(
    world: &World,
    hops: &BTreeSet<&NodeName>,
    neighbours: &BTreeMap<IpNet, Neighbour>,
) -> BTreeMap<NodeName, Transport> {
    let of = |node: &Node| node.pod_cidrs.iter().find_map(|range| neighbours.get(&range.trunc()));
    let nodes = hops.iter().filter_map(|name| world.nodes.get(*name));
    let transport = |node: &Node| Some((node.name.clone(), of(node)?.sends));
    nodes.filter_map(transport).filter(|(_, sends)| *sends != Transport::Wireguard).collect()
}

#[cfg(test)]
mod tests;
