//! What is dialled in packets: by clients outside the cluster, and by whoever else's sockets this node does not see.
//!
//! Their traffic policy is `externalTrafficPolicy`; `internalTrafficPolicy` is none of theirs. Under `Cluster` they get what
//! this node's own sockets get, by way of an address of this node, so that answers come back. Under `Local` they get this
//! node's own backends or nobody, and keep their addresses. What leads where sockets are led is not said twice.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{Endpoint, EndpointKey, Node};

use super::LoadBalancing;
use super::ladder::Rungs;
use super::offer::{Dialled, Offer, Scope};
use super::select::Reach;
use super::standpoint::Standpoint;

use crate::plan::{Backend, Direct, Frontend, Otherwise};

/// At which of a node's addresses node ports are dialled. It is the same for all nodes of a cluster, and counts for each
/// node's own addresses, whoever dials them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// At all.
    #[default]
    All,
    /// At those by which its cluster knows it: its InternalIPs; where it has none, its ExternalIPs.
    Primary,
    /// At those in one of these ranges.
    Ranges(Vec<IpNet>),
}

impl NodePortAddresses {
    /// The addresses of a node at which they are dialled.
    pub fn of(&self, node: &Node) -> BTreeSet<IpAddr> {
        let known = || node.private_ips.iter().chain(&node.public_ips).copied();
        match self {
            Self::All => known().chain(node.mesh_ips()).collect(),
            Self::Primary if node.private_ips.is_empty() => node.public_ips.iter().copied().collect(),
            Self::Primary => node.private_ips.iter().copied().collect(),
            Self::Ranges(ranges) => {
                let inside = |ip: &IpAddr| ranges.iter().any(|range| range.contains(ip));
                known().chain(node.mesh_ips()).filter(inside).collect()
            }
        }
    }

    /// The addresses of `localhost` at which they are dialled, on the node itself.
    pub(super) fn localhost(&self) -> impl Iterator<Item = IpAddr> {
        let dialled = |ip: &IpAddr| match self {
            Self::All => true,
            Self::Primary => false,
            Self::Ranges(ranges) => ranges.iter().any(|range| range.contains(ip)),
        };
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter().filter(dialled)
    }
}

/// What clients outside get at an address and port of a service, on the node that looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromOutside {
    /// What they dial.
    pub frontend: Frontend,
    /// Who may answer, by name.
    pub backends: Vec<EndpointKey>,
    /// Whether backends see an address of the node in place of the client's.
    pub masquerade: bool,
    /// Whom they see in the end: direct server return lets some see the client all the same.
    pub sees: Sees,
    /// Whether all nodes choose the same backend for a flow (Maglev); else each draws for itself.
    pub agreed: bool,
    /// What becomes of a packet for which there is no backend.
    pub otherwise: Otherwise,
    /// Who may dial it; everybody if none.
    pub sources: Option<BTreeSet<IpNet>>,
}

/// Whom backends see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The node where the client came in.
    Node,
    /// The client.
    Client,
    /// Some the one, some the other.
    Either,
}

impl Sees {
    fn of(masquerade: bool, backends: &[&Backend], direct: &BTreeSet<Direct>) -> Self {
        let answers = |backend: &&&Backend| {
            [Direct::Own(backend.node), Direct::Peer(backend.node)].iter().any(|known| direct.contains(known))
        };
        match backends.iter().filter(answers).count() {
            _ if !masquerade => Self::Client,
            0 => Self::Node,
            all if all == backends.len() => Self::Client,
            _ => Self::Either,
        }
    }
}

/// Where something that is dialled from outside leads elsewhere than for this node's own sockets.
pub(super) struct Entry {
    /// The addresses: several for a node port.
    pub(super) frontends: Vec<Frontend>,
    /// Whose backends.
    reach: Reach,
    pub(super) sources: Option<BTreeSet<IpNet>>,
}

impl Entry {
    /// None where it leads where sockets are led. `taken` knows what other services have at one of the node's addresses.
    pub(super) fn new(
        offer: Offer<'_>,
        Dialled { dialled, scope, .. }: &Dialled<'_>,
        standpoint: &Standpoint<'_>,
        taken: impl Fn(&Frontend) -> bool,
    ) -> Option<Self> {
        let Offer::Service(service) = offer else { return None };
        let access = &service.access;
        let reach = match (access.external_local, standpoint.balancing.maglev) {
            (true, _) => Reach::Local,
            (false, Some(_)) => Reach::Agreed,
            (false, None) => Reach::Cluster,
        };
        match scope {
            Scope::Virtual => None,
            Scope::External => {
                let family = |range: &&IpNet| range.addr().is_ipv4() == dialled.ip.is_ipv4();
                let ranges = access.source_ranges.as_ref();
                let ranges = ranges.filter(|_| access.load_balancer_ips.contains(&dialled.ip));
                let sources = ranges.map(|ranges| ranges.iter().filter(family).copied().collect());
                let usual = *standpoint.balancing == LoadBalancing::default();
                let differs = reach == Reach::Local || sources.is_some() || !usual;
                differs.then(|| Self { frontends: vec![*dialled], reach, sources })
            }
            Scope::Node => {
                let family = |ip: &&IpAddr| ip.is_ipv4() == dialled.ip.is_ipv4();
                let mine = standpoint.own_addresses();
                let at = mine.iter().filter(family).map(|ip| Frontend { ip: *ip, ..*dialled });
                let frontends: Vec<_> = at.filter(|frontend| !taken(frontend)).collect();
                (!frontends.is_empty()).then_some(Self { frontends, reach, sources: None })
            }
        }
    }

    /// Whether it leads elsewhere than for this node's own sockets.
    pub(super) fn has_ladder(&self) -> bool {
        self.reach != Reach::Cluster
    }

    /// Whether all nodes choose alike.
    pub(super) fn is_agreed(&self) -> bool {
        self.reach == Reach::Agreed
    }

    pub(super) fn masquerade(&self) -> bool {
        self.reach != Reach::Local
    }

    /// `anybody` says whether there is a backend anywhere.
    pub(super) fn otherwise(&self, anybody: bool) -> Otherwise {
        match self.reach {
            Reach::Local if anybody => Otherwise::Drop,
            Reach::Local | Reach::Cluster | Reach::Agreed => Otherwise::Refuse,
        }
    }

    /// The rungs behind it.
    pub(super) fn rungs<'a>(
        &self,
        standpoint: &Standpoint<'a>,
        offer: Offer<'a>,
        dialled: &Dialled<'_>,
        sources: &[&'a Endpoint],
    ) -> Rungs<'a> {
        standpoint.rungs_within(self.reach, offer, dialled, sources)
    }
}

/// What clients outside get of one service, where that is something else than what this node's sockets get.
pub(super) fn explain<'a>(
    standpoint: &Standpoint<'a>,
    offer: Offer<'a>,
    frontends: &[Dialled<'a>],
    sources: &[&'a Endpoint],
    taken: &BTreeSet<Frontend>,
    direct: &BTreeSet<Direct>,
) -> Vec<FromOutside> {
    let mut found = Vec::new();
    for dialled in frontends {
        let Some(entry) = Entry::new(offer, dialled, standpoint, |frontend| taken.contains(frontend)) else {
            continue;
        };
        let candidates = entry.rungs(standpoint, offer, dialled, sources).rungs;
        let candidates: Vec<_> = candidates.iter().flat_map(|rung| &rung.candidates).collect();
        let seen: Vec<_> = candidates.iter().map(|candidate| &candidate.backend).collect();
        let backends: BTreeSet<_> = candidates.iter().map(|candidate| &candidate.endpoint.key).collect();
        let anybody = || !standpoint.rungs(offer, dialled, sources).rungs.is_empty();
        found.extend(entry.frontends.iter().map(|frontend| FromOutside {
            frontend: *frontend,
            backends: backends.iter().copied().cloned().collect(),
            masquerade: entry.masquerade(),
            sees: Sees::of(entry.masquerade(), &seen, direct),
            agreed: entry.is_agreed(),
            otherwise: entry.otherwise(!backends.is_empty() || anybody()),
            sources: entry.sources.clone(),
        }));
    }
    found
}
