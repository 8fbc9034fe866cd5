//! Ranges beside the mesh that others reach through a node (`allowed-location-ips`).
//!
//! They count in the node's own cluster only: no cluster leads another one's traffic away. Nodes of the same segment
//! reach them by themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Node, NodeName, PublicKey};

use super::claims::Claims;
use super::segment::{Name, Segment};
use super::{Granted, Mesh, Problem, Seen, add_route};

/// What is known when it is their turn.
pub(super) struct Scene<'a> {
    pub(super) me: &'a Node,
    pub(super) my_ips: &'a [IpAddr],
    pub(super) segments: &'a BTreeMap<Name<'a>, Segment<'a>>,
    /// This node's.
    pub(super) mine: &'a Segment<'a>,
    pub(super) granted: &'a Granted<'a>,
    pub(super) keys: &'a BTreeMap<&'a NodeName, PublicKey>,
    /// Whose traffic this node carries to other segments; none if it is no gateway.
    pub(super) carried: Option<&'a [&'a Node]>,
}

/// Puts them behind the peers that lead to their nodes. Returns whether this node delivers what comes for one of them.
pub(super) fn add(scene: &Scene, ways: &[(&Node, &Node)], seen: &Seen, mesh: &mut Mesh) -> bool {
    let Scene { me, my_ips, segments, mine, granted, keys, carried } = scene;
    let nodes = || segments.values().rev().flat_map(|segment| &segment.members);
    if nodes().all(|node| node.mesh.allowed_location_ips.is_empty()) {
        return false;
    }
    // As Kilo has it: of two locations that claim one range the last by name keeps it.
    let mut taken: Claims<&NodeName> = Claims::default();
    let mut claimed: BTreeMap<&NodeName, Vec<IpNet>> = BTreeMap::new();
    for node in nodes().filter(|node| node.name.cluster == me.name.cluster) {
        for range in node.mesh.allowed_location_ips.iter().map(IpNet::trunc) {
            if let Some(cluster) = granted.ranges.owner_of(&IpNet::from(range.network())) {
                let (node, cluster) = (node.name.clone(), (*cluster).clone());
                mesh.problems.push(Problem::LocationPods { node, range, cluster });
            } else if let Err(winner) = taken.claim(range, &node.name) {
                let (loser, winner) = (node.name.clone(), (*winner).clone());
                mesh.problems.push(Problem::LocationRanges { range, loser, winner });
            } else {
                claimed.entry(&node.name).or_default().push(range);
            }
        }
    }
    let mut delivers = claimed.contains_key(&me.name);
    let endpoints: Vec<IpAddr> =
        mesh.tunnel.peers.values().filter_map(|peer| Some(peer.endpoint?.ip())).collect();
    let has = |nodes: &[&Node], node: &Node| nodes.iter().any(|known| known.name == node.name);
    for (node, hop) in ways {
        let Some(ranges) = claimed.get(&node.name) else { continue };
        let neighbour = has(&mine.members, node);
        if neighbour && !carried.is_some_and(|carried| has(carried, node)) {
            continue;
        }
        for range in ranges {
            let on_it = |ip: &IpAddr| range.contains(ip);
            if neighbour && me.private_ips.iter().any(on_it) {
                // This node stands there itself.
                delivers = true;
            } else if let Some(endpoint) = endpoints.iter().copied().find(on_it) {
                let node = node.name.clone();
                mesh.problems.push(Problem::LocationUnderlay { node, range: *range, endpoint });
            } else if let Some(peer) = mesh.tunnel.peers.get_mut(&keys[&hop.name]) {
                peer.allowed_ips.insert(*range);
                add_route(*range, my_ips, seen.narrow.get(&node.name).copied(), &mut mesh.routes);
            }
        }
    }
    delivers
}
