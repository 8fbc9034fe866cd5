//! What the API server ought to hold of the Multi-Cluster Services API, and the steps that are left to get there: imports,
//! their statuses, the statuses of exports, derived slices, the cluster's properties. Each step touches one object. Time is
//! an argument; nothing here waits or writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::kubernetes::multicluster::{ImportFields, Property, SliceFields};
use cluster::multicluster::{Condition, DerivedSlice, Exported, Fact, Imported};
use engine::mcs::{Mcs, Outcome, Problem};
use model::{Change, ClusterName, Endpoint, Key, Object, ObjectName, ServiceKey};

use crate::exports::{self, are, keep_since};
use crate::slices::slices;

/// Endpoints come and go in crowds: a slice is written this long after the first.
const CROWD: Duration = Duration::from_millis(200);
/// Kinds that the server does not have are asked for again after this long.
const ABSENT: Duration = Duration::from_secs(60);

/// Something to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// The conditions of an export.
    Export { name: ObjectName, conditions: Vec<Condition> },
    /// An import.
    Import(ImportFields),
    /// Where an import comes from.
    ImportStatus { name: ObjectName, clusters: Vec<String>, conditions: Vec<Condition> },
    /// Remove an import of ours.
    RemoveImport { name: ObjectName, uid: String },
    /// A derived slice, which belongs to the import of this uid.
    Slice { fields: SliceFields, uid: String },
    /// Remove a derived slice of ours.
    RemoveSlice { name: ObjectName, import: ObjectName },
    /// A property of the cluster.
    Property { name: &'static str, value: Option<String> },
}

/// What has been written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    /// An export's status; its resourceVersion.
    Export(u64),
    /// An import, as it is now.
    Import(Imported),
    /// A slice, as it is now.
    Slice(DerivedSlice),
    /// Something was removed.
    Removed,
    /// How a property stands.
    Property(Property),
    /// Nothing: the server has no such kind.
    Absent,
}

/// What is written one step at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Property(&'static str),
    Export(ObjectName),
    Import(ObjectName),
}

impl Step {
    fn task(&self) -> Task {
        match self {
            Self::Export { name, .. } => Task::Export(name.clone()),
            Self::Import(fields) => Task::Import(fields.name.clone()),
            Self::ImportStatus { name, .. } | Self::RemoveImport { name, .. } => Task::Import(name.clone()),
            Self::Slice { fields, .. } => Task::Import(ObjectName {
                namespace: fields.name.namespace.clone(),
                name: fields.import.clone(),
            }),
            Self::RemoveSlice { import, .. } => Task::Import(import.clone()),
            Self::Property { name, .. } => Task::Property(name),
        }
    }
}

/// What we applied last of an object, and the version that it had then: what others add to it is theirs.
type Applied = BTreeMap<ObjectName, (u64, u64)>;

/// Everything that is written.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Whether slices are derived.
    with_slices: bool,
    properties: BTreeMap<&'static str, Option<String>>,
    exports: BTreeMap<ObjectName, Exported>,
    imports: BTreeMap<ObjectName, Imported>,
    slices: BTreeMap<ObjectName, DerivedSlice>,
    applied_imports: Applied,
    applied_slices: Applied,
    /// The clusters that an import comes from.
    sources: BTreeMap<ObjectName, Vec<ClusterName>>,
    /// The endpoints of imported services.
    endpoints: BTreeMap<ServiceKey, BTreeMap<String, Endpoint>>,
    /// Services whose endpoints are not known yet.
    unknown: BTreeSet<ServiceKey>,
    dirty: BTreeSet<Task>,
    later: BTreeSet<(Duration, Task)>,
    /// Imports whose slices are looked at later already.
    crowded: BTreeSet<ObjectName>,
    busy: BTreeSet<Task>,
    /// Until when nothing is written: the server has no such kinds.
    absent_until: Option<Duration>,
    problems: Vec<String>,
}

impl Writes {
    pub(crate) fn new(with_slices: bool, properties: BTreeMap<&'static str, Option<String>>) -> Self {
        Self {
            with_slices,
            properties,
            exports: BTreeMap::new(),
            imports: BTreeMap::new(),
            slices: BTreeMap::new(),
            applied_imports: BTreeMap::new(),
            applied_slices: BTreeMap::new(),
            sources: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            unknown: BTreeSet::new(),
            dirty: BTreeSet::new(),
            later: BTreeSet::new(),
            crowded: BTreeSet::new(),
            busy: BTreeSet::new(),
            absent_until: None,
            problems: Vec::new(),
        }
    }

    /// What the source says of objects that are written.
    pub(crate) fn handle_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Namespace { .. } => {}
            Fact::Export { name, export } => {
                match export {
                    Some(export) => drop(self.exports.insert(name.clone(), export.clone())),
                    None => drop(self.exports.remove(name)),
                }
                self.dirty.insert(Task::Export(name.clone()));
            }
            Fact::Import { name, import } => {
                match import {
                    Some(import) => self.hold_import(name, import.clone()),
                    None => drop(self.imports.remove(name)),
                }
                self.dirty.insert(Task::Import(name.clone()));
            }
            Fact::Slice { name, slice } => {
                let before = match slice {
                    Some(slice) => self.hold_slice(name, slice.clone()),
                    None => self.slices.remove(name),
                };
                for slice in before.iter().chain(slice) {
                    let import = import_of(name, slice);
                    self.dirty.insert(Task::Import(import));
                }
            }
        }
    }

    /// A namespace has come or gone: an import may be there without it, and is written only with it.
    pub(crate) fn handle_namespace(&mut self, mcs: &Mcs, namespace: &str) {
        let names = mcs.outcomes().map(|outcome| &outcome.name);
        self.dirty.extend(names.filter(|name| name.namespace == namespace).cloned().map(Task::Import));
    }

    /// What we have written ourselves may be known already.
    fn hold_import(&mut self, name: &ObjectName, import: Imported) {
        let known = self.imports.get(name).filter(|known| known.uid == import.uid);
        if known.is_none_or(|known| known.version <= import.version) {
            self.imports.insert(name.clone(), import);
        }
    }

    fn hold_slice(&mut self, name: &ObjectName, slice: DerivedSlice) -> Option<DerivedSlice> {
        if self.slices.get(name).is_some_and(|known| known.version > slice.version) {
            return None;
        }
        self.slices.insert(name.clone(), slice)
    }

    /// What is different of a name.
    pub(crate) fn handle_outcome(&mut self, outcome: &Outcome) {
        let name = &outcome.name;
        self.dirty.extend([Task::Export(name.clone()), Task::Import(name.clone())]);
        if !self.with_slices {
            return;
        }
        let clusters = outcome.import.as_ref().map(|import| import.clusters.clone()).unwrap_or_default();
        let before = match clusters.is_empty() {
            true => self.sources.remove(name),
            false => self.sources.insert(name.clone(), clusters.clone()),
        };
        let key = |cluster: &ClusterName| ServiceKey { cluster: cluster.clone(), name: name.clone() };
        let before = before.unwrap_or_default();
        for cluster in before.iter().filter(|cluster| !clusters.contains(cluster)) {
            self.endpoints.remove(&key(cluster));
            self.unknown.remove(&key(cluster));
        }
        for cluster in clusters.iter().filter(|cluster| !before.contains(cluster)) {
            self.endpoints.insert(key(cluster), BTreeMap::new());
            self.unknown.insert(key(cluster));
        }
    }

    /// What is different of endpoints, whosever they are.
    pub(crate) fn handle_change(&mut self, change: &Change, now: Duration) {
        let (key, endpoint) = match change {
            Change::Upsert(Object::Endpoint(endpoint)) => (&endpoint.key, Some(endpoint)),
            Change::Delete(Key::Endpoint(key)) => (key, None),
            _ => return,
        };
        let Some(known) = self.endpoints.get_mut(&key.service) else { return };
        match endpoint {
            Some(endpoint) => drop(known.insert(key.name.clone(), endpoint.clone())),
            None => drop(known.remove(&key.name)),
        }
        let import = &key.service.name;
        if self.crowded.insert(import.clone()) {
            self.later.insert((now + CROWD, Task::Import(import.clone())));
        }
    }

    /// Whether there are services whose endpoints are not known yet.
    pub(crate) fn asks_for_endpoints(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Everything that is told now, for the endpoints that were not known.
    pub(crate) fn handle_told<'a>(&mut self, told: impl Iterator<Item = &'a Object>) {
        let unknown = std::mem::take(&mut self.unknown);
        for object in told {
            if let Object::Endpoint(endpoint) = object
                && unknown.contains(&endpoint.key.service)
            {
                let known = self.endpoints.entry(endpoint.key.service.clone()).or_default();
                known.insert(endpoint.key.name.clone(), endpoint.clone());
            }
        }
        self.dirty.extend(unknown.into_iter().map(|key| Task::Import(key.name)));
    }

    /// We write from now on: everything is looked at.
    pub(crate) fn step_up(&mut self, mcs: &Mcs) {
        self.absent_until = None;
        self.dirty.extend(self.properties.keys().map(|name| Task::Property(name)));
        self.dirty.extend(self.exports.keys().cloned().map(Task::Export));
        self.dirty.extend(self.imports.keys().cloned().map(Task::Import));
        self.dirty.extend(mcs.outcomes().map(|outcome| Task::Import(outcome.name.clone())));
        let imports: BTreeSet<ObjectName> =
            self.slices.iter().map(|(name, slice)| import_of(name, slice)).collect();
        self.dirty.extend(imports.into_iter().map(Task::Import));
    }

    /// Somebody else writes from now on.
    pub(crate) fn step_down(&mut self) {
        self.busy.clear();
    }

    /// What to write next.
    pub(crate) fn poll(&mut self, mcs: &Mcs, now: Duration) -> Option<Step> {
        while let Some((at, _)) = self.later.first()
            && *at <= now
            && let Some((_, task)) = self.later.pop_first()
        {
            if let Task::Import(name) = &task {
                self.crowded.remove(name);
            }
            self.dirty.insert(task);
        }
        if self.absent_until.is_some_and(|until| now < until) {
            return None;
        }
        self.absent_until = None;
        while let Some(task) = self.dirty.pop_first() {
            if self.busy.contains(&task) {
                continue; // it is looked at again when that is done
            }
            let step = match &task {
                Task::Property(name) => {
                    let value = self.properties.get(name).cloned().unwrap_or_default();
                    Some(Step::Property { name, value })
                }
                Task::Export(name) => self.export_step(mcs, name),
                Task::Import(name) => self.import_step(mcs, name),
            };
            if let Some(step) = step {
                self.busy.insert(task);
                return Some(step);
            }
        }
        None
    }

    /// When there may be something to write, other than now.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.absent_until.or_else(|| self.later.first().map(|(at, _)| *at))
    }

    fn export_step(&self, mcs: &Mcs, name: &ObjectName) -> Option<Step> {
        let export = self.exports.get(name)?;
        let conflicts = mcs.outcome(name).and_then(|outcome| outcome.conflicts.as_deref());
        let conditions = exports::conditions(export, conflicts);
        if are(&export.conditions, &conditions, &exports::OURS) {
            return None;
        }
        Some(Step::Export { name: name.clone(), conditions })
    }

    fn import_step(&self, mcs: &Mcs, name: &ObjectName) -> Option<Step> {
        let held = self.imports.get(name);
        let outcome = mcs.outcome(name).filter(|outcome| outcome.import.is_some());
        // An import without a namespace is one for clients, and nothing that could be written.
        let outcome = outcome.filter(|_| mcs.has_namespace(&name.namespace));
        let held_ours = held.is_some_and(|held| held.ours);
        let (Some(outcome), false) = (outcome, held.is_some() && !held_ours) else {
            if let Some(slice) = self.slices_of(name).next() {
                return Some(Step::RemoveSlice { name: slice.clone(), import: name.clone() });
            }
            let held = held.filter(|_| held_ours && outcome.is_none())?;
            return Some(Step::RemoveImport { name: name.clone(), uid: held.uid.clone() });
        };
        let import = outcome.import.as_ref()?;
        let fields = ImportFields::new(import);
        let Some(held) = held else { return Some(Step::Import(fields)) };
        if !fields.are(held) && self.applied_imports.get(name) != Some(&(fields.print(), held.version)) {
            return Some(Step::Import(fields));
        }
        let clusters: Vec<String> = import.clusters.iter().map(ToString::to_string).collect();
        let mut ready = ready(outcome);
        keep_since(&mut ready, &held.conditions);
        let ready = vec![ready];
        if clusters != held.clusters || !are(&held.conditions, &ready, &["Ready"]) {
            return Some(Step::ImportStatus { name: name.clone(), clusters, conditions: ready });
        }
        self.slice_step(mcs, name, &held.uid)
    }

    fn slice_step(&self, mcs: &Mcs, name: &ObjectName, uid: &str) -> Option<Step> {
        let mut wanted = BTreeMap::new();
        for (cluster, _) in mcs.sources(name).filter(|_| self.with_slices) {
            let key = ServiceKey { cluster: cluster.clone(), name: name.clone() };
            if self.unknown.contains(&key) {
                return None; // it is looked at again when they are known
            }
            let endpoints = self.endpoints.get(&key).into_iter().flat_map(BTreeMap::values);
            wanted.extend(
                slices(name, cluster, endpoints).into_iter().map(|slice| (slice.name.clone(), slice)),
            );
        }
        let stale = self.slices_of(name).find(|slice| !wanted.contains_key(slice));
        if let Some(stale) = stale {
            return Some(Step::RemoveSlice { name: stale.clone(), import: name.clone() });
        }
        let missing = wanted.into_values().find(|fields| {
            self.slices.get(&fields.name).is_none_or(|held| {
                held.print != fields.print()
                    && self.applied_slices.get(&fields.name) != Some(&(fields.print(), held.version))
            })
        });
        missing.map(|fields| Step::Slice { fields, uid: uid.into() })
    }

    fn slices_of(&self, import: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let first = ObjectName { namespace: import.namespace.clone(), name: String::new() };
        let of_namespace =
            self.slices.range(first..).take_while(|(name, _)| name.namespace == import.namespace);
        of_namespace.filter(|(_, slice)| slice.import == import.name).map(|(name, _)| name)
    }

    /// A step was done.
    pub(crate) fn handle_done(&mut self, step: &Step, written: Written, now: Duration) {
        let task = step.task();
        self.busy.remove(&task);
        match (step, written) {
            (Step::Export { name, conditions }, Written::Export(version)) => {
                if let Some(export) = self.exports.get_mut(name).filter(|export| export.version < version) {
                    export.version = version;
                    export.conditions.clone_from(conditions);
                }
            }
            (Step::Import(fields), Written::Import(import)) => {
                self.applied_imports.insert(fields.name.clone(), (fields.print(), import.version));
                self.hold_import(&fields.name, import);
            }
            (Step::ImportStatus { name, .. }, Written::Import(import)) => {
                if let Some(applied) = self.applied_imports.get_mut(name) {
                    applied.1 = import.version;
                }
                self.hold_import(name, import);
            }
            (Step::Slice { fields, .. }, Written::Slice(slice)) => {
                self.applied_slices.insert(fields.name.clone(), (fields.print(), slice.version));
                self.hold_slice(&fields.name, slice);
            }
            (Step::RemoveImport { name, .. }, Written::Removed) => {
                self.imports.remove(name);
                self.applied_imports.remove(name);
            }
            (Step::RemoveSlice { name, .. }, Written::Removed) => {
                self.slices.remove(name);
                self.applied_slices.remove(name);
            }
            (Step::Property { name, value }, Written::Property(Property::Another(said))) => {
                let ours = value.as_deref().unwrap_or("(none)");
                self.problems.push(format!(
                    "ClusterProperty {name} says {said:?}, and was written by somebody else; ours would be {ours}: remove \
                     it, or call the cluster or clusterset so"
                ));
                return;
            }
            (Step::Property { .. }, Written::Property(Property::NoneSuch)) => {
                self.later.insert((now + ABSENT, task));
                return;
            }
            (Step::Property { .. }, _) => return,
            (_, Written::Absent) => {
                self.absent_until = Some(now + ABSENT);
                self.later.insert((now + ABSENT, task));
                return;
            }
            _ => {}
        }
        self.dirty.insert(task);
    }

    /// A step was not done, or is not known to be: it is looked at again at that time.
    pub(crate) fn handle_failed(&mut self, step: &Step, again: Duration) {
        let task = step.task();
        self.busy.remove(&task);
        self.later.insert((again, task));
    }

    /// What an operator ought to know, once each.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }
}

fn import_of(slice: &ObjectName, derived: &DerivedSlice) -> ObjectName {
    ObjectName { namespace: slice.namespace.clone(), name: derived.import.clone() }
}

fn ready(outcome: &Outcome) -> Condition {
    match &outcome.problem {
        None => Condition::new("Ready", "True", "Ready", "clients reach it"),
        Some(problem @ Problem::Family { .. }) => {
            Condition::new("Ready", "False", "IPFamilyNotSupported", problem.to_string())
        }
        Some(problem @ Problem::Exhausted(_)) => {
            Condition::new("Ready", "False", "Pending", problem.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
