//! In which order backends are asked: whose cluster first, who is near, and which of them are alike.

use model::{ClusterName, Prefer, Spread, Tier, Traffic};

use super::standpoint::Nearness;

/// Where a backend stands on the ladder. Equal ones share a rung, lesser ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which of the groups of clusters that the service orders: 0 comes first.
    pub(super) group: usize,
    pub(super) block: Block,
    nearness: Nearness,
}

/// What comes first within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Block {
    /// Those of the own cluster, and those that are like them.
    First,
    /// Those of the own cluster whose hints are for others: when there is nobody for the client.
    PassedOver,
    /// Those of other clusters.
    Away,
}

impl Place {
    /// The place of a backend of this cluster, which is so near. Where hints choose among those of the own cluster, the
    /// chosen are alike.
    pub(super) fn new(
        traffic: &Traffic,
        own: &ClusterName,
        cluster: &ClusterName,
        nearness: Nearness,
        hint: Hint,
    ) -> Self {
        let at_home = cluster == own;
        let alike = if at_home { (Tier::Cluster, 0) } else { (Tier::Elsewhere, 0) };
        let spread = traffic.spread == Spread::Even || hint == Hint::Chosen;
        let by_ladder = if at_home && spread { alike } else { nearness };
        let block = match hint {
            Hint::PassedOver => Block::PassedOver,
            Hint::None | Hint::Chosen if at_home || traffic.prefer == Prefer::Even => Block::First,
            Hint::None | Hint::Chosen => Block::Away,
        };
        let second = |is: bool| usize::from(is);
        let (group, nearness) = match &traffic.prefer {
            Prefer::Ladder => (0, by_ladder),
            Prefer::Even => (0, (Tier::Elsewhere, 0)),
            Prefer::Local => (second(!at_home), alike),
            Prefer::Remote => (second(at_home), alike),
            Prefer::LadderLocal => (second(!at_home), by_ladder),
            Prefer::LadderRemote => (second(at_home), by_ladder),
            Prefer::Clusters(order) => {
                let place = order.iter().position(|name| name == cluster);
                (place.unwrap_or(order.len()), by_ladder)
            }
        };
        Self { group, block, nearness }
    }
}

/// What hints say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// None counts.
    None,
    /// It is for the client.
    Chosen,
    /// It is for others.
    PassedOver,
}
