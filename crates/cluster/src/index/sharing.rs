//! Namespaces that are not shared: their services stay in the cluster, and are one with nobody elsewhere.

use model::{Change, Object};

use super::complaint::From;
use super::{Index, Space};
use crate::Complaint;
use crate::manifest::{Id, Kind, Manifest};

/// The annotations of a Namespace that say whether it is shared: ours, Cilium's.
const SHARED: [&str; 2] = ["causeway.io/global", "clustermesh.cilium.io/global"];

impl Index {
    /// Takes an object in, new or changed. Says what is different now: a service before its endpoints.
    pub fn apply(&mut self, manifest: &Manifest) -> Vec<Change> {
        let mut changes = self.take_in(manifest);
        match manifest {
            Manifest::Namespace(object) => {
                let annotations = object.metadata.annotations.as_ref();
                let written = SHARED.iter().find_map(|key| Some((key, annotations?.get(*key)?)));
                let (said, wrong) = match written.map(|(key, value)| (key, value.as_str())) {
                    None => (None, None),
                    Some((_, "true")) => (Some(true), None),
                    Some((_, "false")) => (Some(false), None),
                    Some((key, _)) => (None, Some(not_a_word(key))),
                };
                let id = manifest.id();
                self.complaints.set(&id, From::Others, wrong.into_iter().collect());
                changes.extend(self.share(&id.name, said));
                self.settle_namespace(&id.name, &mut changes);
            }
            Manifest::Pod(_) => self.settle_namespace(&manifest.id().namespace, &mut changes),
            Manifest::ServiceExport(_) => {
                let id = manifest.id();
                self.look_at_sharing(&id);
            }
            _ => {}
        }
        self.veil(changes)
    }

    /// Takes an object out. Says what is different now: a service after its endpoints.
    pub fn delete(&mut self, id: &Id) -> Vec<Change> {
        let mut changes = self.take_out(id);
        if id.kind == Kind::Namespace {
            changes.extend(self.share(&id.name, None));
        }
        match id.kind {
            Kind::Namespace => self.settle_namespace(&id.name, &mut changes),
            Kind::Pod => self.settle_namespace(&id.namespace, &mut changes),
            _ => {}
        }
        self.veil(changes)
    }

    /// Whether other clusters hear of a namespace.
    pub(super) fn is_shared(&self, namespace: &str) -> bool {
        self.sharing.get(namespace).copied().unwrap_or(self.unsaid.shared)
    }

    /// A namespace says whether it is shared, or no more. Returns its services, if that makes a difference.
    fn share(&mut self, namespace: &str, said: Option<bool>) -> Vec<Change> {
        let before = self.is_shared(namespace);
        match said {
            Some(shared) => self.sharing.insert(namespace.into(), shared),
            None => self.sharing.remove(namespace),
        };
        if self.is_shared(namespace) == before {
            return Vec::new();
        }
        for id in self.ids(Kind::ServiceExport).into_iter().filter(|id| id.namespace == namespace) {
            self.look_at_sharing(&id);
            self.look_at_export(&id);
        }
        let services = self.spaces.get(namespace).into_iter().flat_map(Space::services);
        // Of the others nobody elsewhere hears anyway.
        let told = services.filter(|service| service.global || service.export.is_some());
        told.map(|service| Change::Upsert(Object::Service(service.clone()))).collect()
    }

    /// Complains of an export that comes to nothing.
    fn look_at_sharing(&mut self, id: &Id) {
        let shared = self.is_shared(&id.namespace);
        let complaints = if shared { Vec::new() } else { vec![not_shared(&id.namespace)] };
        self.complaints.set(id, From::Others, complaints);
    }

    /// Takes from services of namespaces that are not shared what others would hear of them by.
    fn veil(&self, mut changes: Vec<Change>) -> Vec<Change> {
        for change in &mut changes {
            if let Change::Upsert(Object::Service(service)) = change
                && !self.is_shared(&service.key.name.namespace)
            {
                service.global = false;
                service.export = None;
            }
        }
        changes
    }
}

fn not_a_word(key: &str) -> Complaint {
    let message = format!(
        "the annotation {key} is neither true nor false; it counts as left out, and the cluster's default holds"
    );
    Complaint { reason: "UnknownSharing", message }
}

fn not_shared(namespace: &str) -> Complaint {
    let message = format!(
        "the namespace {namespace} is not shared with other clusters, so nobody hears of the export; annotate the \
         namespace with {}: \"true\", or export from another",
        SHARED[0]
    );
    Complaint { reason: "NamespaceNotShared", message }
}
