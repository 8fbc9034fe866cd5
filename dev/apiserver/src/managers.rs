//! Who owns which field: `metadata.managedFields`.

use serde_json::{Value, json};

use crate::clock;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::merge;
use crate::object::metadata;
use crate::owned::{self, Set};

/// Who writes: the manager's name and the part of the object that is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) applies: bool,
    pub(crate) subresource: String,
}

/// The managers of one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Managers(Vec<(Manager, String, String, Set)>);

impl Managers {
    pub(crate) fn of(object: &Value) -> Managers {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        Managers(
            entries
                .map(|e| {
                    let manager = Manager {
                        name: text(&e["manager"]),
                        applies: e["operation"] == "Apply",
                        subresource: text(&e["subresource"]),
                    };
                    (manager, text(&e["apiVersion"]), text(&e["time"]), Set::parse(&e["fieldsV1"]))
                })
                .collect(),
        )
    }

    /// Writes them into the object.
    pub(crate) fn put(&self, object: &mut Value) {
        let entries = self.0.iter().map(|(manager, version, time, set)| {
            let operation = if manager.applies { "Apply" } else { "Update" };
            let mut entry = json!({
                "manager": manager.name, "operation": operation, "apiVersion": version, "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": set.encode(),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = manager.subresource.as_str().into();
            }
            entry
        });
        let entries: Vec<Value> = entries.collect();
        metadata(object).insert("managedFields".into(), entries.into());
    }

    fn set(&mut self, manager: &Manager, kind: &Kind, set: Set) {
        let at = self.0.iter().position(|(m, ..)| m == manager);
        match at {
            Some(at) if self.0[at].3 == set => {}
            Some(at) => (self.0[at].2, self.0[at].3) = (clock::now(), set),
            None => self.0.push((manager.clone(), kind.api_version(), clock::now(), set)),
        }
        self.0.retain(|(.., set)| !set.is_empty());
    }

    /// An update made `new` of `old`: what differs is the writer's from now on.
    pub(crate) fn updated(&mut self, manager: &Manager, kind: &Kind, old: &Value, new: &Value) {
        let (before, after) = (owned::fields(kind, old), owned::fields(kind, new));
        let mut gone = before.clone();
        gone.subtract(&after);
        let mut touched = after.clone();
        let mut everything = before.clone();
        everything.add(&after);
        touched = touched.and(&merge::differing(old, new, &everything));
        // A field that is new is touched too, even if it holds nothing yet.
        let mut fresh = after;
        fresh.subtract(&before);
        touched.add(&fresh);
        for (other, _, _, set) in &mut self.0 {
            set.subtract(&gone);
            if other != manager {
                set.subtract(&touched);
            }
        }
        let mut mine =
            self.0.iter().find(|(m, ..)| m == manager).map(|(.., s)| s.clone()).unwrap_or_default();
        mine.add(&touched);
        self.set(manager, kind, mine);
    }

    /// Server-side apply: what the object becomes, or who stands in the way.
    pub(crate) fn apply(
        &mut self,
        manager: &Manager,
        kind: &Kind,
        live: &Value,
        applied: &Value,
        force: bool,
    ) -> Result<Value, Failure> {
        let set = owned::fields(kind, applied);
        let changed = merge::differing(live, applied, &set);
        let mut conflicts = Vec::new();
        for (other, version, _, theirs) in &mut self.0 {
            if other == manager {
                continue;
            }
            let both = theirs.and(&changed);
            if force {
                theirs.subtract(&both);
            } else {
                let part = match other.subresource.as_str() {
                    "" => String::new(),
                    part => format!(" with subresource {part:?}"),
                };
                let who = format!("{:?}{part} using {version}", other.name);
                conflicts.extend(both.paths().into_iter().map(|path| (who.clone(), path)));
            }
        }
        if !conflicts.is_empty() {
            return Err(Failure::owned_by_others(&conflicts));
        }
        let mut merged = live.clone();
        merge::overlay(kind, &mut merged, applied);
        // What this manager applied before and leaves out now goes, unless somebody else has it too.
        let before = self.0.iter().find(|(m, ..)| m == manager).map(|(.., s)| s.clone());
        let mut dropped = before.unwrap_or_default();
        dropped.subtract(&set);
        for (other, .., theirs) in &self.0 {
            if other != manager {
                dropped.subtract(theirs);
            }
        }
        merge::remove(&mut merged, &dropped);
        self.set(manager, kind, set);
        Ok(merged)
    }
}
