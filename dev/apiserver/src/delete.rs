//! Deletion: at once, or once the finalizers and a pod's grace are over; and what goes with a namespace.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::crd;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Object, metadata, text};
use crate::store::Store;
use crate::write::Write;

/// Whether an object that is being deleted has nothing left to wait for.
pub(crate) fn is_due(value: &Value) -> bool {
    let meta = &value["metadata"];
    meta["deletionTimestamp"].is_string()
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
        && meta["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
}

/// Removes an object; `last` is what it was, under the store's next version.
pub(crate) fn remove(store: &mut Store, kind: &Kind, last: &Arc<Object>) {
    store.remove(&kind.resource(), last.clone());
    crd::removed(store, kind, last);
}

impl Write {
    /// Deletes the object. What is answered: the object if it is still there, or if the kind answers with it.
    pub(crate) fn delete(&self, store: &mut Store, options: &Value) -> Result<(Arc<Object>, bool), Failure> {
        let live = self.live(store)?;
        let mut value = live.value();
        let (kind, name) = (&self.kind, &self.name);
        for (field, called) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = options["preconditions"][field].as_str().unwrap_or_default();
            let found = text(&value, field);
            if !wanted.is_empty() && wanted != found {
                let why = format!(
                    "Precondition failed: {called} in precondition: {wanted}, {called} in object meta: {found}"
                );
                return Err(Failure::conflict(&kind.group, &kind.plural, name, &why));
            }
        }
        if kind.kind == "Namespace" {
            if matches!(name.as_str(), "default" | "kube-system" | "kube-public") {
                let why = "this namespace may not be deleted";
                return Err(Failure::forbidden("", "namespaces", name, why));
            }
            if !self.dry_run {
                return self.delete_namespace(store, value);
            }
        }
        let grace = grace(kind, &value, options);
        let finalizers = value["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let already = value["metadata"]["deletionTimestamp"].is_string();
        if already && (finalizers || grace > 0) {
            return Ok((live, true));
        }
        let meta = metadata(&mut value);
        meta.insert("deletionTimestamp".into(), clock::after(Duration::from_secs(grace)).into());
        meta.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let (true, Some(generation)) = (kind.generation && !already, meta.get("generation")) {
            let next = generation.as_u64().unwrap_or(0) + 1;
            meta.insert("generation".into(), next.into());
        }
        let waits = finalizers || grace > 0;
        if !waits {
            // The last state that watchers see is the object as it was.
            value = live.value();
        }
        let object = Arc::new(Object::new(kind, value, store.next()));
        if self.dry_run {
            return Ok((object, waits));
        }
        if waits {
            store.put(&kind.resource(), object.clone());
        } else {
            remove(store, kind, &object);
        }
        Ok((object, waits))
    }

    fn delete_namespace(&self, store: &mut Store, mut value: Value) -> Result<(Arc<Object>, bool), Failure> {
        let kind = &self.kind;
        metadata(&mut value).insert("deletionTimestamp".into(), clock::now().into());
        value["status"]["phase"] = json!("Terminating");
        let terminating = Arc::new(Object::new(kind, value, store.next()));
        store.put(&kind.resource(), terminating.clone());
        // What the namespace controller does, without its leisure. Finalizers inside are not waited for.
        let prefix = format!("{}/", self.name);
        for kind in store.kinds().to_vec().into_iter().filter(|k| k.namespaced) {
            let resource = kind.resource();
            let Ok(table) = store.table(&resource) else { continue };
            let inside: Vec<Arc<Object>> =
                table.objects.values().filter(|o| o.key.starts_with(&prefix)).cloned().collect();
            for object in inside {
                let last = Arc::new(Object::new(&kind, object.value(), store.next()));
                remove(store, &kind, &last);
            }
        }
        let last = Arc::new(Object::new(kind, terminating.value(), store.next()));
        remove(store, kind, &last);
        Ok((terminating, true))
    }
}

/// How long a pod that runs on a node is left to end; nothing else waits.
fn grace(kind: &Kind, value: &Value, options: &Value) -> u64 {
    let runs = kind.resource() == "pods"
        && value["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty())
        && !matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !runs {
        return 0;
    }
    let own = value["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    options["gracePeriodSeconds"].as_u64().unwrap_or(own)
}
