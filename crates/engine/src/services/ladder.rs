//! Which backends stand on which rung, for one node and one frontend.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::{ClusterName, Endpoint, Tier};

use super::Ejection;
use super::declared::Declared;
use super::ejected::Outcome;
use super::offer::{Dialled, Offer, Scope};
use super::order::{Block, Hint, Place};
use super::select::{Reach, Seen, Verdict, choose};
use super::standpoint::Standpoint;
use crate::plan::{Backend, Ladder};

/// The largest weight of a backend in a set: what keeps a set small when one weight is huge.
pub(super) const MAX_WEIGHT: u32 = 256;

/// A backend that may take connections, and for how many of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) backend: Backend,
    pub(super) weight: u32,
}

impl Candidate<'_> {
    /// Where connections to it lead.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.backend.ip, self.backend.port.get())
    }
}

/// Backends that are alike to a client, ordered by address.
#[derive(Debug)]
pub(super) struct Rung<'a> {
    /// The furthest of them.
    pub(super) tier: Tier,
    pub(super) place: Place,
    /// What it lets go on to the next ones, as in [`crate::plan::TierSpan::passes`].
    pub(super) passes: u16,
    pub(super) capacity: Capacity,
    pub(super) candidates: Vec<Candidate<'a>>,
}

/// A backend that is not ready, where it would stand if it were.
pub(super) struct Absent<'a> {
    pub(super) place: Place,
    pub(super) cluster: &'a ClusterName,
    pub(super) weight: u32,
}

/// The weights of those on a rung: of the ready, and of those that are not and are missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) ready: u64,
    pub(super) absent: u64,
}

/// What becomes of the endpoints behind a frontend.
pub(super) struct Rungs<'a> {
    /// First come first, none of them empty, at most [`Ladder::MAX_TIERS`].
    pub(super) rungs: Vec<Rung<'a>>,
    /// Who stands on none although port and address fit, and why.
    pub(super) out: Vec<(&'a Endpoint, Out)>,
    /// How many stand on one although they fail connects, because too many do.
    pub(super) failing: usize,
}

/// Why an endpoint that fits stands on no rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// Its own weight is 0.
    Maintenance,
    /// Its cluster's weight is 0.
    Drained,
    /// It fails connects.
    Ejected(Ejection),
    /// What Kubernetes' words make of it.
    Verdict(Verdict),
}

impl<'a> Standpoint<'a> {
    /// The rungs of a frontend.
    pub(super) fn rungs(
        &self,
        offer: Offer<'a>,
        frontend: &Dialled<'_>,
        sources: &[&'a Endpoint],
    ) -> Rungs<'a> {
        let reach = match frontend.scope {
            Scope::Virtual if offer.internal_local() => Reach::Local,
            Scope::Virtual | Scope::External | Scope::Node => Reach::Cluster,
        };
        self.rungs_within(reach, offer, frontend, sources)
    }

    /// The same, whatever the policies are.
    pub(super) fn rungs_within(
        &self,
        reach: Reach,
        offer: Offer<'a>,
        frontend: &Dialled<'_>,
        sources: &[&'a Endpoint],
    ) -> Rungs<'a> {
        let (candidates, mut out) = self.candidates(offer, frontend, sources);
        let seen: Vec<Seen> = candidates
            .iter()
            .map(|c| Seen::new(c.endpoint, self.topology(c.endpoint), self.me, &self.mine))
            .collect();
        let verdicts = choose(reach, &seen);
        // What one node's clients have met is nothing that nodes agree on.
        let ejected = match reach {
            Reach::Agreed => Outcome::default(),
            _ => self.ejected_of(frontend.dialled.protocol, &candidates, &verdicts),
        };
        // The chosen are alike to this node; where nodes are to agree, all are.
        let alike = reach == Reach::Agreed || verdicts.contains(&Verdict::PassedOver);
        let in_place = |seen: &Seen| if alike && seen.own { Hint::Chosen } else { Hint::None };
        let place = |endpoint: &Endpoint, hint| {
            let (cluster, nearness) = (&endpoint.key.service.cluster, self.nearness(endpoint));
            Place::new(offer.traffic(), &self.me.cluster, cluster, nearness, hint)
        };
        // Who is not ready has no say in hints, so is not alike to the chosen.
        let absent_hint = |seen: &Seen| if reach == Reach::Agreed { in_place(seen) } else { Hint::None };
        let mut by_place: BTreeMap<Place, Vec<Candidate<'a>>> = BTreeMap::new();
        let mut absent: Vec<Absent<'a>> = Vec::new();
        for ((candidate, verdict), seen) in candidates.into_iter().zip(verdicts).zip(seen) {
            let endpoint = candidate.endpoint;
            let hint = match verdict {
                Verdict::In => in_place(&seen),
                Verdict::PassedOver => Hint::PassedOver,
                Verdict::Policy | Verdict::Terminating | Verdict::NotReady => {
                    // What ends does so by somebody's will; what is not ready is missed.
                    if verdict == Verdict::NotReady {
                        let place = place(endpoint, absent_hint(&seen));
                        let cluster = &endpoint.key.service.cluster;
                        absent.push(Absent { place, cluster, weight: candidate.weight });
                    }
                    out.push((endpoint, Out::Verdict(verdict)));
                    continue;
                }
            };
            let place = place(endpoint, hint);
            if let Some(ejection) = ejected.out.get(&candidate.address()) {
                // Missed like one that is not ready.
                let cluster = &endpoint.key.service.cluster;
                absent.push(Absent { place, cluster, weight: candidate.weight });
                out.push((endpoint, Out::Ejected(*ejection)));
                continue;
            }
            by_place.entry(place).or_default().push(candidate);
        }
        let mut rungs: Vec<Rung<'a>> = Vec::new();
        for (place, candidates) in by_place {
            // The rungs beyond what the data path walks become one with the last: the furthest clusters.
            let full = rungs.len() == Ladder::MAX_TIERS;
            match rungs.last_mut() {
                Some(last) if full => last.candidates.extend(candidates),
                _ => rungs.push(Rung {
                    tier: Tier::Node,
                    place,
                    passes: 0,
                    capacity: Capacity::default(),
                    candidates,
                }),
            }
        }
        for rung in &mut rungs {
            // An address that stands in several slices is still one backend.
            rung.candidates.sort_by(|a, b| a.backend.cmp(&b.backend).then(b.weight.cmp(&a.weight)));
            rung.candidates.dedup_by_key(|candidate| candidate.backend);
        }
        let declared = Declared::new(offer.traffic(), &rungs);
        for (n, rung) in rungs.iter_mut().enumerate() {
            rung.capacity = declared.of(n, rung, &absent);
            rung.passes = rung.capacity.excess();
            reduce(&mut rung.candidates);
            let tiers = rung.candidates.iter().map(|c| self.nearness(c.endpoint).0);
            rung.tier = tiers.max().unwrap_or(rung.tier);
        }
        // Only to where nearness alone has put the next ones: a preference and a hint are no matter of degree.
        let goes_on = |rung: &Rung<'_>, next: &Rung<'_>| {
            next.place.group == rung.place.group && next.place.block != Block::PassedOver
        };
        for n in 0..rungs.len() {
            if !rungs.get(n + 1).is_some_and(|next| goes_on(&rungs[n], next)) {
                rungs[n].passes = 0;
            }
        }
        declared.lead_past(&mut rungs, goes_on);
        Rungs { rungs, out, failing: ejected.kept }
    }

    /// Who has the port and an address of the family, and a weight.
    fn candidates(
        &self,
        offer: Offer<'a>,
        frontend: &Dialled<'_>,
        sources: &[&'a Endpoint],
    ) -> (Vec<Candidate<'a>>, Vec<(&'a Endpoint, Out)>) {
        let (mut candidates, mut out) = (Vec::with_capacity(sources.len()), Vec::new());
        for endpoint in sources.iter().copied() {
            let Some(port) = offer.target(self.world, frontend.port, endpoint) else { continue };
            let same_family = |ip: &&std::net::IpAddr| ip.is_ipv4() == frontend.dialled.ip.is_ipv4();
            let Some(ip) = endpoint.ips.iter().find(same_family) else { continue };
            let of_cluster = offer.traffic().weight_of(&endpoint.key.service.cluster);
            match (endpoint.weight, of_cluster) {
                (0, _) => out.push((endpoint, Out::Maintenance)),
                (_, 0) => out.push((endpoint, Out::Drained)),
                (own, times) => {
                    let backend = Backend { ip: *ip, port, node: self.node_id(endpoint) };
                    let weight = u32::from(own) * u32::from(times);
                    candidates.push(Candidate { endpoint, backend, weight });
                }
            }
        }
        (candidates, out)
    }
}

impl Capacity {
    /// What a rung lets go on, of 65,536: nothing while at least half of its capacity is ready; below, so much that no
    /// backend takes more than twice the part it has when all of them are.
    pub(super) fn excess(self) -> u16 {
        let all = self.ready + self.absent;
        if 2 * self.ready >= all {
            return 0;
        }
        u16::try_from(65_536 - 65_536 * 2 * self.ready / all).unwrap_or(u16::MAX)
    }
}

/// Brings the weights of a rung to the smallest whole numbers of the same proportion, and below [`MAX_WEIGHT`].
fn reduce(candidates: &mut [Candidate<'_>]) {
    let common = candidates.iter().fold(0, |common, c| gcd(common, c.weight));
    let largest = candidates.iter().map(|c| c.weight / common).max().unwrap_or(0);
    for candidate in candidates {
        candidate.weight /= common;
        if largest > MAX_WEIGHT {
            let scaled = u64::from(candidate.weight) * u64::from(MAX_WEIGHT) / u64::from(largest);
            candidate.weight = u32::try_from(scaled).expect("scaled down").max(1);
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
