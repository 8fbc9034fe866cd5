//! What an earlier plan still says, once it is all that is left of it.

use std::collections::BTreeMap;

use model::{ClusterName, Node, Tier, World};

use crate::plan::{Ladder, NodeId, State};

/// The other clusters in the order in which the ladders in the kernel have them: a node that has measured nothing yet
/// goes on with what it had.
pub fn remembered_ranking(observed: &State, world: &World) -> Vec<ClusterName> {
    let clusters: BTreeMap<NodeId, &ClusterName> =
        world.nodes.keys().map(|name| (Node::id(name), &name.cluster)).collect();
    let elsewhere =
        |ladder: &&Ladder| ladder.tiers.iter().filter(|span| span.tier == Tier::Elsewhere).count();
    let Some(longest) = observed.frontends.values().max_by_key(elsewhere) else { return Vec::new() };
    let mut order: Vec<ClusterName> = Vec::new();
    for span in longest.tiers.iter().filter(|span| span.tier == Tier::Elsewhere) {
        let set = observed.sets.get(&longest.set).map(Vec::as_slice).unwrap_or_default();
        let rung = set.iter().skip(span.begin as usize).take(span.count as usize);
        for name in rung.filter_map(|backend| clusters.get(&backend.node)) {
            if !order.contains(name) {
                order.push((*name).clone());
            }
        }
    }
    order
}
