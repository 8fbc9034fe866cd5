//! A node's place in the world: what its clients dial, who might answer, how near that is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{
    ClusterName, Endpoint, Import, NodeName, ObjectName, Service, ServiceKey, ServicePort, Tier, Topology,
    World,
};

use super::offer::{Dialled, Offer, Scope};
use super::{Ejected, LoadBalancing, NodePortAddresses, Problem, Reserved, View};
use crate::plan::{Frontend, NodeId};

/// How near something is: the tier, then the place of its cluster in the ranking.
pub(super) type Nearness = (Tier, usize);

/// A node's place in the world, worked out once for all services.
pub(super) struct Standpoint<'a> {
    pub(super) world: &'a World,
    pub(super) me: &'a NodeName,
    /// Where the node stands.
    pub(super) mine: Topology,
    survey: Arc<Survey>,
    reserved: &'a [Reserved],
    node_ports: &'a NodePortAddresses,
    pub(super) ejected: &'a Ejected,
    pub(super) dead: &'a BTreeSet<NodeName>,
    pub(super) balancing: &'a LoadBalancing,
}

/// What holds for all services, whatever endpoints there are.
#[derive(Debug)]
pub(super) struct Survey {
    nodes: BTreeMap<NodeName, (NodeId, Tier)>,
    ranks: BTreeMap<ClusterName, usize>,
    /// The other clusters' global services, by namespace and name.
    twins: BTreeMap<ObjectName, Vec<ServiceKey>>,
}

impl Survey {
    fn new(view: &View<'_>) -> Self {
        let World { clusters, nodes, services, .. } = view.world;
        let mine = nodes.get(view.me).map(|node| &node.topology);
        let nodes = nodes
            .values()
            .map(|node| {
                let tier = tier(view.me, mine, &node.name, &node.topology);
                (node.name.clone(), (model::Node::id(&node.name), tier))
            })
            .collect();

        let mut ranks = BTreeMap::new();
        for name in view.ranking.iter().chain(clusters.keys()).filter(|name| **name != view.me.cluster) {
            let next = ranks.len();
            ranks.entry(name.clone()).or_insert(next);
        }

        let mut twins: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let lends = |s: &&Service| s.global && s.shared && s.key.cluster != view.me.cluster;
        for service in services.values().filter(lends) {
            twins.entry(service.key.name.clone()).or_default().push(service.key.clone());
        }
        Self { nodes, ranks, twins }
    }
}

impl<'a> Standpoint<'a> {
    pub(super) fn new(view: &View<'a>) -> Self {
        Self::with(view, Arc::new(Survey::new(view)))
    }

    /// The same place again: only endpoints have changed since it was surveyed.
    pub(super) fn with(view: &View<'a>, survey: Arc<Survey>) -> Self {
        let mine = view.world.nodes.get(view.me).map(|node| node.topology.clone()).unwrap_or_default();
        let View { world, me, dead, ranking: _, reserved, node_ports, ejected, balancing } = *view;
        Self { world, me, mine, survey, reserved, node_ports, ejected, dead, balancing }
    }

    pub(super) fn survey(&self) -> Arc<Survey> {
        self.survey.clone()
    }

    /// What clients on this node dial, each with the addresses and ports that are its own. Of two that ask for one the
    /// first has it: virtual addresses before others, so that nobody takes them with an `externalIPs`; services before
    /// imports; then by name.
    pub(super) fn granted(&self) -> (Vec<(Offer<'a>, Vec<Dialled<'a>>)>, Vec<Problem>) {
        let services = self.world.services.values().filter(|s| s.key.cluster == self.me.cluster);
        let imports = self.world.imports.values().filter(|import| import.key.cluster == self.me.cluster);
        let offers = services.map(Offer::Service).chain(imports.map(Offer::Import));
        let mut granted: Vec<_> = offers.map(|offer| (offer, Vec::new())).collect();
        let mut owners: BTreeMap<Frontend, (Offer<'_>, &ServicePort)> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut node_addresses = None;
        for scope in [Scope::Virtual, Scope::External, Scope::Node] {
            for (offer, mine) in &mut granted {
                if matches!(offer, Offer::Service(service) if service.access.other_proxy) {
                    continue;
                }
                for dialled in offer.dialled(scope) {
                    if let Some(problem) = self.forbidden(offer, &dialled, &mut node_addresses) {
                        problems.push(problem);
                    } else if let Some((winner, port)) = owners.get(&dialled.dialled) {
                        let (loser, winner) = (offer.claimant(), winner.claimant());
                        // One address written in several places of one service asks for nothing twice.
                        if winner == loser && *port == dialled.port {
                            continue;
                        }
                        problems.push(Problem::Frontend { frontend: dialled.dialled, loser, winner });
                    } else {
                        owners.insert(dialled.dialled, (*offer, dialled.port));
                        mine.push(dialled);
                    }
                }
            }
        }
        (granted, problems)
    }

    /// Why nobody may have this: it is a port of ours at a node's address, or a pod's address. A virtual address comes from
    /// the cluster itself, and is not asked about.
    fn forbidden(
        &self,
        offer: &Offer<'_>,
        Dialled { dialled: frontend, scope, .. }: &Dialled<'_>,
        node_addresses: &mut Option<BTreeSet<IpAddr>>,
    ) -> Option<Problem> {
        if *scope == Scope::Virtual {
            return None;
        }
        let (frontend, loser) = (*frontend, || offer.claimant());
        if *scope == Scope::External
            && let Some((cluster, range)) = self.pod_range(frontend.ip)
        {
            return Some(Problem::PodAddress { frontend, loser: loser(), range, cluster: cluster.clone() });
        }
        let is = |reserved: &&Reserved| {
            (reserved.protocol, reserved.port) == (frontend.protocol, frontend.port.get())
        };
        let reserved = self.reserved.iter().find(is)?;
        let mut at_a_node =
            || node_addresses.get_or_insert_with(|| self.node_addresses()).contains(&frontend.ip);
        (*scope == Scope::Node || at_a_node()).then(|| Problem::Reserved {
            frontend,
            loser: loser(),
            purpose: reserved.purpose,
        })
    }

    /// The pod range that an address is in, and whose it is.
    pub(super) fn pod_range(&self, ip: IpAddr) -> Option<(&'a ClusterName, IpNet)> {
        let ranges =
            self.world.clusters.values().flat_map(|c| c.pod_cidrs.iter().map(|range| (&c.name, *range)));
        ranges.into_iter().find(|(_, range)| range.contains(&ip))
    }

    /// Every endpoint that may answer, ready or not.
    pub(super) fn sources(&self, offer: Offer<'a>) -> Vec<&'a Endpoint> {
        let of = |key: &ServiceKey| self.world.endpoints.get(key).into_iter().flat_map(BTreeMap::values);
        match offer {
            Offer::Service(service) => {
                let twins = self.survey.twins.get(&service.key.name).filter(|_| service.global);
                let keys = std::iter::once(&service.key).chain(twins.into_iter().flatten());
                keys.flat_map(of).collect()
            }
            Offer::Import(import) => {
                behind(self.world, import).flat_map(|service| of(&service.key)).collect()
            }
        }
    }

    /// How near the endpoint is.
    pub(super) fn nearness(&self, endpoint: &Endpoint) -> Nearness {
        let Survey { nodes, ranks, .. } = &*self.survey;
        // A cluster that is in neither the ranking nor the world comes after all that are.
        let rank = || ranks.get(&endpoint.key.service.cluster).copied().unwrap_or(ranks.len());
        nearness(self.me, endpoint, rank, |node| Some(nodes.get(node)?.1))
    }

    /// The number of the node whose health is the endpoint's.
    pub(super) fn node_id(&self, endpoint: &Endpoint) -> NodeId {
        endpoint.node.as_ref().map_or(0, |node| match self.survey.nodes.get(node) {
            Some((id, _)) => *id,
            None => model::Node::id(node),
        })
    }

    /// Every address of the cluster's nodes.
    fn node_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses(&NodePortAddresses::All)
    }

    /// Where node ports are dialled by this node's sockets: at addresses of the cluster's nodes, and at its own `localhost`.
    pub(super) fn node_port_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses(self.node_ports).into_iter().chain(self.node_ports.localhost()).collect()
    }

    fn addresses(&self, which: &NodePortAddresses) -> BTreeSet<IpAddr> {
        let nodes = self.world.nodes.values().filter(|node| node.name.cluster == self.me.cluster);
        nodes.flat_map(|node| which.of(node)).collect()
    }

    /// Those of this node alone.
    pub(super) fn own_addresses(&self) -> BTreeSet<IpAddr> {
        self.world.nodes.get(self.me).map(|node| self.node_ports.of(node)).unwrap_or_default()
    }

    /// Where the endpoint's node stands, if that is known.
    pub(super) fn topology(&self, endpoint: &Endpoint) -> Option<&'a Topology> {
        Some(&self.world.nodes.get(endpoint.node.as_ref()?)?.topology)
    }
}

/// The services that an import stands for: those of its clusters, as long as they export or share them.
pub(crate) fn behind<'a>(world: &'a World, import: &Import) -> impl Iterator<Item = &'a Service> {
    let key = |cluster: &ClusterName| ServiceKey { cluster: cluster.clone(), name: import.key.name.clone() };
    let known = import.clusters.iter().filter_map(move |cluster| world.services.get(&key(cluster)));
    known.filter(|service| service.travels())
}

/// How near an endpoint is. `rank` is the place of its cluster in the ranking, if that is another; `tier` knows the nodes of
/// mine.
pub(super) fn nearness(
    me: &NodeName,
    endpoint: &Endpoint,
    rank: impl FnOnce() -> usize,
    tier: impl FnOnce(&NodeName) -> Option<Tier>,
) -> Nearness {
    match &endpoint.node {
        _ if endpoint.key.service.cluster != me.cluster => (Tier::Elsewhere, rank()),
        Some(node) if node == me => (Tier::Node, 0),
        node => (node.as_ref().and_then(tier).unwrap_or(Tier::Cluster), 0),
    }
}

/// How near a node is to mine. Nothing is equal to an unknown region or zone, and no two providers share any.
pub(super) fn tier(me: &NodeName, mine: Option<&Topology>, node: &NodeName, its: &Topology) -> Tier {
    if node == me {
        return Tier::Node;
    }
    if node.cluster != me.cluster {
        return Tier::Elsewhere;
    }
    match mine {
        Some(mine) if mine.shares_zone(its) => Tier::Zone,
        Some(mine) if mine.shares_region(its) => Tier::Region,
        _ => Tier::Cluster,
    }
}
