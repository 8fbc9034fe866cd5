//! What is wrong with objects, as Events of Kubernetes beside them: `kubectl describe` shows them.
//!
//! One for each object and reason while it lasts; one that comes again is counted on, not more often than every ten
//! minutes. When there is something to say is [`Ledger`]'s to know; this file only says it.

mod ledger;

use std::hash::{Hash as _, Hasher as _};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, ResourceExt as _};
use kube::{Api, Client};
use serde_json::{Value, json};
use siphasher::sip::SipHasher13;

use super::Error;
use super::write::{self, Fields, PATIENCE, Remedy, answered, now};
use crate::manifest::{Id, Kind};

pub use ledger::{Ledger, Note};

/// As `reportingController` names us.
const CONTROLLER: &str = "causeway.io/controller";
/// What was attempted with the object.
const ACTION: &str = "Read";
/// Longest note, in bytes (events.k8s.io/v1).
const NOTE: usize = 1024;
/// Longest name of a reporting instance.
const INSTANCE: usize = 128;

/// Writes Events.
#[derive(Clone)]
pub struct Reporter {
    client: Client,
    instance: String,
}

impl Reporter {
    /// In the name of this controller.
    pub fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: truncated(instance, INSTANCE).into() }
    }

    /// Says one thing. An object that is gone needs nothing said.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn say(&self, note: &Note) -> Result<(), Error> {
        let Some(uid) = self.uid(&note.id).await? else { return Ok(()) };
        let event = event(note, uid, &self.instance);
        let name = event.name_any();
        let api = Api::<Event>::namespaced(self.client.clone(), &event.namespace().unwrap_or_default());
        match write::create(&api, "events", &name, &event).await {
            Ok(_) => Ok(()),
            // Said before: by us, and then it is counted on; or by whoever led before us, and then that is enough.
            Err(error) if error.remedy() == Remedy::Look && note.times > 1 => {
                match write::apply(&api, &name, &Series(&name, note.times)).await {
                    // It has been forgotten in this moment.
                    Err(error) if error.remedy() == Remedy::Repair => Ok(()),
                    other => other.map(drop),
                }
            }
            Err(error) if error.remedy() == Remedy::Look => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The object's uid, by which `kubectl describe` finds the Event.
    async fn uid(&self, id: &Id) -> Result<Option<String>, Error> {
        let Some(resource) = resource(id.kind) else { return Ok(Some(String::new())) };
        let api: Api<DynamicObject> = match id.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let action = || format!("get {}/{}", resource.plural, id.name);
        let object = answered(action, PATIENCE, api.get_metadata_opt(&id.name)).await?;
        Ok(object.map(|object| object.uid().unwrap_or_default()))
    }
}

/// The kinds whose uid is looked up: those with much to be wrong.
const LOOKED_UP: [Kind; 5] = [Kind::Node, Kind::Service, Kind::Pod, Kind::EndpointSlice, Kind::Peer];

fn resource(kind: Kind) -> Option<ApiResource> {
    if !LOOKED_UP.contains(&kind) {
        return None;
    }
    let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
    let gvk = kube::api::GroupVersionKind::gvk(group, version, kind.as_str());
    Some(ApiResource::from_gvk_with_plural(&gvk, &kind.plural()))
}

fn event(note: &Note, uid: String, instance: &str) -> Event {
    let Note { id, reason, message, times: _ } = note;
    let namespace = if id.namespace.is_empty() { "default" } else { &id.namespace };
    Event {
        metadata: ObjectMeta {
            name: Some(name(note)),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now())),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(instance.into()),
        action: Some(ACTION.into()),
        reason: Some((*reason).into()),
        note: Some(truncated(message, NOTE).into()),
        type_: Some("Warning".into()),
        regarding: Some(ObjectReference {
            api_version: Some(id.kind.api_version().into()),
            kind: Some(id.kind.as_str().into()),
            name: Some(id.name.clone()),
            namespace: (!id.namespace.is_empty()).then(|| id.namespace.clone()),
            uid: (!uid.is_empty()).then_some(uid),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The same for every controller that says the same of the same object.
fn name(note: &Note) -> String {
    let mut hasher = SipHasher13::new();
    (note.id.kind.as_str(), &note.id.namespace, &note.id.name, note.reason, &note.message).hash(&mut hasher);
    format!("{}.{:016x}", truncated(&note.id.name, 200).trim_end_matches(['-', '.']), hasher.finish())
}

/// The longest beginning that is not longer than this, in bytes.
fn truncated(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// That something was seen so many times.
struct Series<'a>(&'a str, u32);

impl Fields for Series<'_> {
    fn resource(&self) -> &'static str {
        "events"
    }

    fn value(&self) -> Value {
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": self.0 },
            "series": { "count": self.1, "lastObservedTime": MicroTime(now()) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(namespace: &str, kind: Kind, name: &str, message: &str) -> Note {
        Note { id: Id::new(kind, namespace, name), reason: "PortZero", message: message.into(), times: 1 }
    }

    #[test]
    fn events_keep_to_their_limits() {
        let long = "é".repeat(700);
        let event = event(&note("demo", Kind::Pod, &"x".repeat(253), &long), "u".into(), "me");
        let text = event.note.unwrap();
        assert!(text.len() <= NOTE && text.len() > NOTE - 2);
        assert!(event.metadata.name.unwrap().len() <= 253);
        assert_eq!(event.metadata.namespace.as_deref(), Some("demo"));
        let of_node = super::event(&note("", Kind::Node, "a", "m"), String::new(), "me");
        assert_eq!(of_node.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(of_node.regarding.unwrap().namespace, None);
    }

    #[test]
    fn names_are_the_same_for_the_same() {
        let a = note("demo", Kind::Service, "web", "port 0");
        assert_eq!(name(&a), name(&Note { times: 9, ..a.clone() }));
        for other in [
            note("other", Kind::Service, "web", "port 0"),
            note("demo", Kind::Pod, "web", "port 0"),
            note("demo", Kind::Service, "web", "port 1"),
        ] {
            assert_ne!(name(&a), name(&other));
        }
    }
}
