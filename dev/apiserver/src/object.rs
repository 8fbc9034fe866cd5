//! One stored object: its JSON as it goes over the wire, and beside it what is searched for.

use hyper::body::Bytes;
use serde_json::{Map, Value};

use crate::kind::Kind;

/// A stored object. Never changed: a write makes another.
#[derive(Debug)]
pub(crate) struct Object {
    /// `namespace/name`, or the name: the order in which lists come.
    pub(crate) key: Box<str>,
    pub(crate) version: u64,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
    /// What field selectors may ask for beyond the name: few kinds have any.
    pub(crate) fields: Vec<(&'static str, Box<str>)>,
    /// Everything but `kind` and `apiVersion`.
    pub(crate) json: Bytes,
}

impl Object {
    /// Encodes an object under a version.
    pub(crate) fn new(kind: &Kind, mut value: Value, version: u64) -> Object {
        value["metadata"]["resourceVersion"] = version.to_string().into();
        if let Some(map) = value.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into())).collect();
        let mut fields = Vec::new();
        for path in ["spec.nodeName", "status.phase", "status.podIP", "type"] {
            if kind.selects(path) {
                let found = path.split('.').fold(&value, |v, step| &v[step]);
                fields.push((path, found.as_str().unwrap_or_default().into()));
            }
        }
        let (namespace, name) = (text(&value, "namespace"), text(&value, "name"));
        let key = key(if kind.namespaced { namespace } else { "" }, name).into();
        let json = Bytes::from(value.to_string());
        Object { key, version, labels, fields, json }
    }

    /// The object as a value to work on, without kind and version.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the store holds what it encoded itself")
    }

    /// The whole object's JSON.
    pub(crate) fn whole(&self, kind: &Kind) -> Bytes {
        let mut bytes = kind.head().into_bytes();
        bytes.extend_from_slice(&self.json[1..]);
        bytes.into()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }
}

/// The key of an object, or with an empty name the prefix of a namespace's keys.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") }
}

/// A text in the object's metadata; empty if it is not there.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

/// The metadata, to be changed.
pub(crate) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = Value::Object(Map::new());
    }
    value["metadata"].as_object_mut().expect("it was made an object above")
}
