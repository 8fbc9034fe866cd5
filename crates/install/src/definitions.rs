//! The kinds of the MCS API and of the About API, and Kilo's for peers, where a cluster has none: others may have brought them, and then they are
//! theirs.
//!
//! The definitions are our own words for the fields of the API: `multicluster.x-k8s.io` (KEP-1645) in v1beta1, which is
//! stored, and v1alpha1, both alike; `about.k8s.io` (KEP-2149) in v1beta1.

use cluster::kubernetes::FIELD_MANAGER;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::api::Error;
use crate::apply::Applied;

const GROUP: &str = "multicluster.x-k8s.io";
/// What every definition that we brought is labelled with.
const LABEL: (&str, &str) = ("app.kubernetes.io/name", "causeway");

/// The definitions, in the order in which they are made.
pub fn definitions() -> Vec<Value> {
    vec![exports(), imports(), properties(), peers()]
}

/// Makes a definition that is not there, and keeps one that we made up to date. None for one that somebody else has brought,
/// which is left as it is.
///
/// # Errors
/// The API server refuses it, or does not answer.
pub async fn bring(client: &Client, definition: &Value) -> Result<Option<Applied>, Error> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let name = crate::api::name(definition);
    let named = || crate::api::named(definition);
    let before = api.get_opt(name).await.map_err(Error::new("reading", named()))?;
    if before.as_ref().is_some_and(|before| !is_ours(before)) {
        return Ok(None);
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let after = api.patch(name, &params, &Patch::Apply(definition)).await;
    let after = after.map_err(Error::new("applying", named()))?;
    Ok(Some(match before {
        None => Applied::Created,
        Some(before) if before.resource_version() == after.resource_version() => Applied::Same,
        Some(_) => Applied::Changed,
    }))
}

/// Removes the definitions that we brought, unless objects of others would go with them. The names of those removed.
///
/// # Errors
/// The API server refuses, or does not answer.
pub async fn remove(client: &Client) -> Result<Vec<String>, Error> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut removed = Vec::new();
    for definition in definitions() {
        let name = crate::api::name(&definition);
        let found = api.get_opt(name).await.map_err(Error::new("reading", crate::api::named(&definition)))?;
        let Some(found) = found.filter(is_ours) else { continue };
        let objects = Api::<DynamicObject>::all_with(client.clone(), &resource(&definition));
        let left = objects.list_metadata(&ListParams::default().limit(1)).await;
        if !left.map_err(Error::new("listing", found.spec.names.plural.clone()))?.items.is_empty() {
            continue;
        }
        let deleted = api.delete(name, &kube::api::DeleteParams::default()).await;
        deleted.map_err(Error::new("deleting", crate::api::named(&definition)))?;
        removed.push(name.to_owned());
    }
    Ok(removed)
}

fn is_ours(definition: &CustomResourceDefinition) -> bool {
    definition.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1)
}

/// What names the objects of a definition in its stored version.
pub(crate) fn resource(definition: &Value) -> kube::api::ApiResource {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let gvk = kube::api::GroupVersionKind::gvk(
        text("/spec/group"),
        text("/spec/versions/0/name"),
        text("/spec/names/kind"),
    );
    kube::api::ApiResource::from_gvk_with_plural(&gvk, text("/spec/names/plural"))
}

fn definition(
    group: &str,
    kind: &str,
    plural: &str,
    short: &str,
    scope: &str,
    versions: Vec<Value>,
) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"), "labels": { LABEL.0: LABEL.1 } },
        "spec": {
            "group": group,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_ascii_lowercase(),
                "shortNames": if short.is_empty() { vec![] } else { vec![short] },
            },
            "scope": scope,
            "versions": versions,
        },
    })
}

fn version(name: &str, stored: bool, schema: &Value, columns: &Value) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": stored,
        "schema": { "openAPIV3Schema": schema },
        "subresources": { "status": {} },
        "additionalPrinterColumns": columns,
    })
}

/// Both versions of a kind of the MCS API, the stored one first.
fn of_mcs(kind: &str, plural: &str, short: &str, schema: &Value, columns: &Value) -> Value {
    let versions =
        vec![version("v1beta1", true, schema, columns), version("v1alpha1", false, schema, columns)];
    definition(GROUP, kind, plural, short, "Namespaced", versions)
}

/// A whole object of a kind.
fn object(about: &str, spec: Value, status: Value) -> Value {
    json!({
        "description": about,
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": status,
        },
    })
}

fn text_map(about: &str) -> Value {
    json!({ "description": about, "type": "object", "additionalProperties": { "type": "string" } })
}

/// As in all of Kubernetes.
fn conditions() -> Value {
    let text = |longest: u32| json!({ "type": "string", "maxLength": longest });
    json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": text(316),
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": text(32768),
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0.0 },
            },
        },
    })
}

/// Kilo's kind for WireGuard clients that are no nodes, with its fields.
fn peers() -> Value {
    let host = json!({
        "description": "The host, by name or by address.",
        "type": "object",
        "properties": { "dns": { "type": "string" }, "ip": { "type": "string" } },
    });
    let endpoint = json!({
        "description": "Where it is dialled; without it, it has to dial a node first.",
        "type": "object",
        "required": ["dnsOrIP", "port"],
        "properties": {
            "dnsOrIP": host,
            "port": { "type": "integer", "format": "int32", "minimum": 1.0, "maximum": 65535.0 },
        },
    });
    let spec = json!({
        "description": "What it is.",
        "type": "object",
        "required": ["allowedIPs", "publicKey"],
        "properties": {
            "allowedIPs": {
                "description": "The ranges of addresses behind it.",
                "type": "array",
                "minItems": 1,
                "items": { "type": "string" },
            },
            "endpoint": endpoint,
            "persistentKeepalive": {
                "description": "Seconds between packets that keep a NAT's mapping open.",
                "type": "integer",
            },
            "presharedKey": { "description": "What both ends know beside their keys.", "type": "string" },
            "publicKey": { "description": "Its WireGuard key.", "type": "string", "minLength": 1 },
        },
    });
    let schema = json!({
        "description": "A WireGuard client that is no node: a laptop, an office's router.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
        },
    });
    let columns = json!([
        { "name": "Addresses", "type": "string", "jsonPath": ".spec.allowedIPs" },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    let version = version("v1alpha1", true, &schema, &columns);
    definition("kilo.squat.ai", "Peer", "peers", "", "Cluster", vec![version])
}

fn exports() -> Value {
    let spec = json!({
        "description": "What goes along with the service.",
        "type": "object",
        "properties": {
            "exportedLabels": text_map("Labels for the import."),
            "exportedAnnotations": text_map("Annotations for the import."),
        },
    });
    let status = json!({
        "description": "What has become of it.",
        "type": "object",
        "properties": { "conditions": conditions() },
    });
    let about = "Says that the Service of its name and namespace is one with its namesakes in the clusters of the clusterset.";
    let column = |name: &str, kind: &str| {
        let path = format!(".status.conditions[?(@.type==\"{kind}\")].status");
        json!({ "name": name, "type": "string", "jsonPath": path })
    };
    let columns = json!([
        column("Ready", "Ready"),
        column("Valid", "Valid"),
        column("Conflict", "Conflict"),
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    of_mcs("ServiceExport", "serviceexports", "svcex", &object(about, spec, status), &columns)
}

fn imports() -> Value {
    let port = json!({
        "type": "object",
        "required": ["port"],
        "properties": {
            "name": { "type": "string" },
            "protocol": { "type": "string", "default": "TCP" },
            "appProtocol": { "type": "string" },
            "port": { "type": "integer", "format": "int32", "minimum": 1.0, "maximum": 65535.0 },
        },
    });
    let atomic = |items: Value, more: Value| {
        let mut list = json!({ "type": "array", "x-kubernetes-list-type": "atomic", "items": items });
        crate::settings::merge(&mut list, &more);
        list
    };
    let spec = json!({
        "description": "What clients see.",
        "type": "object",
        "required": ["ports", "type"],
        "properties": {
            "ports": atomic(port, json!({})),
            "ips": atomic(json!({ "type": "string" }), json!({ "maxItems": 2 })),
            "ipFamilies": atomic(json!({ "type": "string" }), json!({ "maxItems": 2 })),
            "type": { "type": "string", "enum": ["ClusterSetIP", "Headless"] },
            "sessionAffinity": { "type": "string" },
            "sessionAffinityConfig": {
                "type": "object",
                "properties": {
                    "clientIP": {
                        "type": "object",
                        "properties": { "timeoutSeconds": { "type": "integer", "format": "int32" } },
                    },
                },
            },
            "internalTrafficPolicy": { "type": "string" },
            "trafficDistribution": { "type": "string" },
        },
    });
    let cluster = json!({
        "type": "object",
        "required": ["cluster"],
        "properties": { "cluster": { "type": "string" } },
    });
    let status = json!({
        "description": "Where it comes from.",
        "type": "object",
        "properties": {
            "clusters": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["cluster"],
                "items": cluster,
            },
            "conditions": conditions(),
        },
    });
    let about = "What the services exported under its name are together. Written by the controller alone.";
    let columns = json!([
        { "name": "Type", "type": "string", "jsonPath": ".spec.type" },
        { "name": "IP", "type": "string", "jsonPath": ".spec.ips" },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    of_mcs("ServiceImport", "serviceimports", "svcim", &object(about, spec, status), &columns)
}

fn properties() -> Value {
    let spec = json!({
        "type": "object",
        "required": ["value"],
        "properties": { "value": { "type": "string", "minLength": 1, "maxLength": 128_000 } },
    });
    let mut schema =
        object("Something that a cluster says of itself, by name.", spec, json!({ "type": "object" }));
    schema["required"] = json!(["spec"]);
    let columns = json!([
        { "name": "Value", "type": "string", "jsonPath": ".spec.value" },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    let versions = vec![version("v1beta1", true, &schema, &columns)];
    let mut definition =
        definition("about.k8s.io", "ClusterProperty", "clusterproperties", "cp", "Cluster", versions);
    // Kubernetes takes groups under k8s.io only with a word on who let them be.
    definition["metadata"]["annotations"] =
        json!({ "api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/1111" });
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_unknown_to_its_type() {
        for definition in definitions() {
            let typed: CustomResourceDefinition = serde_json::from_value(definition.clone()).unwrap();
            assert_eq!(serde_json::to_value(&typed).unwrap(), definition);
            assert_eq!(resource(&definition).plural, typed.spec.names.plural);
            let stored = typed.spec.versions.iter().filter(|version| version.storage).count();
            assert_eq!(stored, 1);
        }
    }
}
