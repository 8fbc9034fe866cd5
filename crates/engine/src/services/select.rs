//! Which endpoints Kubernetes' own words leave: readiness, termination, traffic policy, topology. As kube-proxy reads
//! them (its `CategorizeEndpoints`), with one thing that it does not know: other clusters' endpoints, which no hint of
//! this cluster's is about.

use model::{Endpoint, Hints, NodeName, Topology};

/// An endpoint, as far as the choice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    /// Whether it is on the client's node.
    pub(super) local: bool,
    /// Whether it is of the client's cluster.
    pub(super) own: bool,
    /// Whether its hints name the client's zone; nothing without hints.
    pub(super) zone: Option<bool>,
    /// Whether its hints name the client's node; nothing without hints.
    pub(super) node: Option<bool>,
}

impl Seen {
    /// `its` is the place of the endpoint's node, as far as that is known.
    pub(super) fn new(endpoint: &Endpoint, its: Option<&Topology>, me: &NodeName, mine: &Topology) -> Self {
        let own = endpoint.key.service.cluster == me.cluster;
        let local = own && endpoint.node.as_ref() == Some(me);
        // A zone is only comparable inside its region.
        let its_zone = its.filter(|its| !its.zone.is_empty());
        let same_zone = its_zone.map(|its| its == mine);
        let (zone, node) = match &endpoint.hints {
            Hints::None => (None, None),
            Hints::OwnZone => (same_zone, None),
            Hints::OwnNode => (same_zone, endpoint.node.is_some().then_some(local)),
            Hints::Given { zones, nodes } => (
                (!zones.is_empty())
                    .then(|| zones.iter().any(|zone| !mine.zone.is_empty() && *zone == mine.zone)),
                (!nodes.is_empty()).then(|| nodes.contains(&me.node)),
            ),
        };
        let Endpoint { ready, serving, terminating, .. } = endpoint;
        Self { ready: *ready, serving: *serving, terminating: *terminating, local, own, zone, node }
    }
}

/// What becomes of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes connections.
    In,
    /// It would, but its hints are for others.
    PassedOver,
    /// The policy is `Local`, and it is on another node.
    Policy,
    /// It is shutting down, and others are ready.
    Terminating,
    /// It is not ready.
    NotReady,
}

/// Whom a policy lets answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// `Cluster`: everybody.
    Cluster,
    /// `Local`: who is on the client's node. No hint counts then.
    Local,
    /// Everybody, in one order whichever node looks: no hint counts, nor how near anybody is.
    Agreed,
}

/// What becomes of each.
pub(super) fn choose(reach: Reach, seen: &[Seen]) -> Vec<Verdict> {
    let reached = |one: &Seen| reach != Reach::Local || one.local;
    let ready = seen.iter().any(|one| one.ready && reached(one));
    let topology = match reach {
        Reach::Cluster => Mode::of(seen),
        Reach::Local | Reach::Agreed => Mode::None,
    };
    let verdict = |one: &Seen| {
        if !reached(one) {
            return Verdict::Policy;
        }
        // Where nobody is ready, those that end but still answer are better than nobody.
        let usable = if ready { one.ready } else { one.serving && one.terminating };
        match (usable, one.terminating) {
            (true, _) if ready && one.own && topology.passes_over(one) => Verdict::PassedOver,
            (true, _) => Verdict::In,
            (false, true) => Verdict::Terminating,
            (false, false) => Verdict::NotReady,
        }
    };
    seen.iter().map(verdict).collect()
}

/// Which hints count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    Zone,
    Node,
}

impl Mode {
    /// Hints count only if every ready endpoint has them and one of them is for the client.
    fn of(seen: &[Seen]) -> Self {
        let ready: Vec<&Seen> = seen.iter().filter(|one| one.ready && one.own).collect();
        let all = |hint: fn(&Seen) -> Option<bool>| {
            ready.iter().all(|one| hint(one).is_some()) && ready.iter().any(|one| hint(one) == Some(true))
        };
        if all(|one| one.node) {
            Self::Node
        } else if all(|one| one.zone) {
            Self::Zone
        } else {
            Self::None
        }
    }

    fn passes_over(self, one: &Seen) -> bool {
        match self {
            Self::None => false,
            Self::Zone => one.zone != Some(true),
            Self::Node => one.node != Some(true),
        }
    }
}

#[cfg(test)]
mod tests;
