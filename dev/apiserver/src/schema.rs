//! What a custom kind's schema makes of an object: unknown fields go, wrong ones are named.

use serde_json::Value;

/// Removes what the schema does not know. `root` keeps `metadata`, `kind` and `apiVersion`.
pub(crate) fn prune(schema: &Value, value: &mut Value, root: bool) {
    let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
    match value {
        Value::Object(map) => {
            let properties = &schema["properties"];
            let additional = &schema["additionalProperties"];
            map.retain(|name, _| {
                let meta = root && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
                meta || keeps || properties[name].is_object() || additional.is_object() || *additional == true
            });
            for (name, value) in map.iter_mut().filter(|(n, _)| !root || *n != "metadata") {
                if properties[name].is_object() {
                    prune(&properties[name], value, false);
                } else if additional.is_object() {
                    prune(additional, value, false);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item, false)),
        _ => {}
    }
}

/// The first thing that is not as the schema wants it: field, cause, sentence.
pub(crate) fn wrong(schema: &Value, value: &Value, path: &str) -> Option<(String, &'static str, String)> {
    let field = || path.trim_start_matches('.').to_string();
    if value.is_null() {
        return None;
    }
    if let Some(wanted) = schema["type"].as_str() {
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        if !fits {
            let why = format!("Invalid value: {value}: {} must be of type {wanted}", field());
            return Some((field(), "FieldValueTypeInvalid", why));
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value[required].is_null() {
            let at = format!("{path}.{required}").trim_start_matches('.').to_string();
            return Some((at, "FieldValueRequired", "Required value".into()));
        }
    }
    let choices = schema["enum"].as_array();
    if choices.is_some_and(|c| !c.contains(value)) {
        return Some((field(), "FieldValueNotSupported", format!("Unsupported value: {value}")));
    }
    let number = value.as_f64();
    let limit = |name: &str| schema[name].as_f64();
    if let (Some(n), true) = (number, schema["minimum"].is_number() || schema["maximum"].is_number())
        && (limit("minimum").is_some_and(|m| n < m) || limit("maximum").is_some_and(|m| n > m))
    {
        return Some((field(), "FieldValueInvalid", format!("Invalid value: {value}: out of range")));
    }
    match value {
        Value::Object(map) => map.iter().find_map(|(name, value)| {
            let known = &schema["properties"][name];
            let schema = if known.is_object() { known } else { &schema["additionalProperties"] };
            wrong(schema, value, &format!("{path}.{name}"))
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| wrong(&schema["items"], item, &format!("{path}[{at}]"))),
        _ => None,
    }
}
