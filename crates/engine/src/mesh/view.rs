//! Over whom each node is reached, as its gateways are or as they were until lately.

use std::collections::{BTreeMap, BTreeSet};

use model::{Node, NodeName, PublicKey, World};

use super::handover::{Standings, with_out};
use super::segment::{Name, Relieved, Segment, segments};
use crate::plan::Peer;

/// The mesh as it is seen from one node.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) segments: BTreeMap<Name<'a>, Segment<'a>>,
    /// This node's segment.
    pub(super) mine: Name<'a>,
    /// Whose traffic this node carries to other segments; none if it is no gateway.
    pub(super) carried: Option<Vec<&'a Node>>,
    /// Each node, and the peer that leads to it.
    pub(super) ways: Vec<(&'a Node, &'a Node)>,
    /// Gateways that are peers of this node and take each other's place, by segment.
    pub(super) groups: BTreeMap<Name<'a>, BTreeSet<&'a NodeName>>,
}

impl<'a> View<'a> {
    /// From `me`, of nodes of which some are `out`, some `relieved`, and some count as something else than they are.
    pub(super) fn new(
        world: &'a World,
        me: &'a Node,
        is_here: impl Fn(&Node) -> bool,
        standings: &Standings,
        out: &BTreeSet<NodeName>,
        relieved: &Relieved,
    ) -> Self {
        let out = &with_out(out, standings);
        let segments = segments(world, is_here, standings);
        let is_mine = |segment: &Segment| segment.members.iter().any(|member| member.name == me.name);
        let (mine, segment) =
            segments.iter().find(|(_, segment)| is_mine(segment)).expect("this node is here");
        let mine = *mine;
        let mut carriers = segment.carriers(out, relieved);
        let own = group(segment, &carriers);
        let carried = carriers.remove(&me.name);

        let mut ways: Vec<(&Node, &Node)> = Vec::with_capacity(world.nodes.len());
        let neighbours = segment.members.iter().filter(|member| member.name != me.name);
        ways.extend(neighbours.map(|member| (*member, *member)));
        let mut groups = BTreeMap::new();
        let hop = segment.carrier(me, out, relieved);
        for (name, segment) in segments.iter().filter(|(name, _)| **name != mine) {
            let carriers = segment.carriers(out, relieved);
            if carried.is_some() && segment.members.len() > 1 {
                groups.insert(*name, group(segment, &carriers));
            }
            for (gateway, nodes) in carriers {
                let hop = if carried.is_some() { &world.nodes[gateway] } else { hop };
                ways.extend(nodes.into_iter().map(|node| (node, hop)));
            }
        }
        if carried.is_none() {
            groups.insert(mine, own);
        }
        Self { segments, mine, carried, ways, groups }
    }
}

/// Gateways of one segment that are peers of this node are of one group.
pub(super) fn set_groups<'a>(
    groups: impl IntoIterator<Item = (&'a Name<'a>, &'a BTreeSet<&'a NodeName>)>,
    key: impl Fn(&NodeName) -> Option<PublicKey>,
    peers: &mut BTreeMap<PublicKey, Peer>,
) {
    // One alone stands in for nobody.
    for (name, gateways) in groups.into_iter().filter(|(_, gateways)| gateways.len() > 1) {
        for key in gateways.iter().filter_map(|gateway| key(gateway)) {
            if let Some(peer) = peers.get_mut(&key) {
                peer.group = name.number();
            }
        }
    }
}

/// Those of a segment that carry others, or would.
pub(super) fn group<'a>(
    segment: &Segment<'a>,
    carriers: &BTreeMap<&'a NodeName, Vec<&'a Node>>,
) -> BTreeSet<&'a NodeName> {
    let carrying =
        carriers.iter().filter(|(gateway, nodes)| nodes.iter().any(|node| node.name != ***gateway));
    let active = segment.active.iter().map(|gateway| &gateway.name);
    active.chain(carrying.map(|(gateway, _)| *gateway)).collect()
}
