//! Which backends stand on which rung, for one node and one frontend.

use std::collections::BTreeMap;

use model::{
    ClusterName, Endpoint, NodeName, ObjectName, Port, Service, ServiceKey, ServicePort, Tier, Topology,
    World,
};

use super::{Problem, View};
use crate::plan::{Backend, Frontend, Ladder, NodeId};

/// The largest weight of a backend in a set: what keeps a set small when one weight is huge.
pub(super) const MAX_WEIGHT: u16 = 256;

/// What a client dials, with the port it stands for.
pub(super) struct Dialled<'a> {
    pub(super) dialled: Frontend,
    pub(super) port: &'a ServicePort,
}

/// A backend that may take connections, and for how many of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) backend: Backend,
    pub(super) weight: u16,
}

/// Backends of one nearness, ordered by address.
#[derive(Debug)]
pub(super) struct Rung<'a> {
    pub(super) tier: Tier,
    pub(super) candidates: Vec<Candidate<'a>>,
}

/// How near something is: the tier, then the place of its cluster in the ranking.
pub(super) type Nearness = (Tier, usize);

/// A node's place in the world, worked out once for all services.
pub(super) struct Standpoint<'a> {
    world: &'a World,
    me: &'a NodeName,
    nodes: BTreeMap<&'a NodeName, (NodeId, Tier)>,
    ranks: BTreeMap<&'a ClusterName, usize>,
    /// The other clusters' global services, by namespace and name.
    twins: BTreeMap<&'a ObjectName, Vec<&'a ServiceKey>>,
}

impl<'a> Standpoint<'a> {
    pub(super) fn new(view: &View<'a>) -> Self {
        let World { clusters, nodes, services, .. } = view.world;
        let mine = nodes.get(view.me).map(|node| &node.topology);
        let nodes = nodes
            .values()
            .map(|node| {
                (&node.name, (model::Node::id(&node.name), tier(view.me, mine, &node.name, &node.topology)))
            })
            .collect();

        let mut ranks = BTreeMap::new();
        for name in view.ranking.iter().chain(clusters.keys()).filter(|name| **name != view.me.cluster) {
            let next = ranks.len();
            ranks.entry(name).or_insert(next);
        }

        let mut twins: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for service in services.values().filter(|s| s.global && s.shared && s.key.cluster != view.me.cluster)
        {
            twins.entry(&service.key.name).or_default().push(&service.key);
        }
        Self { world: view.world, me: view.me, nodes, ranks, twins }
    }

    /// The services that clients on this node dial, each with what is its own: of two that ask for one address and
    /// port the first by name has it.
    pub(super) fn granted(&self) -> (Vec<(&'a Service, Vec<Dialled<'a>>)>, Vec<Problem>) {
        let mut owners: BTreeMap<Frontend, &ServiceKey> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut granted = Vec::new();
        for service in self.world.services.values().filter(|service| service.key.cluster == self.me.cluster) {
            let mut mine = Vec::new();
            for frontend in frontends(service) {
                if let Some(winner) = owners.get(&frontend.dialled) {
                    let (frontend, loser, winner) =
                        (frontend.dialled, service.key.clone(), (*winner).clone());
                    problems.push(Problem::Frontend { frontend, loser, winner });
                } else {
                    owners.insert(frontend.dialled, &service.key);
                    mine.push(frontend);
                }
            }
            granted.push((service, mine));
        }
        (granted, problems)
    }

    /// Every endpoint that may answer for the service, ready or not.
    pub(super) fn sources(&self, service: &'a Service) -> Vec<&'a Endpoint> {
        let twins = self.twins.get(&service.key.name).filter(|_| service.global);
        let keys = std::iter::once(&service.key).chain(twins.into_iter().flatten().copied());
        keys.filter_map(|key| self.world.endpoints.get(key)).flat_map(BTreeMap::values).collect()
    }

    /// How near the endpoint is.
    pub(super) fn nearness(&self, endpoint: &Endpoint) -> Nearness {
        let cluster = &endpoint.key.service.cluster;
        if *cluster != self.me.cluster {
            // A cluster that is in neither the ranking nor the world comes after all that are.
            return (Tier::Elsewhere, self.ranks.get(cluster).copied().unwrap_or(self.ranks.len()));
        }
        let tier = match &endpoint.node {
            Some(node) if node == self.me => Tier::Node,
            Some(node) => self.nodes.get(node).map_or(Tier::Cluster, |(_, tier)| *tier),
            None => Tier::Cluster,
        };
        (tier, 0)
    }

    /// The rungs of a frontend, nearest first, none of them empty, at most [`Ladder::MAX_TIERS`].
    pub(super) fn rungs(
        &self,
        service: &Service,
        frontend: &Dialled<'_>,
        sources: &[&'a Endpoint],
    ) -> Vec<Rung<'a>> {
        let mut by_nearness: BTreeMap<Nearness, Vec<Candidate<'a>>> = BTreeMap::new();
        for endpoint in sources.iter().filter(|e| e.ready && e.weight > 0) {
            let Some(port) = matching_port(service, frontend.port, endpoint) else { continue };
            let same_family = |ip: &&std::net::IpAddr| ip.is_ipv4() == frontend.dialled.ip.is_ipv4();
            let Some(ip) = endpoint.ips.iter().find(same_family) else { continue };
            let backend = Backend { ip: *ip, port, node: self.node_id(endpoint) };
            let candidate = Candidate { endpoint, backend, weight: endpoint.weight };
            by_nearness.entry(self.nearness(endpoint)).or_default().push(candidate);
        }
        let mut rungs: Vec<Rung<'a>> = Vec::new();
        for ((tier, _), candidates) in by_nearness {
            // The rungs beyond what the data path walks become one with the last: the furthest clusters.
            let full = rungs.len() == Ladder::MAX_TIERS;
            match rungs.last_mut() {
                Some(last) if full => last.candidates.extend(candidates),
                _ => rungs.push(Rung { tier, candidates }),
            }
        }
        for rung in &mut rungs {
            // An address that stands in several slices is still one backend.
            rung.candidates.sort_by(|a, b| a.backend.cmp(&b.backend).then(b.weight.cmp(&a.weight)));
            rung.candidates.dedup_by_key(|candidate| candidate.backend);
            reduce(&mut rung.candidates);
        }
        rungs
    }

    fn node_id(&self, endpoint: &Endpoint) -> NodeId {
        endpoint.node.as_ref().map_or(0, |node| match self.nodes.get(node) {
            Some((id, _)) => *id,
            None => model::Node::id(node),
        })
    }
}

/// What clients dial for a service: each address with each port.
fn frontends(service: &Service) -> impl Iterator<Item = Dialled<'_>> {
    service.vips.iter().flat_map(move |ip| {
        service.ports.iter().map(move |port| Dialled {
            dialled: Frontend { ip: *ip, protocol: port.protocol, port: port.port },
            port,
        })
    })
}

/// The port of the endpoint that answers for a service's port: the one of the same name, else the only one of the
/// protocol if the service has only one too.
pub(super) fn matching_port(service: &Service, port: &ServicePort, endpoint: &Endpoint) -> Option<Port> {
    let mut offered = endpoint.ports.iter().filter(|p| p.protocol == port.protocol);
    if let Some(named) = offered.clone().find(|p| p.name == port.name) {
        return Some(named.port);
    }
    let sole = offered.next()?;
    let only_one_offered = offered.next().is_none();
    let only_one_asked = service.ports.iter().filter(|p| p.protocol == port.protocol).count() == 1;
    (only_one_offered && only_one_asked).then_some(sole.port)
}

/// How near a node is to mine. Nothing is equal to an unknown region or zone.
fn tier(me: &NodeName, mine: Option<&Topology>, node: &NodeName, its: &Topology) -> Tier {
    if node == me {
        return Tier::Node;
    }
    if node.cluster != me.cluster {
        return Tier::Elsewhere;
    }
    match mine {
        Some(mine) if !mine.region.is_empty() && mine.region == its.region => {
            if !mine.zone.is_empty() && mine.zone == its.zone { Tier::Zone } else { Tier::Region }
        }
        _ => Tier::Cluster,
    }
}

/// Brings the weights of a rung to the smallest whole numbers of the same proportion, and below [`MAX_WEIGHT`].
fn reduce(candidates: &mut [Candidate<'_>]) {
    let common = candidates.iter().fold(0, |common, c| gcd(common, c.weight));
    let largest = candidates.iter().map(|c| c.weight / common).max().unwrap_or(0);
    for candidate in candidates {
        candidate.weight /= common;
        if largest > MAX_WEIGHT {
            let scaled = u32::from(candidate.weight) * u32::from(MAX_WEIGHT) / u32::from(largest);
            candidate.weight = u16::try_from(scaled).expect("scaled down").max(1);
        }
    }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
