//! From files to changes: the folder, the virtual addresses and the index together. Does no waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use model::{Change, Cluster, Key, ObjectName};

use super::folder::{Folder, Report};
use super::text;
use super::vips::Vips;
use crate::Complaint;
use crate::index::{Endpoints, Index, Unsaid};
use crate::manifest::{Id, Kind, Manifest};
use crate::multicluster::Fact;

/// The file in the folder that remembers which service has which address.
const MEMORY: &str = ".vips.json";

/// What a reading of files says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) changes: Vec<Change>,
    /// What is different of namespaces, exports and imports.
    pub(super) facts: Vec<Fact>,
    pub(super) problems: Vec<String>,
    /// What is wrong with single objects, where that is different now.
    pub(super) complaints: Vec<(Id, Vec<Complaint>)>,
    /// The notes, if they are others now.
    pub(super) notes: Option<Vec<String>>,
}

/// A folder as a source of changes.
#[derive(Debug)]
pub(super) struct Source {
    folder: Folder,
    index: Index,
    vips: Vips,
    /// Services that cannot have the addresses they ask for, tried again whenever others change.
    refused: BTreeSet<Id>,
    /// The notes as they were last said.
    notes: Vec<String>,
}

impl Source {
    pub(super) fn new(folder: Folder, cluster: Cluster, unsaid: Unsaid) -> Self {
        let vips = Vips::new(cluster.service_cidrs.clone());
        let index = Index::new(cluster, Endpoints::FromSelectors).with_unsaid(unsaid);
        Self { folder, index, vips, refused: BTreeSet::new(), notes: Vec::new() }
    }

    /// Reads everything for the first time.
    pub(super) fn load(&mut self) -> io::Result<Said> {
        let report = self.folder.scan()?;
        let mut problems = Vec::new();
        let mut remembered = self.remembered(&mut problems);
        remembered.retain(|name, _| self.folder.get(&service_id(name)).is_some());
        self.vips.restore(remembered);
        let mut said = self.take_in(report);
        said.problems.splice(0..0, problems);
        Ok(said)
    }

    /// Reads every file that is not as it was.
    pub(super) fn rescan(&mut self) -> io::Result<Said> {
        let report = self.folder.scan()?;
        Ok(self.take_in(report))
    }

    /// Reads these files.
    pub(super) fn reread(&mut self, names: impl IntoIterator<Item = String>) -> Said {
        let mut report = Report::default();
        for name in names {
            self.folder.read(&name, &mut report);
        }
        self.take_in(report)
    }

    fn take_in(&mut self, report: Report) -> Said {
        let Report { ids, problems } = report;
        let mut said = Said { problems, ..Said::default() };
        let (present, gone): (Vec<Id>, Vec<Id>) =
            ids.into_iter().partition(|id| self.folder.get(id).is_some());
        for id in gone.iter().rev() {
            if let Some(name) = service_name(id) {
                self.vips.release(&name);
                self.refused.remove(id);
            }
            said.changes.extend(self.index.delete(id));
        }
        let (mut services, others): (Vec<Id>, Vec<Id>) =
            present.into_iter().partition(|id| id.kind == Kind::Service);
        let retry = !services.is_empty() || gone.iter().any(|id| id.kind == Kind::Service);
        // Those that ask for an address come before those that take any.
        services.sort_by_key(|id| !self.asks_for_address(id));
        for id in others.iter().filter(|id| id.kind < Kind::Service) {
            self.apply(id, &mut said);
        }
        for id in &services {
            self.apply_service(id, Some(&mut said.problems), &mut said.changes);
        }
        if retry {
            let waiting: Vec<Id> = self.refused.iter().filter(|id| !services.contains(id)).cloned().collect();
            waiting.iter().for_each(|id| self.apply_service(id, None, &mut said.changes));
        }
        for id in others.iter().filter(|id| id.kind > Kind::Service) {
            self.apply(id, &mut said);
        }
        said.changes = last_of_each(said.changes);
        said.facts = self.index.take_facts();
        said.complaints = self.index.take_complaints();
        let notes = self.index.notes();
        if notes != self.notes {
            self.notes.clone_from(&notes);
            said.notes = Some(notes);
        }
        self.remember(&mut said.problems);
        said
    }

    fn apply(&mut self, id: &Id, said: &mut Said) {
        if let Some(manifest) = self.folder.get(id) {
            said.changes.extend(self.index.apply(manifest));
        }
    }

    /// Gives a service its addresses and applies it. One that is refused stays as it was before.
    fn apply_service(&mut self, id: &Id, problems: Option<&mut Vec<String>>, changes: &mut Vec<Change>) {
        let (Some(Manifest::Service(service)), Some(name)) = (self.folder.get(id), service_name(id)) else {
            return;
        };
        let mut service: Box<Service> = service.clone();
        match self.vips.settle(&name, service.spec.get_or_insert_default()) {
            Ok(()) => {
                self.refused.remove(id);
                changes.extend(self.index.apply(&Manifest::Service(service)));
            }
            Err(reason) => {
                self.refused.insert(id.clone());
                let problem = || format!("{}: {id}: {reason}", self.folder.place(id));
                problems.into_iter().for_each(|problems| problems.push(problem()));
            }
        }
    }

    fn asks_for_address(&self, id: &Id) -> bool {
        let Some(Manifest::Service(service)) = self.folder.get(id) else { return false };
        service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.is_some() || spec.cluster_ips.is_some())
    }

    /// Which addresses were given when the folder was last watched. Memory that cannot be read is set aside.
    fn remembered(&self, problems: &mut Vec<String>) -> BTreeMap<ObjectName, Vec<IpAddr>> {
        let path = self.folder.dir().join(MEMORY);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                problems.push(format!("{}: {error}; services may get new addresses", path.display()));
                return BTreeMap::new();
            }
        };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            let aside = path.with_extension("json.bad");
            let outcome = match std::fs::rename(&path, &aside) {
                Ok(()) => format!("kept as {}", aside.display()),
                Err(error) => format!("and could not be set aside: {error}"),
            };
            problems.push(format!(
                "{}: {error}; {outcome}; services get their addresses anew, mostly the same ones",
                path.display()
            ));
            BTreeMap::new()
        })
    }

    fn remember(&mut self, problems: &mut Vec<String>) {
        if !self.vips.take_dirty() {
            return;
        }
        let text = serde_json::to_string_pretty(self.vips.held()).expect("names and addresses are text");
        if let Err(error) = text::write(self.folder.dir(), MEMORY, &text) {
            problems.push(format!(
                "{}: {error}; the addresses of services cannot be remembered across a restart; make the folder writable",
                self.folder.dir().join(MEMORY).display()
            ));
        }
    }
}

fn service_id(name: &ObjectName) -> Id {
    Id::new(Kind::Service, &name.namespace, &name.name)
}

fn service_name(id: &Id) -> Option<ObjectName> {
    (id.kind == Kind::Service).then(|| ObjectName::new(&id.namespace, &id.name).ok()).flatten()
}

/// The last change of each key, in the order in which those came.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let mut last: Vec<Change> =
        changes.into_iter().rev().filter(|change| seen.insert(change.key())).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests;
