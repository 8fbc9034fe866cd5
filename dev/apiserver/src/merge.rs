//! Bringing two versions of an object together: merge patches, and the merge of server-side apply.

use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::owned::{Set, Shape, below, item, shape};

/// A JSON merge patch (RFC 7386).
pub(crate) fn patch(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let map = target.as_object_mut().expect("it was made an object above");
    for (name, change) in changes {
        if change.is_null() {
            map.remove(name);
        } else {
            self::patch(map.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Lays what is applied over what there is: maps field by field, keyed lists item by item, the rest as a whole.
pub(crate) fn overlay(kind: &Kind, live: &mut Value, applied: &Value) {
    over(kind, &mut Vec::new(), live, applied, kind.custom.as_deref());
}

fn over<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    applied: &'a Value,
    schema: Option<&Value>,
) {
    match (shape(kind, path, applied, schema), live, applied) {
        (Shape::Map, Value::Object(live), Value::Object(applied)) => {
            for (name, value) in applied.iter().filter(|(_, v)| !v.is_null()) {
                path.push(name);
                over(
                    kind,
                    path,
                    live.entry(name.clone()).or_insert(Value::Null),
                    value,
                    below(schema, Some(name)),
                );
                path.pop();
            }
        }
        (Shape::Keyed(keys), Value::Array(live), Value::Array(applied)) => {
            for value in applied {
                let name = item(&keys, value);
                match live.iter_mut().find(|l| item(&keys, l) == name) {
                    Some(found) => over(kind, path, found, value, below(schema, None)),
                    None => live.push(value.clone()),
                }
            }
        }
        (Shape::Values, Value::Array(live), Value::Array(applied)) => {
            for value in applied {
                if !live.contains(value) {
                    live.push(value.clone());
                }
            }
        }
        (_, live, applied) => *live = applied.clone(),
    }
}

/// Takes these fields away, and what is empty without them.
pub(crate) fn remove(value: &mut Value, fields: &Set) {
    for (step, set) in &fields.below {
        match (step.split_once(':'), &mut *value) {
            (Some(("f", name)), Value::Object(map)) => {
                let Some(inner) = map.get_mut(name) else { continue };
                remove(inner, set);
                let emptied = !set.below.is_empty() && is_empty(inner);
                if emptied || set.here && set.below.is_empty() {
                    map.remove(name);
                }
            }
            (Some(("k", keys)), Value::Array(items)) => {
                let Ok(keys) = serde_json::from_str::<Map<String, Value>>(keys) else { continue };
                let names: Vec<String> = keys.keys().cloned().collect();
                let Some(at) = items.iter().position(|i| item(&names, i) == *step) else { continue };
                if set.here {
                    items.remove(at);
                } else {
                    remove(&mut items[at], set);
                }
            }
            (Some(("v", text)), Value::Array(items)) => items.retain(|i| !is_written(i, text)),
            _ => {}
        }
    }
}

/// Whether a set's step names this value.
fn is_written(value: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|written| written == *value)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The fields in which two versions differ, of those that `set` names.
pub(crate) fn differing(a: &Value, b: &Value, set: &Set) -> Set {
    // An empty map asks for no more than that there is one.
    let differs = a != b && !(a.is_object() && b.as_object().is_some_and(Map::is_empty));
    let mut found = Set { here: set.here && set.below.is_empty() && differs, ..Set::default() };
    for (step, inner) in &set.below {
        let (x, y) = (step_into(a, step), step_into(b, step));
        let mut below = differing(x, y, inner);
        // An item that one side lacks is a difference of its own.
        below.here |= inner.here && x.is_null() != y.is_null();
        if !below.is_empty() {
            found.below.insert(step.clone(), below);
        }
    }
    found
}

fn step_into<'a>(value: &'a Value, step: &str) -> &'a Value {
    match (step.split_once(':'), value) {
        (Some(("f", name)), Value::Object(map)) => map.get(name).unwrap_or(&Value::Null),
        (Some(("k", keys)), Value::Array(items)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let names: Vec<String> = keys.keys().cloned().collect();
            items.iter().find(|i| item(&names, i) == step).unwrap_or(&Value::Null)
        }
        (Some(("v", text)), Value::Array(items)) => {
            items.iter().find(|i| is_written(i, text)).unwrap_or(&Value::Null)
        }
        _ => &Value::Null,
    }
}
