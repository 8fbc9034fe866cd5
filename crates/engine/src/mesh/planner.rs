//! The mesh, as it is planned again and again: of one node's change only what follows from it is planned.
//!
//! A node that changes concerns the members of its segment: their ways, the peers that lead to them, and their routes. That
//! is done by itself when nobody claims what another has, before and after; where it is more than that, such as other gateways
//! for this node's own segment, ranges beside the mesh or peers outside of it, everything is planned.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{Change, ClusterName, Key, Node, NodeName, World, overlaps};

use super::claims::Claims;
use super::segment::{Name, Segment, relieved};
use super::view::{group, set_groups};
use super::{
    Mesh, Seen, Settings, Standings, TUNNEL_METRIC, add_route, claim_ranges, encapsulation, new_peer, plan,
};

/// Keeps the newest plan, and what has changed since. Tell it of every change before the world takes it in.
#[derive(Debug, Default)]
pub struct Planner {
    newest: Option<Newest>,
    /// Nodes that were changed since, and what they were.
    touched: BTreeMap<NodeName, Option<Node>>,
}

#[derive(Debug)]
struct Newest {
    mesh: Mesh,
    settings: Settings,
    seen: Seen,
}

/// More changes than this at once are planned together.
const MANY: usize = 16;

impl Planner {
    /// The world is about to change.
    pub fn handle_change(&mut self, world: &World, change: &Change) {
        match change.key() {
            Key::Node(name) if self.newest.is_some() && self.touched.len() <= MANY => {
                self.touched.entry(name).or_insert_with_key(|name| world.nodes.get(name).cloned());
            }
            Key::Node(_) | Key::Cluster(_) | Key::Peer(_) => self.forget(),
            _ => {}
        }
    }

    /// Plans everything the next time.
    pub fn forget(&mut self) {
        self.newest = None;
        self.touched.clear();
    }

    /// What the mesh looks like from the node `me`: the same as [`plan`].
    pub fn plan(&mut self, world: &World, me: &NodeName, settings: &Settings, seen: &Seen) -> &Mesh {
        let touched = std::mem::take(&mut self.touched);
        let newest = self.newest.take().filter(|newest| {
            let expired = |now| move |peer: &&model::Peer| peer.has_expired(now);
            let count = |now| world.peers.values().filter(expired(now)).count();
            let then = Seen { now: seen.now, ..newest.seen.clone() };
            newest.settings == *settings && then == *seen && count(newest.seen.now) == count(seen.now)
        });
        let followed = newest.and_then(|mut newest| {
            let done = touched.is_empty()
                || newest.mesh.problems.is_empty()
                    && Scene::new(world, me, &touched, settings, seen)
                        .is_some_and(|scene| scene.is_simple() && scene.follow(&mut newest.mesh));
            newest.seen.now = seen.now;
            done.then_some(newest)
        });
        let newest = followed.unwrap_or_else(|| Newest {
            mesh: plan(world, me, settings, seen),
            settings: settings.clone(),
            seen: seen.clone(),
        });
        &self.newest.insert(newest).mesh
    }
}

/// What is looked at when single nodes have changed.
struct Scene<'a> {
    world: &'a World,
    me: &'a Node,
    touched: &'a BTreeMap<NodeName, Option<Node>>,
    ranges: Claims<&'a ClusterName>,
    settings: &'a Settings,
    seen: &'a Seen,
}

/// The nodes of a segment.
#[derive(Default)]
struct Members<'a> {
    was: Vec<&'a Node>,
    is: Vec<&'a Node>,
}

impl<'a> Scene<'a> {
    fn new(
        world: &'a World,
        me: &NodeName,
        touched: &'a BTreeMap<NodeName, Option<Node>>,
        settings: &'a Settings,
        seen: &'a Seen,
    ) -> Option<Self> {
        let me = world.nodes.get(me).filter(|me| !touched.contains_key(&me.name))?;
        let ranges = claim_ranges(world, &me.name, Some(me), &mut Mesh::default());
        Some(Self { world, me, touched, ranges, settings, seen })
    }

    fn was(&self, name: &NodeName) -> Option<&'a Node> {
        self.touched.get(name).map_or_else(|| self.world.nodes.get(name), Option::as_ref)
    }

    fn is_here(&self, node: &Node) -> bool {
        node.name == self.me.name || node.public_key.is_some() && !node.pod_cidrs.is_empty()
    }

    /// Whether nobody claims what another has, and nothing else than nodes makes the plan.
    fn is_simple(&self) -> bool {
        let new: Vec<&Node> = self.touched.keys().filter_map(|name| self.world.nodes.get(name)).collect();
        let shared = &self.settings.preshared;
        let alone = |node: &Node| node.mesh.allowed_location_ips.is_empty();
        self.world.peers.is_empty()
            && self.seen.changing.was.is_empty()
            && encapsulation::takes(self.me, &self.seen.unencrypted).is_empty()
            && self.touched.values().flatten().all(alone)
            && new.iter().all(|node| self.is_granted(node))
            && new.iter().all(|node| !shared.is_wanted() || shared.used_with(node).is_some())
            && self.world.nodes.values().all(|node| alone(node) && !new.iter().any(|new| clash(new, node)))
    }

    /// Whether the node's own claims are in order, whatever others claim.
    fn is_granted(&self, node: &Node) -> bool {
        let ranges = &node.pod_cidrs;
        let owner = |range: &IpNet| self.ranges.owner_of(&range.trunc());
        let twice = |n: usize| ranges[..n].iter().any(|other| overlaps(other, &ranges[n]));
        ranges.iter().all(|range| owner(range) == Some(&&node.name.cluster))
            && !(1..ranges.len()).any(twice)
            && node.mesh.rekeying.next_key.is_none_or(|next| Some(next) != node.public_key)
    }

    /// The nodes of these segments, as they were and as they are, by name.
    fn members(&self, names: impl Iterator<Item = Name<'a>>) -> BTreeMap<Name<'a>, Members<'a>> {
        let mut members: BTreeMap<Name, Members> = names.map(|name| (name, Members::default())).collect();
        for node in self.world.nodes.values().filter(|node| self.is_here(node)) {
            if let Some(members) = members.get_mut(&Name::of(node)) {
                members.is.push(node);
            }
        }
        for members in members.values_mut() {
            members.was = members.is.clone();
            members.was.retain(|node| !self.touched.contains_key(&node.name));
        }
        for node in self.touched.values().flatten().filter(|node| self.is_here(node)) {
            let was = &mut members.get_mut(&Name::of(node)).expect("it is among the names").was;
            was.insert(was.partition_point(|other| other.name < node.name), node);
        }
        members
    }

    /// Plans the segments of the nodes that have changed. Returns whether that was all; if not, nothing was done.
    fn follow(&self, mesh: &mut Mesh) -> bool {
        let changed = self.touched.keys().flat_map(|name| [self.was(name), self.world.nodes.get(name)]);
        let names: BTreeSet<Name> =
            changed.flatten().filter(|node| self.is_here(node)).map(Name::of).collect();
        let mine = Name::of(self.me);
        let members = self.members(names.iter().copied().chain([mine]));
        let out = &self.seen.out;
        let relieved = &relieved(self.world, self.settings, self.seen);
        let carrier = |members: &[&'a Node]| {
            Segment::new(members.to_vec(), &Standings::new()).carrier(self.me, out, relieved)
        };
        // Every way to another segment depends on that.
        let hop = carrier(&members[&mine].is);
        if carrier(&members[&mine].was).name != hop.name || self.touched.contains_key(&hop.name) {
            return false;
        }
        let carries = hop.name == self.me.name;
        let (mut ways, mut groups, mut before) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        for name in &names {
            let Members { was, is } = &members[name];
            before.extend(was.iter().map(|node| &node.name));
            let segment = Segment::new(is.clone(), &Standings::new());
            let carriers = segment.carriers(out, relieved);
            if (*name == mine) != carries {
                groups.insert(*name, group(&segment, &carriers));
            }
            let hop_to = |node: &'a Node, gateway: &NodeName| match carries {
                _ if *name == mine => node,
                true => &self.world.nodes[gateway],
                false => hop,
            };
            for (gateway, nodes) in carriers {
                ways.extend(nodes.into_iter().map(|node| (node, hop_to(node, gateway))));
            }
        }
        ways.retain(|(node, _)| node.name != self.me.name);
        self.lead(&before, &ways, mesh);
        if self.settings.knows_groups {
            self.gather(&groups, &before, &ways, mesh);
        }
        true
    }

    /// Leads to nodes by their new ways, and no more by the former ones.
    fn lead(&self, before: &BTreeSet<&NodeName>, ways: &[(&Node, &Node)], mesh: &mut Mesh) {
        let same = |node: &Node, hop: &Node, mesh: &Mesh| {
            let untouched = |name| !self.touched.contains_key(name);
            untouched(&node.name) && untouched(&hop.name) && mesh.via.get(&node.name) == Some(&hop.name)
        };
        let kept: BTreeSet<&NodeName> =
            ways.iter().filter(|(node, hop)| same(node, hop, mesh)).map(|(node, _)| &node.name).collect();
        let mut left = BTreeSet::new();
        for name in before.iter().filter(|name| !kept.contains(**name)) {
            let (Some(node), Some(hop)) = (self.was(name), mesh.via.remove(*name)) else { continue };
            let key = self.was(&hop).and_then(|hop| hop.public_key);
            for range in node.pod_cidrs.iter().map(IpNet::trunc) {
                mesh.routes.remove(&(range, TUNNEL_METRIC));
                if let Some(peer) = key.and_then(|key| mesh.tunnel.peers.get_mut(&key)) {
                    peer.allowed_ips.remove(&range);
                }
            }
            left.insert(hop);
        }
        for hop in left.iter().chain(self.touched.keys()) {
            let Some(key) = self.was(hop).and_then(|hop| hop.public_key) else { continue };
            if mesh.tunnel.peers.get(&key).is_some_and(|peer| peer.allowed_ips.is_empty()) {
                mesh.tunnel.peers.remove(&key);
                mesh.hidden.remove(hop);
            }
        }
        let my_ips = self.my_ips(mesh);
        for (node, hop) in ways.iter().filter(|(node, _)| !kept.contains(&node.name)) {
            let key = hop.public_key.expect("who is here has a key");
            if !mesh.tunnel.peers.contains_key(&key) {
                let next = hop.mesh.rekeying.next_key.filter(|_| self.settings.knows_two_keys);
                let peer = new_peer(self.me, hop, next, &self.ranges, self.settings, self.seen, mesh);
                mesh.tunnel.peers.insert(key, peer);
            }
            mesh.via.insert(node.name.clone(), hop.name.clone());
            for range in node.pod_cidrs.iter().map(IpNet::trunc) {
                mesh.tunnel.peers.get_mut(&key).expect("it was put there").allowed_ips.insert(range);
                add_route(range, &my_ips, self.seen.narrow.get(&node.name).copied(), &mut mesh.routes);
            }
        }
    }

    /// Lets gateways of the segments stand in for each other, and nobody else of them.
    fn gather(
        &self,
        groups: &BTreeMap<Name, BTreeSet<&NodeName>>,
        before: &BTreeSet<&NodeName>,
        ways: &[(&Node, &Node)],
        mesh: &mut Mesh,
    ) {
        let key = |name: &NodeName| self.world.nodes.get(name).and_then(|node| node.public_key);
        let members = before.iter().copied().chain(ways.iter().map(|(node, _)| &node.name));
        for key in members.filter_map(key) {
            if let Some(peer) = mesh.tunnel.peers.get_mut(&key) {
                peer.group = 0;
            }
        }
        set_groups(groups, key, &mut mesh.tunnel.peers);
    }

    fn my_ips(&self, mesh: &Mesh) -> Vec<std::net::IpAddr> {
        Node { pod_cidrs: mesh.own.clone(), ..self.me.clone() }.mesh_ips()
    }
}

/// Whether the node claims anything that the other has.
fn clash(new: &Node, other: &Node) -> bool {
    if new.name == other.name {
        return false;
    }
    let keys = |node: &Node| [node.public_key, node.mesh.rekeying.next_key];
    let theirs = keys(other);
    keys(new).into_iter().flatten().any(|key| theirs.contains(&Some(key)))
        || new.pod_cidrs.iter().any(|range| other.pod_cidrs.iter().any(|their| overlaps(their, range)))
}

#[cfg(test)]
#[path = "tests/planner.rs"]
mod tests;
