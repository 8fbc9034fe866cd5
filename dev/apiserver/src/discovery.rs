//! What is served, as clients discover it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::store::Store;

/// Answers the paths that lead to no resource.
pub(crate) fn answer(store: &Store, path: &str) -> Option<Value> {
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    match steps.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        })),
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let groups: Vec<Value> = groups(store).into_iter().map(|(g, v)| group(&g, &v)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] => {
            let versions = groups(store).remove(*name)?;
            let mut answer = group(name, &versions);
            (answer["kind"], answer["apiVersion"]) = ("APIGroup".into(), "v1".into());
            Some(answer)
        }
        ["api", version] => resources(store, "", version),
        ["apis", group, version] => resources(store, group, version),
        _ => None,
    }
}

fn groups(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in store.kinds().iter().filter(|k| !k.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    groups.insert("authentication.k8s.io".into(), vec!["v1".into()]);
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let said: Vec<Value> =
        versions.iter().map(|v| json!({ "groupVersion": format!("{name}/{v}"), "version": v })).collect();
    json!({ "name": name, "versions": said, "preferredVersion": said[0] })
}

fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    let verbs = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    let mut resources = Vec::new();
    for kind in store.kinds().iter().filter(|k| k.group == group && k.version == version) {
        let entry = |name: String, verbs: &Value| {
            json!({ "name": name, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
                    "kind": kind.kind, "verbs": verbs })
        };
        resources.push(entry(kind.plural.clone(), &verbs));
        if kind.status {
            resources.push(entry(format!("{}/status", kind.plural), &json!(["get", "patch", "update"])));
        }
    }
    if group == "authentication.k8s.io" {
        resources.push(json!({ "name": "tokenreviews", "singularName": "tokenreview", "namespaced": false,
                               "kind": "TokenReview", "verbs": ["create"] }));
    }
    if resources.is_empty() {
        return None;
    }
    let of = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    Some(json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of, "resources": resources }))
}
