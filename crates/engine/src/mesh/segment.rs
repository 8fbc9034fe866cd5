//! Which nodes stand together, and who carries their traffic to others.
//!
//! Several gateways of a segment are active at once. Which of them carries a node's traffic follows from their names
//! and the node's (rendezvous hashing), so that everybody who holds the same gateways for good agrees without a word,
//! and a gateway that is lost moves its own nodes only.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use model::mesh::{Gateway, Granularity, Host};
use model::{ClusterName, Node, NodeName, World};
use siphasher::sip::SipHasher13;

use super::handover::Standings;
use super::{Seen, Settings};

/// As many gateways are active in a segment for which nobody chose any.
const ACTIVE: usize = 2;

/// What a gateway that forwards badly is relieved of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Of every other member, chosen by their names.
    Half,
    /// Of everybody but itself.
    All,
}

/// Gateways, and what each is relieved of.
pub(super) type Relieved = BTreeMap<NodeName, Share>;

/// Whether gateways are believed for each other by everybody who has a tunnel.
pub(super) fn all_know_groups(world: &World, settings: &Settings) -> bool {
    let knows = |node: &Node| node.mesh.knows_groups || node.public_key.is_none();
    settings.knows_groups && world.nodes.values().all(knows)
}

/// Whom this node relieves. What one node finds others need not, so that is only where gateways are believed for each other.
pub(super) fn relieved(world: &World, settings: &Settings, seen: &Seen) -> Relieved {
    let is_known = !seen.relieved.is_empty() && all_know_groups(world, settings);
    if is_known { seen.relieved.clone() } else { Relieved::new() }
}

impl Share {
    /// Whether this member is among those.
    fn has(self, member: &NodeName, gateway: &NodeName) -> bool {
        match self {
            Self::Half => weight(member, gateway).is_multiple_of(2),
            Self::All => true,
        }
    }
}

/// What tells segments apart. Those of one location stand next to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name<'a> {
    /// The nodes of a place that reach each other by private address.
    Place(Place<'a>),
    /// A node that stands alone.
    Alone(&'a NodeName),
}

/// Where nodes reach each other by private address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    location: &'a str,
    cluster: &'a ClusterName,
    /// A location that nobody chose is the region's name, and two providers may have a region of one name.
    provider: &'a str,
}

impl<'a> Place<'a> {
    /// Where the node shares gateways with others; none if it stands alone.
    pub(super) fn of(node: &'a Node) -> Option<Self> {
        Self::near(node).filter(|_| node.mesh.granularity != Granularity::Full)
    }

    /// The node's; none if nobody shares a private network with it.
    pub(super) fn near(node: &'a Node) -> Option<Self> {
        if node.location.is_empty() || node.private_ips.is_empty() {
            return None;
        }
        let chosen = node.location != node.topology.region;
        let provider = if chosen { "" } else { &*node.topology.provider };
        Some(Self { location: &node.location, cluster: &node.name.cluster, provider })
    }
}

/// Nodes that have tunnels to each other, and share their gateways to the rest.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    /// Its nodes, by name.
    pub(super) members: Vec<&'a Node>,
    /// Those that are its gateways while they are well, by name.
    pub(super) active: Vec<&'a Node>,
    /// Who takes over when none of them is, in this order.
    pub(super) standby: Vec<&'a Node>,
}

/// Every node of the world that `is_here`, in its segment.
pub(super) fn segments<'a>(
    world: &'a World,
    is_here: impl Fn(&Node) -> bool,
    standings: &Standings,
) -> BTreeMap<Name<'a>, Segment<'a>> {
    let mut members: BTreeMap<Name, Vec<&Node>> = BTreeMap::new();
    for node in world.nodes.values().filter(|node| is_here(node)) {
        members.entry(Name::of(node)).or_default().push(node);
    }
    members.into_iter().map(|(name, members)| (name, Segment::new(members, standings))).collect()
}

impl<'a> Segment<'a> {
    /// As the members are, but for those that count as something else.
    pub(super) fn new(members: Vec<&'a Node>, standings: &Standings) -> Self {
        let wanted =
            |node: &Node| standings.get(&node.name).map_or(node.mesh.gateway, |standing| standing.gateway);
        let rank = |node: &Node| match (wanted(node), is_public(node)) {
            (Gateway::Wanted, true) => 0,
            (Gateway::Wanted, false) => 1,
            (Gateway::Neutral, true) => 2,
            (Gateway::Neutral, false) => 3,
            (Gateway::Unwanted, true) => 4,
            (Gateway::Unwanted, false) => 5,
        };
        let mut ranked: Vec<(u8, &Node)> = members.iter().map(|node| (rank(node), *node)).collect();
        ranked.sort_by_key(|(rank, node)| (*rank, &node.name));
        let best = ranked.first().map_or(0, |(rank, _)| *rank);
        let alike = ranked.iter().take_while(|(rank, _)| *rank == best).count();
        let chosen = best <= 1;
        let mut active: Vec<&Node> = ranked.into_iter().map(|(_, node)| node).collect();
        let standby = active.split_off(if chosen { alike } else { alike.min(ACTIVE) });
        Self { members, active, standby }
    }

    /// Who carries the member's traffic to other segments: perhaps itself.
    pub(super) fn carrier(
        &self,
        member: &'a Node,
        out: &BTreeSet<NodeName>,
        relieved: &Relieved,
    ) -> &'a Node {
        let public = member.mesh.granularity == Granularity::Cross && is_public(member);
        if public || self.active.iter().any(|gateway| gateway.name == member.name) {
            return member;
        }
        let well = |gateway: &&&Node| !out.contains(&gateway.name);
        let of = |gateways: &mut dyn Iterator<Item = &&'a Node>| {
            gateways.copied().max_by_key(|gateway| (weight(&member.name, &gateway.name), &gateway.name))
        };
        let fit = |gateway: &&&Node| {
            !relieved.get(&gateway.name).is_some_and(|share| share.has(&member.name, &gateway.name))
        };
        // Badly is better than by those that nobody expects to carry anything.
        of(&mut self.active.iter().filter(well).filter(fit))
            .or_else(|| of(&mut self.active.iter().filter(well)))
            .or_else(|| self.standby.iter().find(well).copied())
            .or_else(|| of(&mut self.active.iter()))
            .unwrap_or(member)
    }

    /// Each node that carries anything, with the members whose traffic it carries; the active gateways are among them
    /// even if they carry nothing but their own.
    pub(super) fn carriers(
        &self,
        out: &BTreeSet<NodeName>,
        relieved: &Relieved,
    ) -> BTreeMap<&'a NodeName, Vec<&'a Node>> {
        let mut carriers: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for member in &self.members {
            carriers.entry(&self.carrier(member, out, relieved).name).or_default().push(member);
        }
        carriers
    }
}

impl<'a> Name<'a> {
    /// The node's segment.
    pub(super) fn of(node: &'a Node) -> Self {
        Place::of(node).map_or(Self::Alone(&node.name), Self::Place)
    }

    /// A number for its gateways, never 0.
    pub(super) fn number(&self) -> u32 {
        let mut hasher = SipHasher13::new();
        match self {
            Self::Place(place) => (place.location, place.cluster.as_str(), place.provider).hash(&mut hasher),
            Self::Alone(name) => (name.cluster.as_str(), &name.node).hash(&mut hasher),
        }
        (hasher.finish() as u32).max(1)
    }
}

/// What a gateway is worth to a member; the highest has it. Every version and process has to agree on it.
fn weight(member: &NodeName, gateway: &NodeName) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x6761_7465_7761_7973);
    for part in [member.cluster.as_str(), &member.node, gateway.cluster.as_str(), &gateway.node] {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether other locations reach the node by themselves.
pub(super) fn is_public(node: &Node) -> bool {
    let forced = node.mesh.endpoint.as_ref().map(|endpoint| match endpoint.host {
        Host::Ip(ip) => is_public_ip(&ip),
        Host::Dns(_) => true,
    });
    node.port != 0 && forced.unwrap_or_else(|| node.public_ips.iter().any(is_public_ip))
}

/// Whether an address can be everybody's: not one of RFC 1918, 6598, 3927, 4193 or 4291's own.
fn is_public_ip(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || shared || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            let unique_local = ip.segments()[0] & 0xfe00 == 0xfc00;
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            !(unique_local || link_local || ip.is_loopback() || ip.is_unspecified())
        }
    }
}
