//! Which pod has which address, at as little cost as finding two with one address needs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use crate::manifest::Id;

/// The addresses of pods.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Those that one pod has; which one is the index's to find, should another come.
    alone: HashSet<IpAddr>,
    /// Those that several have.
    shared: BTreeMap<IpAddr, BTreeSet<Id>>,
}

impl Addresses {
    /// Gives an address to a pod. `holder` finds the other that has it. Returns the pods of which there is something
    /// else to say now.
    pub(super) fn add(&mut self, ip: IpAddr, pod: &Id, holder: impl FnOnce() -> Option<Id>) -> Vec<Id> {
        if let Some(pods) = self.shared.get_mut(&ip) {
            pods.insert(pod.clone());
            return concerned(pods, pod);
        }
        if self.alone.insert(ip) {
            return Vec::new();
        }
        let Some(other) = holder() else { return Vec::new() };
        self.alone.remove(&ip);
        let pods = BTreeSet::from([pod.clone(), other]);
        let concerned = concerned(&pods, pod);
        self.shared.insert(ip, pods);
        concerned
    }

    /// Takes an address from a pod. Returns the pods of which there is something else to say now.
    pub(super) fn remove(&mut self, ip: IpAddr, pod: &Id) -> Vec<Id> {
        let Some(pods) = self.shared.get_mut(&ip) else {
            self.alone.remove(&ip);
            return Vec::new();
        };
        let concerned = concerned(pods, pod);
        pods.remove(pod);
        if pods.len() == 1 {
            self.shared.remove(&ip);
            self.alone.insert(ip);
        }
        concerned
    }

    /// The first other pod with this address.
    pub(super) fn other(&self, ip: IpAddr, pod: &Id) -> Option<&Id> {
        self.shared.get(&ip)?.iter().find(|other| *other != pod)
    }
}

/// Whose first other pod is a different one with this pod than without it: all, if it is among the first two.
fn concerned(pods: &BTreeSet<Id>, pod: &Id) -> Vec<Id> {
    if pods.iter().take(2).any(|first| first == pod) {
        pods.iter().cloned().collect()
    } else {
        vec![pod.clone()]
    }
}
