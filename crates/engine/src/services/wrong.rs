//! What is wrong with the services of a cluster, whichever of its nodes looks. For who tells their owners: no ladder is laid.

use std::collections::BTreeMap;

use super::doubt::doubts;
use super::offer::Claimant;
use super::standpoint::Standpoint;
use super::{Doubt, Problem, View, health_checks};

/// What is wrong with one service or import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrong {
    /// What it asked for and was not granted.
    pub problems: Vec<Problem>,
    /// What is carried out and hardly meant so.
    pub doubts: Vec<Doubt>,
}

/// Every service and import of the cluster with which something is wrong. Of the node that looks only the cluster counts,
/// and the ports that are reserved.
pub fn wrong(view: &View<'_>) -> BTreeMap<Claimant, Wrong> {
    let standpoint = Standpoint::new(view);
    let (granted, problems) = standpoint.granted();
    let mut wrong: BTreeMap<Claimant, Wrong> = BTreeMap::new();
    for problem in problems.into_iter().chain(health_checks(view).1) {
        wrong.entry(problem.loser().clone()).or_default().problems.push(problem);
    }
    for (offer, frontends) in granted {
        let doubts = doubts(&standpoint, offer, &frontends, &standpoint.sources(offer));
        if !doubts.is_empty() {
            wrong.entry(offer.claimant()).or_default().doubts = doubts;
        }
    }
    wrong
}
