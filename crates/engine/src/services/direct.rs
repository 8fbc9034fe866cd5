//! Direct server return: which nodes answer clients outside by themselves.
//!
//! A backend's node answers in the name of an address that another node has, by its own way out. That leads back to the
//! client only where both ways out are one network's: so it is for nodes of one cluster and one location. Backends elsewhere
//! see the node where the client came in.

use std::collections::BTreeSet;

use model::Node;
use serde::{Deserialize, Serialize};

use super::View;
use crate::plan::Direct;

/// Whom backends see, and by which way answers go, where clients outside may get backends of other nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerMode {
    /// The node where the packet came in; answers go through it (source network address translation).
    #[default]
    Snat,
    /// The client; its backend's node answers it (direct server return).
    Dsr,
}

/// What the data path is to know. Packets from other nodes are taken whatever this node's own mode is, so that the mode may
/// be changed node by node.
pub(super) fn direct(view: &View<'_>) -> BTreeSet<Direct> {
    let Some(me) = view.world.nodes.get(view.me) else { return BTreeSet::new() };
    let near = |node: &&Node| {
        node.name.cluster == me.name.cluster
            && node.name != me.name
            && node.location == me.location
            && !me.location.is_empty()
    };
    let peers = || view.world.nodes.values().filter(near);
    let mut direct: BTreeSet<_> = peers().flat_map(Node::mesh_ips).map(Direct::Sender).collect();
    if view.balancing.mode == LoadBalancerMode::Dsr {
        direct.insert(Direct::Own(Node::id(&me.name)));
        direct.extend(peers().map(|node| Direct::Peer(Node::id(&node.name))));
    }
    direct
}
