//! Services: what this node's clients dial, and the ladder of backends behind it.
//!
//! By default the rungs are: same node, same zone, same region, same cluster, then the other clusters, each a rung of its
//! own, nearest first. A service's preferences, and Kubernetes' words about topology, put them in another order or make
//! one rung of several. What stands on a rung depends on readiness alone; health is looked up by the data path when a
//! client connects, so a dead node costs one map write and no plan.

mod capacity;
mod declared;
mod departed;
mod difference;
mod direct;
mod doubt;
mod ejected;
mod explain;
mod health_check;
mod ladder;
mod maglev;
mod offer;
mod order;
mod outliers;
mod outside;
mod planner;
mod problem;
mod remembered;
mod select;
mod standpoint;
#[cfg(test)]
mod tests;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use model::{ClusterName, Endpoint, NodeName, Protocol, Traffic, World};

use crate::plan::{Direct, Frontend, Ladder, Outside, Set, SetId, Table, TableKey};
use order::Hint;

pub(crate) use order::Place;
pub(crate) use standpoint::behind;

pub use capacity::{Fill, Limits};
pub use departed::Departed;
pub use difference::{Difference, What, differences};
pub use direct::LoadBalancerMode;
pub use doubt::Doubt;
pub use ejected::{Ejected, Ejection, on_dead_nodes};
pub use explain::{Explained, Kind, Standing, Step, Why, explain};
pub use health_check::{HealthCheck, health_checks};
pub use maglev::{NotASize, TableSize, table};
pub use offer::Claimant;
pub use outliers::{Connects, Outliers};
pub use outside::{FromOutside, NodePortAddresses, Sees};
pub use planner::Planner;
pub use problem::Problem;
pub use remembered::remembered_ranking;
pub use wrong::{Wrong, wrong};

/// What a node looks at, and from where.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Everything it knows.
    pub world: &'a World,
    /// The node.
    pub me: &'a NodeName,
    /// Nodes that do not answer. [`explain`] asks, and who counts how many backends may be ejected: else a plan does not
    /// depend on health.
    pub dead: &'a BTreeSet<NodeName>,
    /// The other clusters, nearest first. Those not named come after, by name.
    pub ranking: &'a [ClusterName],
    /// Ports of every node that no service can have.
    pub reserved: &'a [Reserved],
    /// At which of the nodes' addresses node ports are dialled.
    pub node_ports: &'a NodePortAddresses,
    /// Backends that fail connects.
    pub ejected: &'a Ejected,
    /// How clients outside are served.
    pub balancing: &'a LoadBalancing,
}

impl<'a> View<'a> {
    /// With everything as it is where nobody says otherwise, and every node answering.
    pub fn new(world: &'a World, me: &'a NodeName) -> Self {
        static NOBODY: BTreeSet<NodeName> = BTreeSet::new();
        static BALANCING: LazyLock<LoadBalancing> = LazyLock::new(LoadBalancing::default);
        Self {
            world,
            me,
            dead: &NOBODY,
            ranking: &[],
            reserved: &[],
            node_ports: &NodePortAddresses::All,
            ejected: Ejected::NONE,
            balancing: &BALANCING,
        }
    }
}

/// How clients outside are served; the same for all nodes of a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadBalancing {
    /// Whom backends on other nodes see.
    pub mode: LoadBalancerMode,
    /// How large the tables are by which all nodes choose the same backend for a client; none if each draws its own.
    pub maglev: Option<TableSize>,
}

/// A port at which the node's own agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Which.
    pub port: u16,
    /// What answers there, for people.
    pub purpose: &'static str,
}

/// Where an endpoint stands on the ladder of a service whose clients choose among endpoints themselves. `rank` is the
/// place of its cluster in the ranking.
pub(crate) fn place_of(view: &View<'_>, traffic: &Traffic, endpoint: &Endpoint, rank: usize) -> Place {
    let topology = |name: &NodeName| view.world.nodes.get(name).map(|node| &node.topology);
    let tier = |node: &NodeName| Some(standpoint::tier(view.me, topology(view.me), node, topology(node)?));
    let nearness = standpoint::nearness(view.me, endpoint, || rank, tier);
    Place::new(traffic, &view.me.cluster, &endpoint.key.service.cluster, nearness, Hint::None)
}

/// The part of the plan that is the services'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// What clients dial.
    pub frontends: BTreeMap<Frontend, Ladder>,
    /// What clients outside this node's sockets dial, where that leads elsewhere.
    pub outside: BTreeMap<Frontend, Outside>,
    /// What answers.
    pub sets: BTreeMap<SetId, Set>,
    /// Where node ports are dialled.
    pub node_addresses: BTreeSet<IpAddr>,
    /// By what all nodes choose the same backend for a client outside.
    pub tables: BTreeMap<TableKey, Table>,
    /// What direct server return needs to know of nodes.
    pub direct: BTreeSet<Direct>,
    /// What was claimed and not granted.
    pub problems: Vec<Problem>,
}

/// What clients on this node dial and where it leads: the services of the node's own cluster, with the backends of
/// the other clusters' services of the same name where both sides are global; and the imports of the node's own cluster,
/// with the backends of whoever exports them.
pub fn plan(view: &View<'_>) -> Services {
    Planner::default().plan(view)
}
