//! Sets of fields, as `metadata.managedFields` writes them (`fieldsV1`), and what belongs into them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::kind::Kind;

/// A set of fields: `f:name` is a field, `k:{…}` an item of a list by its keys, `v:…` an item of a set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Set {
    pub(crate) here: bool,
    pub(crate) below: BTreeMap<String, Set>,
}

impl Set {
    pub(crate) fn parse(fields: &Value) -> Set {
        let Some(map) = fields.as_object() else { return Set::default() };
        let below: BTreeMap<_, _> =
            map.iter().filter(|(k, _)| *k != ".").map(|(k, v)| (k.clone(), Set::parse(v))).collect();
        Set { here: map.is_empty() || map.contains_key("."), below }
    }

    pub(crate) fn encode(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        map.extend(self.below.iter().map(|(k, v)| (k.clone(), v.encode())));
        Value::Object(map)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.below.is_empty()
    }

    pub(crate) fn and(&self, other: &Set) -> Set {
        let below = self.below.iter().filter_map(|(k, v)| {
            let both = v.and(other.below.get(k)?);
            (!both.is_empty()).then(|| (k.clone(), both))
        });
        Set { here: self.here && other.here, below: below.collect() }
    }

    pub(crate) fn add(&mut self, other: &Set) {
        self.here |= other.here;
        for (k, v) in &other.below {
            self.below.entry(k.clone()).or_default().add(v);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Set) {
        self.here &= !other.here;
        for (k, v) in &other.below {
            if let Some(mine) = self.below.get_mut(k) {
                mine.subtract(v);
                if mine.is_empty() {
                    self.below.remove(k);
                }
            }
        }
    }

    /// The paths in it, as an error writes them: `.spec.ports[port=80].name`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.here {
            found.push(String::new());
        }
        for (step, set) in &self.below {
            let said = match step.split_once(':') {
                Some(("f", name)) => format!(".{name}"),
                Some(("k", keys)) => format!("[{}]", keys.trim_matches(['{', '}']).replace("\":", "\"=")),
                Some((_, value)) => format!("[={value}]"),
                None => step.clone(),
            };
            found.extend(set.paths().into_iter().map(|rest| format!("{said}{rest}")));
        }
        found
    }

    /// Leaves only what this set holds of the steps at its top.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.below.retain(|step, _| keep(step.strip_prefix("f:").unwrap_or(step)));
    }
}

/// How a part of an object is merged and owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// As a whole.
    Atomic,
    /// Field by field.
    Map,
    /// Item by item, told apart by these fields.
    Keyed(Vec<String>),
    /// Value by value.
    Values,
}

/// Lists that built-in kinds merge item by item, by where they stand: the end of the path, the keys. What is not
/// here is replaced as a whole, which is what most lists of the API are.
const KEYED: [(&str, &[&str]); 17] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("volumes", &["name"]),
    ("env", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("containers.ports", &["containerPort", "protocol"]),
    ("volumeMounts", &["mountPath"]),
    ("spec.ports", &["port", "protocol"]),
    ("conditions", &["type"]),
    ("ownerReferences", &["uid"]),
    ("status.addresses", &["type"]),
    ("hostAliases", &["ip"]),
    ("podIPs", &["ip"]),
    ("hostIPs", &["ip"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("secrets", &["name"]),
    ("resourceClaims", &["name"]),
];
const VALUES: [&str; 3] = ["metadata.finalizers", "spec.podCIDRs", "spec.loadBalancerSourceRanges"];
const ATOMIC_MAPS: [&str; 6] =
    ["selector", "nodeSelector", "labelSelector", "podSelector", "namespaceSelector", "targetRef"];

/// How the part at this path (field names only) is merged. `schema` is the part's own in a custom kind.
pub(crate) fn shape(kind: &Kind, path: &[&str], value: &Value, schema: Option<&Value>) -> Shape {
    let ends = |with: &str| {
        with.split('.').rev().zip(path.iter().rev()).all(|(a, b)| a == *b)
            && path.len() >= with.split('.').count()
    };
    match value {
        Value::Object(_) => {
            let said = schema.and_then(|s| s["x-kubernetes-map-type"].as_str()) == Some("atomic");
            let known = kind.custom.is_none() && path.first() == Some(&"spec");
            if said || known && ATOMIC_MAPS.iter().any(|a| ends(a)) { Shape::Atomic } else { Shape::Map }
        }
        Value::Array(_) => {
            let metadata = path.first() == Some(&"metadata");
            if let (Some(schema), false) = (schema, metadata) {
                return match schema["x-kubernetes-list-type"].as_str() {
                    Some("map") => {
                        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                        Shape::Keyed(keys.filter_map(|k| k.as_str().map(str::to_string)).collect())
                    }
                    Some("set") => Shape::Values,
                    _ => Shape::Atomic,
                };
            }
            if VALUES.iter().any(|v| ends(v)) {
                return Shape::Values;
            }
            if kind.custom.is_some() && !metadata {
                return Shape::Atomic;
            }
            let keyed = KEYED.iter().find(|(end, _)| ends(end));
            let keys = |keys: &[&str]| keys.iter().map(|k| k.to_string()).collect();
            keyed.map_or(Shape::Atomic, |(_, k)| Shape::Keyed(keys(k)))
        }
        _ => Shape::Atomic,
    }
}

/// The schema of a field, or of the items of a list.
pub(crate) fn below<'a>(schema: Option<&'a Value>, step: Option<&str>) -> Option<&'a Value> {
    let schema = schema?;
    let found = match step {
        None => &schema["items"],
        Some(name) if schema["properties"][name].is_object() => &schema["properties"][name],
        Some(_) => &schema["additionalProperties"],
    };
    found.is_object().then_some(found)
}

/// The step that names an item of a keyed list.
pub(crate) fn item(keys: &[String], item: &Value) -> String {
    let mut named = Map::new();
    for key in keys {
        let value = match &item[key] {
            Value::Null if key == "protocol" => Value::from("TCP"),
            other => other.clone(),
        };
        named.insert(key.clone(), value);
    }
    format!("k:{}", Value::Object(named))
}

/// The fields that an object holds.
pub(crate) fn fields(kind: &Kind, value: &Value) -> Set {
    let mut set = within(kind, &mut Vec::new(), value, kind.custom.as_deref());
    set.here = false;
    set.retain(|step| !matches!(step, "apiVersion" | "kind"));
    if let Some(metadata) = set.below.get_mut("f:metadata") {
        metadata.here = false;
        metadata.retain(|step| {
            matches!(step, "labels" | "annotations" | "finalizers" | "ownerReferences" | "generateName")
        });
        if metadata.is_empty() {
            set.below.remove("f:metadata");
        }
    }
    set
}

fn within<'a>(kind: &Kind, path: &mut Vec<&'a str>, value: &'a Value, schema: Option<&Value>) -> Set {
    let leaf = Set { here: true, below: BTreeMap::new() };
    let mut found = Set::default();
    match (shape(kind, path, value, schema), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, value) in map.iter().filter(|(_, v)| !v.is_null()) {
                path.push(name);
                let inner = within(kind, path, value, below(schema, Some(name)));
                path.pop();
                found.below.insert(format!("f:{name}"), inner);
            }
        }
        (Shape::Keyed(keys), Value::Array(items)) => {
            for value in items {
                let mut inner = within(kind, path, value, below(schema, None));
                inner.here = true;
                found.below.insert(item(&keys, value), inner);
            }
        }
        (Shape::Values, Value::Array(items)) => {
            found.below.extend(items.iter().map(|v| (format!("v:{v}"), leaf.clone())));
        }
        _ => return leaf,
    }
    if found.is_empty() { leaf } else { found }
}
