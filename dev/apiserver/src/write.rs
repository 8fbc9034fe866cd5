//! Create, update, patch and apply: what a write makes of an object, and when it is refused.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::crd;
use crate::defaults;
use crate::delete;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::managers::{Manager, Managers};
use crate::merge;
use crate::object::{Object, key, metadata, text};
use crate::store::Store;

/// Where and how something is written.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
}

impl Write {
    fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Failure {
        Failure::not_found(&self.kind.group, &self.kind.plural, &self.name)
    }

    fn conflict(&self, why: &str) -> Failure {
        Failure::conflict(&self.kind.group, &self.kind.plural, &self.name, why)
    }

    fn by(&self, applies: bool) -> Manager {
        Manager { name: self.manager.clone(), applies, subresource: self.subresource.clone() }
    }

    pub(crate) fn live(&self, store: &Store) -> Result<Arc<Object>, Failure> {
        store.get(&self.kind.resource(), &self.key()).ok_or_else(|| self.not_found())
    }

    /// Creates `value`, which may name itself or have a name generated.
    pub(crate) fn create(mut self, store: &mut Store, mut value: Value) -> Result<Arc<Object>, Failure> {
        let by = self.by(false);
        if self.name.is_empty() {
            self.name = text(&value, "name").to_string();
        }
        if self.name.is_empty() {
            let stem = text(&value, "generateName").to_string();
            if stem.is_empty() {
                let (kind, why) = (&self.kind, "Required value: name or generateName is required");
                let field = "metadata.name";
                return Err(Failure::invalid(&kind.group, &kind.kind, "", field, "FieldValueRequired", why));
            }
            self.name = format!("{stem}{}", store.suffix());
        }
        if !text(&value, "resourceVersion").is_empty() {
            // The real server has no better word for it either.
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Failure::new(500, "", why));
        }
        metadata(&mut value).remove("managedFields");
        self.reset(&mut value, None);
        self.finish_new(store, value, by)
    }

    /// What creation by any verb has in common.
    fn finish_new(&self, store: &mut Store, mut value: Value, by: Manager) -> Result<Arc<Object>, Failure> {
        let kind = &self.kind;
        if kind.namespaced {
            let space = store.get("namespaces", &self.namespace);
            let space = space.ok_or_else(|| Failure::not_found("", "namespaces", &self.namespace))?;
            if space.value()["status"]["phase"] == "Terminating" {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    self.namespace
                );
                return Err(Failure::forbidden(&kind.group, &kind.plural, &self.name, &why));
            }
        }
        let uid = store.uid();
        let meta = metadata(&mut value);
        meta.insert("name".into(), self.name.clone().into());
        if kind.namespaced {
            meta.insert("namespace".into(), self.namespace.clone().into());
        }
        meta.insert("uid".into(), uid.into());
        meta.insert("creationTimestamp".into(), clock::now().into());
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"] {
            meta.remove(field);
        }
        if kind.generation {
            meta.insert("generation".into(), 1.into());
        }
        defaults::fill(store, kind, &mut value);
        defaults::check(kind, &value)?;
        if store.get(&kind.resource(), &self.key()).is_some() {
            return Err(Failure::already_exists(&kind.group, &kind.plural, &self.name));
        }
        if !by.applies {
            let mut managers = Managers::of(&json!({}));
            managers.updated(&by, kind, &json!({}), &value);
            managers.put(&mut value);
        }
        crd::prepare(kind, &mut value);
        let object = Arc::new(Object::new(kind, value, store.next()));
        if !self.dry_run {
            store.put(&kind.resource(), object.clone());
            crd::written(store, kind, &object);
        }
        Ok(object)
    }

    /// Replaces the object by `value`.
    pub(crate) fn update(&self, store: &mut Store, value: Value) -> Result<Arc<Object>, Failure> {
        let live = self.live(store)?;
        if text(&value, "resourceVersion").is_empty() && !self.kind.replaces_blindly() {
            let why = "Invalid value: 0x0: must be specified for an update";
            let (group, plural) = (&self.kind.group, &self.kind.plural);
            let field = "metadata.resourceVersion";
            return Err(Failure::invalid(group, plural, &self.name, field, "FieldValueInvalid", why));
        }
        self.replace(store, &live, value)
    }

    /// Changes the object by a merge patch.
    pub(crate) fn merge(&self, store: &mut Store, patch: &Value) -> Result<Arc<Object>, Failure> {
        let live = self.live(store)?;
        let mut value = live.value();
        metadata(&mut value).remove("resourceVersion");
        merge::patch(&mut value, patch);
        self.replace(store, &live, value)
    }

    fn replace(&self, store: &mut Store, live: &Object, mut value: Value) -> Result<Arc<Object>, Failure> {
        let old = live.value();
        self.preconditions(&old, &value)?;
        self.reset(&mut value, Some(&old));
        defaults::fill(store, &self.kind, &mut value);
        let mut managers = Managers::of(&old);
        managers.updated(&self.by(false), &self.kind, &old, &value);
        self.finish(store, live, old, value, managers)
    }

    /// Server-side apply.
    pub(crate) fn apply(
        &self,
        store: &mut Store,
        mut applied: Value,
        force: bool,
    ) -> Result<(Arc<Object>, bool), Failure> {
        if !applied["metadata"]["managedFields"].is_null() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let by = self.by(true);
        let meta = metadata(&mut applied);
        let (version, uid) = (meta.remove("resourceVersion"), meta.remove("uid"));
        let Ok(live) = self.live(store) else {
            if !self.subresource.is_empty() {
                return Err(self.not_found());
            }
            if uid.is_some() || version.is_some() {
                return Err(self.conflict("uid mismatch: the object does not exist"));
            }
            self.reset(&mut applied, None);
            let mut managers = Managers::of(&json!({}));
            let value = managers.apply(&by, &self.kind, &json!({}), &applied, force)?;
            let mut value = value;
            managers.put(&mut value);
            return Ok((self.finish_new(store, value, by)?, true));
        };
        let old = live.value();
        let claims = json!({ "metadata": { "resourceVersion": version, "uid": uid } });
        self.preconditions(&old, &claims)?;
        self.only_mine(&mut applied);
        let mut managers = Managers::of(&old);
        let mut value = managers.apply(&by, &self.kind, &old, &applied, force)?;
        self.reset(&mut value, Some(&old));
        defaults::fill(store, &self.kind, &mut value);
        Ok((self.finish(store, &live, old, value, managers)?, false))
    }

    /// Leaves of an applied object what this part of it may write.
    fn only_mine(&self, applied: &mut Value) {
        let Some(map) = applied.as_object_mut() else { return };
        match self.subresource.as_str() {
            "status" => {
                map.retain(|field, _| matches!(field.as_str(), "status" | "metadata"));
                if self.kind.custom.is_some() {
                    map.remove("metadata");
                }
            }
            _ if self.kind.status => drop(map.remove("status")),
            _ => {}
        }
    }

    fn preconditions(&self, old: &Value, new: &Value) -> Result<(), Failure> {
        let differs = |field: &str| !text(new, field).is_empty() && text(new, field) != text(old, field);
        if differs("uid") {
            return Err(self.conflict(&format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                text(new, "uid"),
                text(old, "uid")
            )));
        }
        if differs("resourceVersion") {
            return Err(self.conflict(
                "the object has been modified; please apply your changes to the latest version and try again",
            ));
        }
        Ok(())
    }

    /// Puts back what this write may not change.
    fn reset(&self, value: &mut Value, old: Option<&Value>) {
        if let Some(map) = value.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        let null = json!({});
        let restore = |value: &mut Value, from: &Value, field: &str| match &from[field] {
            Value::Null => {
                value.as_object_mut().map(|m| m.remove(field));
            }
            other => value[field] = other.clone(),
        };
        // A kubelet registers its node with a status; every other kind begins without one.
        if self.subresource.is_empty() && self.kind.status && !(old.is_none() && self.kind.kind == "Node") {
            restore(value, old.unwrap_or(&null), "status");
        }
        let Some(old) = old else { return };
        if self.subresource == "status" {
            let status = value["status"].take();
            let labels = value["metadata"].take();
            *value = old.clone();
            value["status"] = status;
            if value["status"].is_null() {
                value.as_object_mut().map(|m| m.remove("status"));
            }
            if self.kind.custom.is_none() && labels.is_object() {
                value["metadata"] = labels;
            }
        }
        let fixed = [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
            "deletionGracePeriodSeconds",
            "generateName",
            "managedFields",
            "resourceVersion",
        ];
        metadata(value);
        for field in fixed {
            restore(&mut value["metadata"], &old["metadata"], field);
        }
    }

    /// Stores `value` if it is anything new.
    fn finish(
        &self,
        store: &mut Store,
        live: &Object,
        old: Value,
        mut value: Value,
        managers: Managers,
    ) -> Result<Arc<Object>, Failure> {
        let kind = &self.kind;
        defaults::check(kind, &value)?;
        if kind.generation && self.subresource.is_empty() && content(&old) != content(&value) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            metadata(&mut value).insert("generation".into(), generation.into());
        }
        // An object that came without managers keeps none of its past: only what is written from now on is owned.
        managers.put(&mut value);
        if value["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty) {
            metadata(&mut value).remove("managedFields");
        }
        let resource = kind.resource();
        if value == old {
            return Ok(store.get(&resource, &live.key).expect("it was read under the same lock"));
        }
        crd::prepare(kind, &mut value);
        let gone = delete::is_due(&value);
        let object = Arc::new(Object::new(kind, value, store.next()));
        if self.dry_run {
            return Ok(object);
        }
        if gone {
            delete::remove(store, kind, &object);
        } else {
            store.put(&resource, object.clone());
            crd::written(store, kind, &object);
        }
        Ok(object)
    }
}

/// Everything but metadata and status: what `generation` counts.
fn content(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.retain(|field, _| !matches!(field.as_str(), "metadata" | "status"));
    }
    value
}
