//! What has not been taken yet: each object once, as it is last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::{Change, Key, Object};

use crate::manifest::Id;
use crate::multicluster::Fact;
use crate::{Complaint, Event};

/// The most changes of one event.
const BATCH: usize = 10_000;

/// What is to be said. Bounded by what there is, however long it waits.
#[derive(Debug, Default)]
pub(super) struct Pending {
    upserts: BTreeMap<Key, Object>,
    /// An endpoint is deleted before its service, which sorts before it.
    deletes: BTreeSet<Reverse<Key>>,
    complaints: BTreeMap<Id, Vec<Complaint>>,
    facts: BTreeMap<Id, Fact>,
    notes: Option<Vec<String>>,
}

impl Pending {
    pub(super) fn change(&mut self, change: Change) {
        let key = change.key();
        match change {
            Change::Upsert(object) => {
                self.deletes.remove(&Reverse(key.clone()));
                self.upserts.insert(key, object);
            }
            Change::Delete(_) => {
                self.upserts.remove(&key);
                self.deletes.insert(Reverse(key));
            }
        }
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.facts.insert(fact.id(), fact);
    }

    pub(super) fn complain(&mut self, id: Id, complaints: Vec<Complaint>) {
        self.complaints.insert(id, complaints);
    }

    pub(super) fn note(&mut self, notes: Vec<String>) {
        self.notes = Some(notes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upserts.is_empty()
            && self.deletes.is_empty()
            && self.complaints.is_empty()
            && self.facts.is_empty()
            && self.notes.is_none()
    }

    /// The next thing to say: what goes before what comes, services before their endpoints, the network before what is
    /// wrong with it.
    pub(super) fn take(&mut self) -> Option<Event> {
        let mut changes = Vec::new();
        while changes.len() < BATCH {
            if let Some(Reverse(key)) = self.deletes.pop_first() {
                changes.push(Change::Delete(key));
            } else if let Some((_, object)) = self.upserts.pop_first() {
                changes.push(Change::Upsert(object));
            } else {
                break;
            }
        }
        if !changes.is_empty() {
            return Some(Event::Changes(changes));
        }
        if !self.facts.is_empty() {
            return Some(Event::Facts(std::mem::take(&mut self.facts).into_values().collect()));
        }
        if let Some((id, complaints)) = self.complaints.pop_first() {
            return Some(Event::Object { id, complaints });
        }
        self.notes.take().map(Event::Notes)
    }
}

#[cfg(test)]
mod tests {
    use model::{ClusterName, NodeName, ObjectName, ServiceKey};

    use super::*;

    #[test]
    fn each_object_once_and_in_order() {
        let cluster = ClusterName::new("aws").unwrap();
        let key = |name: &str| ServiceKey {
            cluster: cluster.clone(),
            name: ObjectName::new("demo", name).unwrap(),
        };
        let service = |name: &str| {
            let key = key(name);
            Change::Upsert(Object::Service(model::Service {
                headless: true,
                shared: true,
                ..model::Service::new(key, vec![], vec![])
            }))
        };
        let node = Change::Delete(Key::Node(NodeName::new(cluster.clone(), "n").unwrap()));
        let gone = |name: &str| Change::Delete(Key::Service(key(name)));
        let mut pending = Pending::default();
        for change in [service("a"), gone("a"), service("b"), gone("c"), service("c"), node.clone()] {
            pending.change(change);
        }
        pending.note(vec!["first".into()]);
        pending.note(vec!["second".into()]);
        assert_eq!(pending.take(), Some(Event::Changes(vec![gone("a"), node, service("b"), service("c")])));
        assert_eq!(pending.take(), Some(Event::Notes(vec!["second".into()])));
        assert_eq!(pending.take(), None);
        assert!(pending.is_empty());
    }
}
