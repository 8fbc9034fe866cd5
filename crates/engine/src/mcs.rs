//! The Multi-Cluster Services API (KEP-1645): what the services that clusters export under one name are together.
//!
//! Every cluster works this out for itself from the same exports, and so comes to the same result: the oldest export
//! decides (of two made in the same second, the one whose cluster's name comes first), ports are united, and whatever
//! differs is said on every export concerned. Only the clusterset IPs are each cluster's own.
//!
//! Services and namespaces in, outcomes out; a change costs what its own name costs. Nothing here knows Kubernetes.

mod addresses;
mod conflict;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{ClusterName, Import, ObjectName, Service, ServiceKey, Terms, Traffic};

use addresses::Addresses;
use merge::{Claim, merge};

pub use addresses::Exhausted;
pub use conflict::{Conflict, Reason, reasons};

/// What an importer decides for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Import into namespaces that the cluster does not have: clients of other namespaces reach the service all the same.
    pub without_namespace: bool,
    /// Import the global, shared services of other clusters (Cilium's annotations) of which the cluster has no Service.
    pub global_services: bool,
}

/// How exported annotations spread the clients of an import over clusters. Whoever knows the annotations says it.
pub type Spread = fn(&BTreeMap<String, String>) -> Traffic;

/// What has become of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name.
    pub name: ObjectName,
    /// The import, while any cluster exports the name and it may be imported here.
    pub import: Option<Import>,
    /// Of the own cluster's export: in what the exports of the name differ. None when the own cluster exports none.
    pub conflicts: Option<Vec<Conflict>>,
    /// Why the import has not all of its addresses.
    pub problem: Option<Problem>,
}

/// Why an import has not all of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The cluster has ranges for none of the families that the exports have.
    #[error(
        "{} exported, and the cluster's clusterset ranges ({}) have none of it; add a range to cluster.clustersetCIDRs",
        families(.exported),
        list(.ranges)
    )]
    Family {
        /// The families of the exports: whether each is IPv6.
        exported: Vec<bool>,
        /// The cluster's ranges.
        ranges: Vec<IpNet>,
    },
    /// Every address is taken.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

fn families(ipv6: &[bool]) -> String {
    let names: Vec<&str> = ipv6.iter().map(|v6| if *v6 { "IPv6" } else { "IPv4" }).collect();
    format!("{} is", names.join(" and "))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The exports and imports of a clusterset, as one of its clusters sees them.
#[derive(Debug)]
pub struct Mcs {
    own: ClusterName,
    rules: Rules,
    spread: Spread,
    /// What may be imported, by name, then by cluster.
    offered: BTreeMap<ObjectName, BTreeMap<ClusterName, Service>>,
    /// The names of the own cluster's services, exported or not.
    own_services: BTreeSet<ObjectName>,
    namespaces: BTreeSet<String>,
    addresses: Addresses,
    /// What was last said of a name.
    said: BTreeMap<ObjectName, Outcome>,
    /// Names that wait for an address.
    starved: BTreeSet<ObjectName>,
    dirty: BTreeSet<ObjectName>,
}

impl Mcs {
    /// Nothing yet. `ranges` are those that the own cluster's clusterset IPs are taken from.
    pub fn new(own: ClusterName, ranges: Vec<IpNet>, rules: Rules, spread: Spread) -> Self {
        Self {
            own,
            rules,
            spread,
            offered: BTreeMap::new(),
            own_services: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            addresses: Addresses::new(ranges),
            said: BTreeMap::new(),
            starved: BTreeSet::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// The own cluster's name.
    pub fn own(&self) -> &ClusterName {
        &self.own
    }

    /// A service of any cluster is now so.
    pub fn handle_service(&mut self, service: &Service) {
        let ServiceKey { cluster, name } = &service.key;
        if *cluster == self.own && self.own_services.insert(name.clone()) && self.offered.contains_key(name) {
            self.dirty.insert(name.clone());
        }
        let global = self.rules.global_services && service.global && service.shared && *cluster != self.own;
        if service.export.is_none() && !global {
            return self.withdraw(&service.key);
        }
        let clusters = self.offered.entry(name.clone()).or_default();
        if clusters.get(cluster) != Some(service) {
            clusters.insert(cluster.clone(), service.clone());
            self.dirty.insert(name.clone());
        }
    }

    /// A service of any cluster is gone.
    pub fn handle_service_gone(&mut self, key: &ServiceKey) {
        if key.cluster == self.own
            && self.own_services.remove(&key.name)
            && self.offered.contains_key(&key.name)
        {
            self.dirty.insert(key.name.clone());
        }
        self.withdraw(key);
    }

    fn withdraw(&mut self, key: &ServiceKey) {
        let Some(clusters) = self.offered.get_mut(&key.name) else { return };
        if clusters.remove(&key.cluster).is_some() {
            self.dirty.insert(key.name.clone());
        }
        if clusters.is_empty() {
            self.offered.remove(&key.name);
        }
    }

    /// The own cluster has a namespace, or has it no more.
    pub fn handle_namespace(&mut self, namespace: &str, there: bool) {
        let different = match there {
            true => self.namespaces.insert(namespace.into()),
            false => self.namespaces.remove(namespace),
        };
        if different {
            let first = ObjectName { namespace: namespace.into(), name: String::new() };
            let names = self.offered.range(first..).map(|(name, _)| name);
            self.dirty.extend(names.take_while(|name| name.namespace == namespace).cloned());
        }
    }

    /// Whether the own cluster has a namespace.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// Takes up the addresses that an import has had, as far as they are free and in the ranges. For one that has others by
    /// now they count in place of those: whoever else speaks for the cluster gave them to clients.
    pub fn remember(&mut self, name: &ObjectName, ips: &[IpAddr]) {
        if self.addresses.restore(name, ips) && self.said.contains_key(name) {
            self.dirty.insert(name.clone());
        }
    }

    /// The addresses of all imports.
    pub fn addresses(&self) -> &BTreeMap<ObjectName, Vec<IpAddr>> {
        self.addresses.held()
    }

    /// The services that an import is made of, with their clusters.
    pub fn sources(&self, name: &ObjectName) -> impl Iterator<Item = (&ClusterName, &Service)> {
        self.offered.get(name).into_iter().flatten()
    }

    /// What is known of a name.
    pub fn outcome(&self, name: &ObjectName) -> Option<&Outcome> {
        self.said.get(name)
    }

    /// What is known of every name.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.said.values()
    }

    /// What is different since this was last asked; at the end of an import, an outcome without one.
    pub fn poll(&mut self) -> Vec<Outcome> {
        let mut changed = Vec::new();
        while let Some(name) = self.dirty.pop_first() {
            let outcome = self.work_out(&name);
            let nothing = outcome.import.is_none() && outcome.conflicts.is_none();
            let before = self.said.get(&name);
            if before == Some(&outcome) || (before.is_none() && nothing) {
                continue;
            }
            if nothing {
                self.said.remove(&name);
            } else {
                self.said.insert(name, outcome.clone());
            }
            changed.push(outcome);
        }
        changed
    }

    fn work_out(&mut self, name: &ObjectName) -> Outcome {
        let mut outcome = Outcome { name: name.clone(), import: None, conflicts: None, problem: None };
        let offered = self.offered.get(name);
        let claims = offered.map(|offered| self.claims(name, offered)).unwrap_or_default();
        if claims.is_empty() {
            self.release(name);
            return outcome;
        }
        let exported_here = claims.iter().any(|claim| *claim.cluster == self.own);
        if exported_here {
            outcome.conflicts = Some(conflict::conflicts(&claims));
        }
        let merged = merge(&claims);
        drop(claims);
        if !(exported_here || self.rules.without_namespace || self.namespaces.contains(&name.namespace)) {
            self.release(name);
            return outcome;
        }
        let mut terms: Terms = merged.terms;
        let mut vips = Vec::new();
        self.starved.remove(name);
        if terms.headless {
            self.release(name);
        } else {
            let exported = std::mem::take(&mut terms.ipv6);
            terms.ipv6 = self.addresses.families(&exported);
            if terms.ipv6.is_empty() {
                self.release(name);
                let ranges = self.addresses.ranges().to_vec();
                outcome.problem = Some(Problem::Family { exported, ranges });
            } else {
                let (given, missing) = self.addresses.settle(name, &terms.ipv6);
                vips = given;
                if let Some(exhausted) = missing {
                    self.starved.insert(name.clone());
                    outcome.problem = Some(exhausted.into());
                }
            }
        }
        let key = ServiceKey { cluster: self.own.clone(), name: name.clone() };
        let traffic = (self.spread)(&terms.annotations);
        outcome.import =
            Some(Import { key, vips, ports: merged.ports, terms, traffic, clusters: merged.clusters });
        outcome
    }

    /// Who has a say in a name: those that export it; where nobody does, those whose global services may be imported.
    fn claims<'a>(&self, name: &ObjectName, offered: &'a BTreeMap<ClusterName, Service>) -> Vec<Claim<'a>> {
        let mut claims: Vec<Claim<'a>> =
            offered.iter().filter_map(|(cluster, service)| Claim::exported(cluster, service)).collect();
        if claims.is_empty() && !self.own_services.contains(name) {
            claims = offered.iter().map(|(cluster, service)| Claim::global(cluster, service)).collect();
        }
        claims.sort_by_key(|claim| (claim.created, claim.cluster));
        claims
    }

    /// Gives an import's addresses back; whoever waits for one is looked at again.
    fn release(&mut self, name: &ObjectName) {
        self.starved.remove(name);
        if self.addresses.release(name) {
            self.dirty.extend(std::mem::take(&mut self.starved));
        }
    }
}
