//! Why a connection goes where it goes: the same ladder as the plan's, with health laid over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{Endpoint, EndpointKey, NodeName, Service, ServiceKey, ServicePort, Tier, Topology};

use super::View;
use super::ladder::{self, Dialled, Standpoint};
use crate::plan::NodeId;

/// A service and where its connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Which.
    pub service: ServiceKey,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Whether other clusters' backends are included.
    pub global: bool,
    /// What might answer, nearest first.
    pub backends: Vec<Standing>,
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
    /// Ready, and on a node that answers.
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
    /// Its weight is 0.
    Maintenance,
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
            Self::Maintenance => f.write_str("weight 0"),
            Self::NoMatch => f.write_str("no port or address that fits the service"),
            Self::Unserved => f.write_str("the service has no address and port of its own"),
            Self::Duplicate => f.write_str("another endpoint has its address"),
            Self::Nearer(tier) => write!(f, "a nearer tier answers: {tier}"),
            Self::Headless => f.write_str("headless: clients choose by DNS"),
        }
    }
}

/// Every service of the node's own cluster, with each backend's part and the reason for it.
pub fn explain(view: &View<'_>) -> Vec<Explained> {
    let standpoint = Standpoint::new(view);
    let dead: BTreeSet<_> = view.dead.iter().map(model::Node::id).collect();
    let (granted, _) = standpoint.granted();
    let explain = |(service, frontends)| explain_one(view, &standpoint, &dead, service, frontends);
    granted.into_iter().map(explain).collect()
}

fn explain_one<'a>(
    view: &View<'a>,
    standpoint: &Standpoint<'a>,
    dead: &BTreeSet<NodeId>,
    service: &'a Service,
    frontends: Vec<Dialled<'a>>,
) -> Explained {
    let sources = standpoint.sources(service);
    let mut found: BTreeMap<&EndpointKey, (f64, Why)> = BTreeMap::new();
    let mut served = 0_u32;
    for frontend in &frontends {
        let rungs = standpoint.rungs(service, frontend, &sources);
        let mut answering: Option<Tier> = None;
        for rung in &rungs {
            let alive = |c: &&ladder::Candidate<'_>| !dead.contains(&c.backend.node);
            let total: u32 = rung.candidates.iter().filter(alive).map(|c| u32::from(c.weight)).sum();
            for candidate in &rung.candidates {
                let (share, why) = match answering {
                    _ if !alive(&candidate) => (0.0, Why::NodeDead),
                    Some(tier) => (0.0, Why::Nearer(tier)),
                    None => (f64::from(candidate.weight) / f64::from(total), Why::InRotation),
                };
                let entry = found.entry(&candidate.endpoint.key).or_insert((0.0, why));
                entry.0 += share;
                if why == Why::InRotation {
                    entry.1 = why;
                }
            }
            if answering.is_none() && total > 0 {
                answering = Some(rung.tier);
            }
        }
        served += u32::from(answering.is_some());
    }

    let mut backends: Vec<_> = sources
        .into_iter()
        .map(|endpoint| {
            let (tier, rank) = standpoint.nearness(endpoint);
            let (share, why) =
                found.get(&endpoint.key).copied().unwrap_or((0.0, left_out(service, &frontends, endpoint)));
            Standing {
                endpoint: endpoint.key.clone(),
                ips: endpoint.ips.clone(),
                node: endpoint.node.clone(),
                topology: topology(view, endpoint),
                tier,
                rank,
                healthy: endpoint.ready
                    && !endpoint.node.as_ref().is_some_and(|node| view.dead.contains(node)),
                share: share / f64::from(served.max(1)),
                why,
            }
        })
        .collect();
    backends.sort_by(|a, b| (a.tier, a.rank, &a.endpoint).cmp(&(b.tier, b.rank, &b.endpoint)));
    Explained {
        service: service.key.clone(),
        vips: service.vips.clone(),
        ports: service.ports.clone(),
        global: service.global,
        backends,
    }
}

/// Why an endpoint stands on no rung at all.
fn left_out(service: &Service, frontends: &[Dialled<'_>], endpoint: &Endpoint) -> Why {
    let fits = |frontend: &Dialled<'_>| {
        let speaks = endpoint.ips.iter().any(|ip| ip.is_ipv4() == frontend.dialled.ip.is_ipv4());
        speaks && ladder::matching_port(service, frontend.port, endpoint).is_some()
    };
    if !endpoint.ready {
        if endpoint.terminating { Why::Terminating } else { Why::NotReady }
    } else if service.vips.is_empty() {
        Why::Headless
    } else if endpoint.weight == 0 {
        Why::Maintenance
    } else if frontends.is_empty() {
        Why::Unserved
    } else if !frontends.iter().any(fits) {
        Why::NoMatch
    } else {
        Why::Duplicate
    }
}

fn topology(view: &View<'_>, endpoint: &Endpoint) -> Topology {
    let node = endpoint.node.as_ref().and_then(|name| view.world.nodes.get(name));
    node.map(|node| node.topology.clone()).unwrap_or_default()
}
