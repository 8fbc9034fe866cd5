//! What the API server fills in by itself, as far as anybody here looks at it, and what it refuses.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{metadata, text};
use crate::schema;
use crate::store::Store;

/// Fills in what was left out.
pub(crate) fn fill(store: &mut Store, kind: &Kind, value: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => namespace(value),
        ("", "Pod") => {
            default(part(value, "spec"), "terminationGracePeriodSeconds", json!(30));
            default(part(value, "spec"), "restartPolicy", json!("Always"));
            default(part(value, "status"), "phase", json!("Pending"));
            for container in each(value, "/spec/containers") {
                each(container, "/ports").for_each(|p| default(p, "protocol", json!("TCP")));
            }
        }
        ("", "Service") => service(store, value),
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in each(value, "/ports") {
                default(port, "protocol", json!("TCP"));
                default(port, "name", json!(""));
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => {
            let egress = value["spec"]["egress"].is_array();
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            default(part(value, "spec"), "policyTypes", types);
        }
        _ => {}
    }
    if let Some(schema) = &kind.custom {
        schema::prune(schema, value, true);
    }
}

fn namespace(value: &mut Value) {
    let name = text(value, "name").to_string();
    default(part(value, "spec"), "finalizers", json!(["kubernetes"]));
    default(part(value, "status"), "phase", json!("Active"));
    let labels = metadata(value).entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

fn service(store: &mut Store, value: &mut Value) {
    let spec = part(value, "spec");
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    let kind = spec["type"].as_str().unwrap_or_default().to_string();
    for port in each(spec, "/ports") {
        default(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        default(port, "targetPort", number);
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default(port, "nodePort", (30_000 + store.random() % 2_768).into());
        }
    }
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
        if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
            let address = Ipv4Addr::from_bits(0x0a60_0000 | (store.random() as u32 & 0xffff).max(2));
            spec["clusterIP"] = address.to_string().into();
        }
        let first = spec["clusterIP"].clone();
        let six = first.as_str().is_some_and(|a| a.contains(':'));
        default(spec, "clusterIPs", json!([first]));
        default(spec, "ipFamilies", json!([if six { "IPv6" } else { "IPv4" }]));
        default(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    default(part(value, "status"), "loadBalancer", json!({}));
}

/// The object in this field, made if there is none.
fn part<'a>(value: &'a mut Value, field: &str) -> &'a mut Value {
    if !value[field].is_object() {
        value[field] = json!({});
    }
    &mut value[field]
}

fn default(value: &mut Value, field: &str, with: Value) {
    if value.is_object() && value[field].is_null() {
        value[field] = with;
    }
}

/// The items of the list at this JSON pointer.
fn each<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    value.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Refuses what cannot be: names, and the few fields whose limits others rely on.
pub(crate) fn check(kind: &Kind, value: &Value) -> Result<(), Failure> {
    let name = text(value, "name");
    let invalid = |field: &str, reason: &str, why: &str| {
        // Custom kinds are named with their group, built-in ones with the kind's name alone in the core group.
        Failure::invalid(&kind.group, &kind.kind, name, field, reason, why)
    };
    let lenient = kind.group == "rbac.authorization.k8s.io";
    if !lenient && !is_subdomain(name) {
        let why = format!(
            "Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return Err(invalid("metadata.name", "FieldValueInvalid", &why));
    }
    for (key, label) in value["metadata"]["labels"].as_object().into_iter().flatten() {
        if label.as_str().is_none_or(|l| l.len() > 63) {
            let why = format!("Invalid value: {label}: must be no more than 63 characters");
            return Err(invalid(&format!("metadata.labels[{key}]"), "FieldValueInvalid", &why));
        }
    }
    if kind.resource() == "services" {
        for (at, port) in value["spec"]["ports"].as_array().into_iter().flatten().enumerate() {
            if !port["port"].as_u64().is_some_and(|p| (1..=65_535).contains(&p)) {
                let why = format!("Invalid value: {}: must be between 1 and 65535, inclusive", port["port"]);
                return Err(invalid(&format!("spec.ports[{at}].port"), "FieldValueInvalid", &why));
            }
        }
    }
    if kind.kind == "EndpointSlice" && value["endpoints"].as_array().is_some_and(|e| e.len() > 1_000) {
        return Err(invalid("endpoints", "FieldValueTooMany", "Too many: must have at most 1000 items"));
    }
    if let Some(schema) = &kind.custom
        && let Some((field, reason, why)) = schema::wrong(schema, value, "")
    {
        return Err(invalid(&field, reason, &why));
    }
    Ok(())
}

fn is_subdomain(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|part| {
            edge(part.chars().next())
                && edge(part.chars().last())
                && part.chars().all(|c| c == '-' || edge(Some(c)))
        })
}
