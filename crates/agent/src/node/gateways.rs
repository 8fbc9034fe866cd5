//! Over whom others are reached, and who is not to carry anything for now.

use std::collections::BTreeMap;

use engine::mesh::Share;
use ipnet::IpNet;
use model::NodeName;
use model::mesh::Granularity;
use tracing::{debug, info, warn};

use super::Node;
use crate::outlook::Outlook;

impl Node {
    /// The ranges that lead to a node, as they were granted to it.
    pub(crate) fn ranges_of(&self, node: &NodeName) -> Vec<IpNet> {
        let nodes = &self.outlook.world.nodes;
        let hop = self.via.get(node).and_then(|hop| nodes.get(hop)?.public_key);
        let peer = hop.and_then(|key| self.desired.tunnel.peers.get(&key));
        let ranges =
            nodes.get(node).map(|node| node.pod_cidrs.iter()).into_iter().flatten().map(IpNet::trunc);
        ranges.filter(|range| peer.is_some_and(|peer| peer.allowed_ips.contains(range))).collect()
    }

    /// Lets traffic go by other gateways than those that do not answer or carry nothing.
    pub(crate) fn poll_gateways(&mut self) {
        let now = self.now();
        let due = self.gateways.deadline().is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.judge) && !due {
            return;
        }
        // Not those that no tunnel leads to yet: they have not fallen silent.
        if !self.gateways.follow(&self.via, &self.prober.dead(), now) {
            return;
        }
        let (before, out) = (&self.outlook.seen.out, self.gateways.out());
        for gateway in out.difference(before).filter(|name| self.is_gateway(name)) {
            warn!(%gateway, "carries nothing; traffic goes by others");
        }
        for gateway in before.difference(out).filter(|name| self.via.contains_key(name)) {
            info!(%gateway, "may carry traffic again, if it is a gateway");
        }
        self.outlook.seen.out.clone_from(out);
        // In a full mesh nobody carries for others, but for peers that are no nodes.
        let mut nodes = self.outlook.world.nodes.values();
        self.replan |= !self.outlook.world.peers.is_empty();
        self.replan |= nodes.any(|node| node.mesh.granularity != Granularity::Full);
    }

    /// Lets traffic go by other gateways than those that forward badly.
    pub(crate) fn poll_relief(&mut self) {
        let now = self.now();
        if !self.relief.is_due(now) {
            return;
        }
        let answers = self.prober.take_answers();
        let groups = self.groups();
        if !self.relief.follow(&self.via, &groups, &answers, now) {
            return;
        }
        let relieved = self.relief.relieved();
        let said: Vec<String> = relieved.iter().map(|(name, share)| said(name, *share)).collect();
        for name in self.outlook.seen.relieved.keys().filter(|name| !relieved.contains_key(*name)) {
            info!(gateway = %name, "carries what it did before it forwarded badly");
        }
        self.problems.set_machine("gateways", (!said.is_empty()).then(|| said.join("; ")));
        self.outlook.seen.relieved.clone_from(relieved);
        self.replan = true;
    }

    /// The gateways that stand in for others, by the number of their group.
    fn groups(&self) -> BTreeMap<NodeName, u32> {
        let group = |name: &NodeName| {
            let key = self.outlook.world.nodes.get(name)?.public_key?;
            Some(self.desired.tunnel.peers.get(&key)?.group).filter(|group| *group != 0)
        };
        let hops = self.via.iter().filter(|(node, hop)| node == hop).map(|(name, _)| name);
        hops.filter_map(|name| Some((name.clone(), group(name)?))).collect()
    }

    /// Lets gateways change hands step by step.
    pub(super) fn hand_over(&mut self) {
        let now = self.now();
        let Outlook { world, seen, .. } = &mut self.outlook;
        let changing = self.handover.follow(&world.nodes, &seen.out, now);
        if *changing != seen.changing {
            debug!(nodes = changing.was.len(), step = ?changing.step, "gateways are changing");
            seen.changing.clone_from(changing);
        }
    }

    /// Whether a step of it is due.
    pub(crate) fn poll_handover(&mut self) {
        let now = self.now();
        self.replan |= self.handover.deadline().is_some_and(|at| at <= now);
    }

    /// Whether others are reached over the node.
    fn is_gateway(&self, name: &NodeName) -> bool {
        self.via.iter().any(|(node, hop)| hop == name && node != hop)
    }
}

fn said(gateway: &NodeName, share: Share) -> String {
    let what = match share {
        Share::Half => "half",
        Share::All => "all",
    };
    format!(
        "the gateway {gateway} forwards badly: packets through it are lost or late; {what} of what it carried goes by others"
    )
}
