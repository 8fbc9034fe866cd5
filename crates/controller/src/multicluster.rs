//! The Multi-Cluster Services API in this cluster: services and facts in; imports to be told, and what is to be written, out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use cluster::kubernetes::multicluster::{CLUSTER_PROPERTY, CLUSTERSET_PROPERTY};
use cluster::multicluster::{Condition, Exported, Fact};
use engine::mcs::{Mcs, Outcome, Rules};
use model::{Change, Cluster, Key, Object, ObjectName, Spread, Traffic};
use wire::local::{ConditionStatus, ExportStatus, ImportStatus, MulticlusterStatus, PortStatus};

use crate::config::MulticlusterConfig;
use crate::exports;
use crate::imports::Writes;

/// Exports and imports.
#[derive(Debug)]
pub(crate) struct Multicluster {
    pub(crate) mcs: Mcs,
    /// What is written, where there is an API server to write to.
    pub(crate) writes: Option<Writes>,
    exports: BTreeMap<ObjectName, Exported>,
    /// Whether addresses were given or taken since they were last on disk.
    addresses_changed: bool,
}

impl Multicluster {
    /// In a cluster with an API server, or without. `unsaid` is how backends stand to each other where nobody says.
    pub(crate) fn new(
        cluster: &Cluster,
        config: &MulticlusterConfig,
        unsaid: Spread,
        kubernetes: bool,
    ) -> Self {
        let rules = Rules {
            // Nobody has to declare a namespace in a folder.
            without_namespace: config.import_without_namespace || !kubernetes,
            global_services: config.import_global_services,
        };
        let clusterset = Some(config.clusterset_name.clone()).filter(|name| !name.is_empty());
        let properties =
            [(CLUSTER_PROPERTY, Some(cluster.name.to_string())), (CLUSTERSET_PROPERTY, clusterset)].into();
        Self {
            mcs: Mcs::new(cluster.name.clone(), cluster.clusterset_cidrs.clone(), rules, spread(unsaid)),
            writes: kubernetes.then(|| Writes::new(config.endpoint_slices, properties)),
            exports: BTreeMap::new(),
            addresses_changed: false,
        }
    }

    /// Takes up the addresses that imports have had.
    pub(crate) fn remember(&mut self, ips: &BTreeMap<ObjectName, Vec<IpAddr>>) {
        ips.iter().for_each(|(name, ips)| self.mcs.remember(name, ips));
    }

    /// What is different of any cluster's objects.
    pub(crate) fn handle_changes<'a>(
        &mut self,
        changes: impl IntoIterator<Item = &'a Change>,
        now: Duration,
    ) {
        for change in changes {
            match change {
                Change::Upsert(Object::Service(service)) => self.mcs.handle_service(service),
                Change::Delete(Key::Service(key)) => self.mcs.handle_service_gone(key),
                change => self.writes.iter_mut().for_each(|writes| writes.handle_change(change, now)),
            }
        }
    }

    /// What the source says of namespaces, exports and imports. Where another controller leads, its word counts.
    pub(crate) fn handle_facts(&mut self, facts: Vec<Fact>, leads: bool) {
        for fact in facts {
            self.writes.iter_mut().for_each(|writes| writes.handle_fact(&fact));
            match fact {
                Fact::Namespace { name, there } => {
                    self.mcs.handle_namespace(&name, there);
                    self.writes.iter_mut().for_each(|writes| writes.handle_namespace(&self.mcs, &name));
                }
                Fact::Export { name, export: Some(export) } => drop(self.exports.insert(name, export)),
                Fact::Export { name, export: None } => drop(self.exports.remove(&name)),
                Fact::Import { name, import: Some(import) } if import.ours && !leads => {
                    let ips = import.spec["ips"].as_array().into_iter().flatten();
                    let ips: Vec<IpAddr> = ips.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
                    self.mcs.remember(&name, &ips);
                }
                Fact::Import { .. } | Fact::Slice { .. } => {}
            }
        }
    }

    /// What is to be told of imports.
    pub(crate) fn poll(&mut self) -> Vec<Change> {
        let own = self.mcs.own().clone();
        let mut changes = Vec::new();
        for outcome in self.mcs.poll() {
            self.addresses_changed = true;
            self.writes.iter_mut().for_each(|writes| writes.handle_outcome(&outcome));
            changes.push(match outcome {
                Outcome { import: Some(import), .. } => Change::Upsert(Object::Import(import)),
                Outcome { name, .. } => {
                    Change::Delete(Key::Import(model::ServiceKey { cluster: own.clone(), name }))
                }
            });
        }
        changes
    }

    /// The addresses of imports, if they are not on disk as they are.
    pub(crate) fn take_addresses(&mut self) -> Option<&BTreeMap<ObjectName, Vec<IpAddr>>> {
        std::mem::take(&mut self.addresses_changed).then(|| self.mcs.addresses())
    }

    /// Why imports have not all of their addresses.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let problem =
            |outcome: &Outcome| Some(format!("import {}: {}", outcome.name, outcome.problem.as_ref()?));
        self.mcs.outcomes().filter_map(problem)
    }

    /// As the local API says it.
    pub(crate) fn status(&self) -> MulticlusterStatus {
        let exports = self.exports.iter().map(|(name, export)| {
            let conflicts = self.mcs.outcome(name).and_then(|outcome| outcome.conflicts.as_deref());
            let conditions = exports::conditions(export, conflicts);
            ExportStatus {
                service: name.clone(),
                conditions: conditions.into_iter().map(condition).collect(),
            }
        });
        let imports = self.mcs.outcomes().filter_map(import);
        MulticlusterStatus { exports: exports.collect(), imports: imports.collect() }
    }
}

/// What cannot be read in exported annotations is complained of where they are exported.
fn spread(unsaid: Spread) -> fn(&BTreeMap<String, String>) -> Traffic {
    match unsaid {
        Spread::Ladder => |annotations| cluster::index::traffic(annotations, Spread::Ladder, &mut Vec::new()),
        Spread::Even => |annotations| cluster::index::traffic(annotations, Spread::Even, &mut Vec::new()),
    }
}

fn condition(condition: Condition) -> ConditionStatus {
    let Condition { kind, status, reason, message, generation: _, since: _ } = condition;
    ConditionStatus { kind, status, reason, message }
}

fn import(outcome: &Outcome) -> Option<ImportStatus> {
    let import = outcome.import.as_ref()?;
    let port = |port: &model::ServicePort| PortStatus {
        name: port.name.clone(),
        protocol: port.protocol,
        port: port.port.get(),
    };
    Some(ImportStatus {
        service: import.key.name.clone(),
        kind: if import.terms.headless { "Headless" } else { "ClusterSetIP" }.into(),
        ips: import.vips.clone(),
        ports: import.ports.iter().map(port).collect(),
        clusters: import.clusters.clone(),
        problem: outcome.problem.as_ref().map(ToString::to_string).unwrap_or_default(),
    })
}
