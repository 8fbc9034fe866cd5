//! Why a connection goes where it goes: the same ladder as the plan's, with health laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{ClusterName, Endpoint, EndpointKey, NodeName, ServiceKey, ServicePort, Tier, Topology, Traffic};

use super::direct::direct;
use super::doubt::{Doubt, doubts};
use super::ladder::{Candidate, Out, Rung};
use super::offer::{Claimant, Dialled, Offer};
use super::order::Block;
use super::outside::{self, FromOutside};
use super::select::Verdict;
use super::standpoint::Standpoint;
use super::{Ejection, Problem, View, health_checks};
use crate::plan::{Frontend, NodeId};

/// A service or an import, and where its connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Which.
    pub service: ServiceKey,
    /// Whether it is an import.
    pub import: bool,
    /// What sort of thing is dialled.
    pub kind: Kind,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Whether other clusters' backends are included because both sides are global.
    pub global: bool,
    /// Whether it lends its backends to other clusters, being global.
    pub shared: bool,
    /// Whether it is exported.
    pub exported: bool,
    /// How clients are spread over clusters.
    pub traffic: Traffic,
    /// What was granted to it.
    pub frontends: Vec<Frontend>,
    /// What clients outside get on the node, where that is something else than what its own sockets get.
    pub outside: Vec<FromOutside>,
    /// What it asked for and was not granted.
    pub problems: Vec<Problem>,
    /// What is carried out and hardly meant so.
    pub doubts: Vec<Doubt>,
    /// The rungs behind each of `frontends`, in the order in which they are asked.
    pub rungs: Vec<Vec<Step>>,
    /// What might answer, nearest first.
    pub backends: Vec<Standing>,
}

/// One rung: how much it could carry, what it keeps and what it lets go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The furthest of its backends.
    pub tier: Tier,
    /// Whose backends stand on it.
    pub clusters: Vec<ClusterName>,
    /// The weights of those that are ready.
    pub ready: u64,
    /// The weights of all, those that are shutting down left out; of a cluster that stands on no other rung, what is
    /// declared for it.
    pub capacity: u64,
    /// The part of what reaches it that goes on to the next, 0 to 1.
    pub passes: f64,
    /// The part of all new connections that it takes now, 0 to 1.
    pub share: f64,
}

/// What sort of thing is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A service at virtual addresses.
    ClusterIp,
    /// A service at a port of every node, too.
    NodePort,
    /// A service at addresses of a load balancer, too.
    LoadBalancer,
    /// An import at clusterset IPs.
    ClusterSetIp,
    /// A service or import without an address of its own.
    Headless,
}

impl Kind {
    fn of(offer: Offer<'_>) -> Self {
        match offer {
            Offer::Service(service) if service.headless => Self::Headless,
            Offer::Service(service) if !service.access.load_balancer_ips.is_empty() => Self::LoadBalancer,
            Offer::Service(service) if !service.access.node_ports.is_empty() => Self::NodePort,
            Offer::Service(_) => Self::ClusterIp,
            Offer::Import(import) if import.terms.headless => Self::Headless,
            Offer::Import(_) => Self::ClusterSetIp,
        }
    }
}

/// How one backend stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Which.
    pub endpoint: EndpointKey,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its node.
    pub node: Option<NodeName>,
    /// Where that node stands; empty when it is not known.
    pub topology: Topology,
    /// How near it is.
    pub tier: Tier,
    /// How many other clusters are nearer than its own; 0 inside this cluster.
    pub rank: usize,
    /// Its weight among those of its rung: its own times its cluster's.
    pub weight: u32,
    /// Fit to take connections, and on a node that answers.
    pub healthy: bool,
    /// Part of all new connections that go to it now, 0 to 1: the mean over the service's addresses and ports.
    pub share: f64,
    /// Why it gets none.
    pub why: Why,
}

/// Why a backend is in rotation, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It takes connections.
    InRotation,
    /// It is shutting down.
    Terminating,
    /// It says that it is not ready.
    NotReady,
    /// Its node does not answer through the mesh.
    NodeDead,
    /// No node of its cluster answers.
    ClusterDead,
    /// It fails the connects of this node's clients.
    Ejected(Ejection),
    /// Its weight is 0.
    Maintenance,
    /// The service gives its cluster the weight 0.
    Drained,
    /// `internalTrafficPolicy` is `Local`, and it is on another node.
    Policy,
    /// Its hints are for others.
    Hint,
    /// The service prefers other clusters, and they answer.
    Affinity,
    /// None of its ports or addresses fits the service's.
    NoMatch,
    /// The service has no port, or another service has all its addresses and ports.
    Unserved,
    /// Another endpoint has the same address and port.
    Duplicate,
    /// A nearer tier answers.
    Nearer(Tier),
    /// The service has no address of its own: clients choose by DNS.
    Headless,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRotation => Ok(()),
            Self::Terminating => f.write_str("terminating"),
            Self::NotReady => f.write_str("not ready"),
            Self::NodeDead => f.write_str("its node does not answer"),
            Self::ClusterDead => {
                f.write_str("no node of its cluster answers: the cluster or the link is down")
            }
            Self::Ejected(ejection) => ejection.fmt(f),
            Self::Maintenance => f.write_str("weight 0"),
            Self::Drained => f.write_str("its cluster's weight is 0"),
            Self::Policy => f.write_str("internalTrafficPolicy is Local, and it is on another node"),
            Self::Hint => f.write_str("its hints are for other nodes or zones"),
            Self::Affinity => f.write_str("a cluster that the service prefers answers"),
            Self::NoMatch => f.write_str("no port or address that fits the service"),
            Self::Unserved => f.write_str("the service has no address and port of its own"),
            Self::Duplicate => f.write_str("another endpoint has its address"),
            Self::Nearer(tier) => write!(f, "a nearer tier answers: {tier}"),
            Self::Headless => f.write_str("headless: clients choose by DNS"),
        }
    }
}

/// Every service and import of the node's own cluster, with each backend's part and the reason for it.
pub fn explain(view: &View<'_>) -> Vec<Explained> {
    let standpoint = Standpoint::new(view);
    let health = Health::new(view);
    let (granted, problems) = standpoint.granted();
    let mut refused: BTreeMap<Claimant, Vec<Problem>> = BTreeMap::new();
    for problem in problems.into_iter().chain(health_checks(view).1) {
        refused.entry(problem.loser().clone()).or_default().push(problem);
    }
    let taken: BTreeSet<Frontend> =
        granted.iter().flat_map(|(_, frontends)| frontends.iter().map(|f| f.dialled)).collect();
    let direct = direct(view);
    let explain = |(offer, frontends): (Offer<'_>, Vec<Dialled<'_>>)| {
        let sources = standpoint.sources(offer);
        Explained {
            problems: refused.remove(&offer.claimant()).unwrap_or_default(),
            outside: outside::explain(&standpoint, offer, &frontends, &sources, &taken, &direct),
            ..one(&standpoint, &health, offer, &frontends, &sources)
        }
    };
    granted.into_iter().map(explain).collect()
}

/// Who answers through the mesh.
struct Health<'a> {
    dead: BTreeSet<NodeId>,
    names: &'a BTreeSet<NodeName>,
    /// The clusters of which no node answers.
    dark: BTreeSet<&'a ClusterName>,
}

impl<'a> Health<'a> {
    fn new(view: &View<'a>) -> Self {
        let alive = view.world.nodes.keys().filter(|name| !view.dead.contains(*name));
        let alive: BTreeSet<_> = alive.map(|name| &name.cluster).collect();
        let dead = view.dead.iter().map(|name| &name.cluster);
        Self {
            dead: view.dead.iter().map(model::Node::id).collect(),
            names: view.dead,
            dark: dead.filter(|cluster| !alive.contains(cluster)).collect(),
        }
    }

    fn reaches(&self, candidate: &Candidate<'_>) -> bool {
        !self.dead.contains(&candidate.backend.node)
    }

    /// Why a backend on a dead node is out.
    fn why(&self, cluster: &ClusterName) -> Why {
        if self.dark.contains(cluster) { Why::ClusterDead } else { Why::NodeDead }
    }
}

/// What is known of a backend: its part of each frontend's connections, and what speaks most for or against it.
#[derive(Clone, Copy)]
struct Found {
    share: f64,
    weight: u32,
    why: Why,
}

fn one<'a>(
    standpoint: &Standpoint<'a>,
    health: &Health<'a>,
    offer: Offer<'a>,
    frontends: &[Dialled<'a>],
    sources: &[&'a Endpoint],
) -> Explained {
    let mut found: BTreeMap<&EndpointKey, Found> = BTreeMap::new();
    let mut served = 0_u32;
    let mut steps = Vec::with_capacity(frontends.len());
    let mut doubts = doubts(standpoint, offer, frontends, sources);
    let mut failing = 0;
    for frontend in frontends {
        let rungs = standpoint.rungs(offer, frontend, sources);
        for (endpoint, out) in rungs.out {
            let why = left_out(out);
            let weight = u32::from(endpoint.weight)
                * u32::from(offer.traffic().weight_of(&endpoint.key.service.cluster));
            found.entry(&endpoint.key).or_insert(Found { share: 0.0, weight, why });
        }
        failing = failing.max(rungs.failing);
        let (answered, parts) = walk(&rungs.rungs, health, &mut found);
        served += u32::from(answered);
        steps.push(rungs.rungs.iter().zip(parts).map(|(rung, share)| step(rung, share)).collect());
    }

    if failing > 0 {
        doubts.push(Doubt::Failing { backends: failing });
    }
    let mut backends: Vec<_> = sources
        .iter()
        .map(|endpoint| {
            let (tier, rank) = standpoint.nearness(endpoint);
            let why = || unmatched(standpoint, offer, frontends, endpoint);
            let nowhere = || Found { share: 0.0, weight: 0, why: why() };
            let Found { share, weight, why } = found.get(&endpoint.key).copied().unwrap_or_else(nowhere);
            let answers = !endpoint.node.as_ref().is_some_and(|node| health.names.contains(node));
            Standing {
                endpoint: endpoint.key.clone(),
                ips: endpoint.ips.clone(),
                node: endpoint.node.clone(),
                topology: standpoint.topology(endpoint).cloned().unwrap_or_default(),
                tier,
                rank,
                weight,
                healthy: (endpoint.ready || why == Why::InRotation)
                    && answers
                    && !matches!(why, Why::Ejected(_)),
                share: share / f64::from(served.max(1)),
                why: match why {
                    // What a client could choose counts before where it stands.
                    Why::NoMatch | Why::Headless | Why::Unserved | Why::Duplicate if !endpoint.ready => {
                        unready(endpoint.terminating)
                    }
                    why => why,
                },
            }
        })
        .collect();
    backends.sort_by(|a, b| (a.tier, a.rank, &a.endpoint).cmp(&(b.tier, b.rank, &b.endpoint)));
    let (global, shared, exported) = match offer {
        Offer::Service(service) => (service.global, service.shared, service.export.is_some()),
        Offer::Import(_) => (false, false, false),
    };
    Explained {
        service: offer.key().clone(),
        import: matches!(offer, Offer::Import(_)),
        kind: Kind::of(offer),
        problems: Vec::new(),
        outside: Vec::new(),
        doubts,
        rungs: steps,
        vips: offer.vips().to_vec(),
        ports: offer.ports().to_vec(),
        global,
        shared,
        exported,
        traffic: offer.traffic().clone(),
        frontends: frontends.iter().map(|frontend| frontend.dialled).collect(),
        backends,
    }
}

fn step(rung: &Rung<'_>, share: f64) -> Step {
    let clusters: BTreeSet<_> = rung.candidates.iter().map(|c| &c.endpoint.key.service.cluster).collect();
    Step {
        tier: rung.tier,
        clusters: clusters.into_iter().cloned().collect(),
        ready: rung.capacity.ready,
        capacity: rung.capacity.ready + rung.capacity.absent,
        passes: f64::from(rung.passes) / 65_536.0,
        share,
    }
}

/// Walks the rungs as the data path does. Returns whether anybody answers, and the part of each rung.
fn walk<'a>(
    rungs: &[Rung<'a>],
    health: &Health<'_>,
    found: &mut BTreeMap<&'a EndpointKey, Found>,
) -> (bool, Vec<f64>) {
    let alive = |c: &&Candidate<'_>| health.reaches(c);
    let totals: Vec<u32> =
        rungs.iter().map(|rung| rung.candidates.iter().filter(alive).map(|c| c.weight).sum()).collect();
    let parts = parts(rungs, &totals);
    let answering = totals.iter().position(|total| *total > 0).map(|first| &rungs[first]);
    for ((rung, total), part) in rungs.iter().zip(&totals).zip(&parts) {
        let part = *part;
        for candidate in &rung.candidates {
            let weight = candidate.weight;
            let (share, why) = match answering {
                _ if !alive(&candidate) => (0.0, health.why(&candidate.endpoint.key.service.cluster)),
                Some(first) if part == 0.0 => (0.0, behind(first, rung)),
                _ => (part * f64::from(weight) / f64::from(*total), Why::InRotation),
            };
            let entry = found.entry(&candidate.endpoint.key).or_insert(Found { share: 0.0, weight, why });
            entry.share += share;
            if why == Why::InRotation {
                entry.why = why;
            }
        }
    }
    (answering.is_some(), parts)
}

/// The part of new connections that each rung takes: a walk begins where no rung before lets it go on, and ends at the
/// first from there, round and round, that has somebody.
fn parts(rungs: &[Rung<'_>], totals: &[u32]) -> Vec<f64> {
    let mut parts = vec![0.0; rungs.len()];
    let mut left = 1.0;
    for (begin, rung) in rungs.iter().enumerate() {
        let last = begin + 1 == rungs.len();
        let on = if last { 0.0 } else { left * f64::from(rung.passes) / 65_536.0 };
        let mut around = (begin..rungs.len()).chain(0..begin);
        if let Some(takes) = around.find(|n| totals[*n] > 0) {
            parts[takes] += left - on;
        }
        left = on;
    }
    parts
}

/// Why a rung waits while another answers.
fn behind(answering: &Rung<'_>, rung: &Rung<'_>) -> Why {
    if rung.place.group != answering.place.group {
        Why::Affinity
    } else if rung.place.block == Block::PassedOver {
        Why::Hint
    } else {
        Why::Nearer(answering.tier)
    }
}

fn left_out(out: Out) -> Why {
    match out {
        Out::Maintenance => Why::Maintenance,
        Out::Drained => Why::Drained,
        Out::Ejected(ejection) => Why::Ejected(ejection),
        Out::Verdict(Verdict::Policy) => Why::Policy,
        Out::Verdict(Verdict::Terminating) => Why::Terminating,
        Out::Verdict(Verdict::NotReady) => Why::NotReady,
        Out::Verdict(Verdict::In | Verdict::PassedOver) => unreachable!("they stand on a rung"),
    }
}

fn unready(terminating: bool) -> Why {
    if terminating { Why::Terminating } else { Why::NotReady }
}

/// Why an endpoint stands nowhere, without anything said against it.
fn unmatched(
    standpoint: &Standpoint<'_>,
    offer: Offer<'_>,
    frontends: &[Dialled<'_>],
    endpoint: &Endpoint,
) -> Why {
    let fits = |frontend: &Dialled<'_>| {
        endpoint.ips.iter().any(|ip| ip.is_ipv4() == frontend.dialled.ip.is_ipv4())
            && offer.target(standpoint.world, frontend.port, endpoint).is_some()
    };
    if offer.vips().is_empty() && frontends.is_empty() {
        Why::Headless
    } else if frontends.is_empty() {
        Why::Unserved
    } else if !frontends.iter().any(fits) {
        Why::NoMatch
    } else {
        Why::Duplicate
    }
}
