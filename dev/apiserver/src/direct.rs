//! Writing past the API: how a test sets its scene.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::crd;
use crate::defaults;
use crate::delete;
use crate::object::{Object, key, metadata, text};
use crate::store::Store;

/// Makes a namespace if it is not there.
pub(crate) fn namespace(store: &mut Store, name: &str) {
    if store.get("namespaces", name).is_none() {
        apply(store, json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    }
}

/// Stores an object as it is given, and returns it as it is stored.
pub(crate) fn apply(store: &mut Store, mut value: Value) -> Value {
    let (version, name) = (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str());
    let kind = store.kind_of(version, name.unwrap_or_default());
    let kind = kind.unwrap_or_else(|| panic!("{version} {name:?} is not served: {value}"));
    let space = if kind.namespaced { text(&value, "namespace").to_string() } else { String::new() };
    let space = if kind.namespaced && space.is_empty() { "default".to_string() } else { space };
    if kind.namespaced {
        namespace(store, &space);
        metadata(&mut value).insert("namespace".into(), space.clone().into());
    }
    let resource = kind.resource();
    let live = store.get(&resource, &key(&space, text(&value, "name"))).map(|o| o.value());
    let uid = store.uid();
    let meta = metadata(&mut value);
    let null = Value::Null;
    let old = live.as_ref().map_or(&null, |l| &l["metadata"]);
    let keep = |field: &str, fresh: Value| if old[field].is_null() { fresh } else { old[field].clone() };
    meta.entry("uid").or_insert_with(|| keep("uid", uid.into()));
    meta.entry("creationTimestamp").or_insert_with(|| keep("creationTimestamp", clock::now().into()));
    if !old["managedFields"].is_null() {
        meta.entry("managedFields").or_insert_with(|| old["managedFields"].clone());
    }
    let generation = old["generation"].as_u64().unwrap_or(0);
    if let (Some(live), true) = (&live, value["status"].is_null())
        && !live["status"].is_null()
    {
        value["status"] = live["status"].clone();
    }
    defaults::fill(store, &kind, &mut value);
    if let Some(map) = value.as_object_mut() {
        map.retain(|field, v| !v.is_null() && field != "kind" && field != "apiVersion");
    }
    if kind.generation {
        let same = live.as_ref().is_some_and(|l| {
            l.as_object()
                .into_iter()
                .flatten()
                .chain(value.as_object().into_iter().flatten())
                .all(|(f, _)| matches!(f.as_str(), "metadata" | "status") || l[f] == value[f])
        });
        let next = if same { generation } else { generation + 1 };
        metadata(&mut value).entry("generation").or_insert(next.into());
    }
    crd::prepare(&kind, &mut value);
    let object = Arc::new(Object::new(&kind, value, store.next()));
    store.put(&resource, object.clone());
    crd::written(store, &kind, &object);
    serde_json::from_slice(&object.whole(&kind)).expect("the store encoded it itself")
}

/// Removes an object, whatever its finalizers say.
pub(crate) fn delete(store: &mut Store, resource: &str, key: &str) -> bool {
    let Some(object) = store.get(resource, key) else { return false };
    let kind = store.kinds().iter().find(|k| k.resource() == resource).cloned().expect("it has objects");
    let last = Arc::new(Object::new(&kind, object.value(), store.next()));
    delete::remove(store, &kind, &last);
    true
}
