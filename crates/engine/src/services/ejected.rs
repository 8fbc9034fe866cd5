//! Which of the backends that fail connects a service does without: never more than half of those that might answer,
//! whatever a detector says, the first that failed first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use model::{Endpoint, Protocol, World};

use super::departed::addresses;
use super::ladder::Candidate;
use super::select::Verdict;
use super::standpoint::Standpoint;
use super::{Connects, View};

/// Backends that fail connects and are to get none, by address and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ejected(BTreeMap<SocketAddr, Ejection>);

/// Why a backend is to get no connects, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Since when, on the clock of whoever found it out.
    pub since: Duration,
    /// For how long still.
    pub left: Duration,
    /// What became of connects to it before.
    pub connects: Connects,
}

impl Ejected {
    /// Nobody.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why the backend at this address is one of them; nothing if it is none.
    pub fn get(&self, backend: &SocketAddr) -> Option<&Ejection> {
        self.0.get(backend)
    }

    /// Where they are.
    pub fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.0.keys().copied().collect()
    }
}

impl FromIterator<(SocketAddr, Ejection)> for Ejected {
    fn from_iter<T: IntoIterator<Item = (SocketAddr, Ejection)>>(ejections: T) -> Self {
        Self(ejections.into_iter().collect())
    }
}

impl fmt::Display for Ejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connects { refused, unanswered, .. } = self.connects;
        let (failed, all) = (self.connects.failed(), self.connects.all());
        let seconds = self.left.as_millis().div_ceil(1_000);
        write!(
            f,
            "ejected for {seconds} s more: {failed} of {all} connects failed ({refused} refused, {unanswered} unanswered)"
        )
    }
}

/// What becomes of a frontend's backends that fail connects.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that it does without.
    pub(super) out: BTreeMap<SocketAddr, Ejection>,
    /// How many have to stay.
    pub(super) kept: usize,
}

impl Standpoint<'_> {
    /// Of candidates of a protocol, with what Kubernetes' words make of each, those that are done without. Nobody who would
    /// be passed over anyhow counts, on either side.
    pub(super) fn ejected_of(
        &self,
        protocol: Protocol,
        candidates: &[Candidate<'_>],
        verdicts: &[Verdict],
    ) -> Outcome {
        if self.ejected.is_empty() || protocol != Protocol::Tcp {
            return Outcome::default();
        }
        let usable = candidates.iter().zip(verdicts).filter(|(candidate, verdict)| {
            matches!(verdict, Verdict::In | Verdict::PassedOver) && !is_dead(candidate.endpoint, self.dead)
        });
        let usable: BTreeSet<SocketAddr> = usable.map(|(candidate, _)| candidate.address()).collect();
        let of = |address: &SocketAddr| self.ejected.0.get(address).map(|ejection| (*address, *ejection));
        let mut failing: Vec<_> = usable.iter().filter_map(of).collect();
        failing.sort_by_key(|(address, ejection)| (ejection.since, *address));
        let kept = failing.len().saturating_sub(usable.len() / 2);
        failing.truncate(usable.len() / 2);
        Outcome { out: failing.into_iter().collect(), kept }
    }
}

/// Those of the backends at these addresses that are on nodes which do not answer.
pub fn on_dead_nodes(view: &View<'_>, backends: &BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    if view.dead.is_empty() {
        return BTreeSet::new();
    }
    let dead = endpoints(view.world).filter(|endpoint| is_dead(endpoint, view.dead));
    dead.flat_map(addresses).filter(|address| backends.contains(address)).collect()
}

fn endpoints(world: &World) -> impl Iterator<Item = &Endpoint> {
    world.endpoints.values().flat_map(BTreeMap::values)
}

fn is_dead(endpoint: &Endpoint, dead: &BTreeSet<model::NodeName>) -> bool {
    endpoint.node.as_ref().is_some_and(|node| dead.contains(node))
}
