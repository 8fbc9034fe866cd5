//! EndpointSlices for Services with a selector, as kube-controller-manager makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::direct;
use crate::object::{Object, key, text};
use crate::server::Shared;
use crate::store::Store;

/// How many endpoints a slice holds.
const FULL: usize = 100;
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Keeps the slices up to date for as long as the server runs.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.store.lock().expect("never poisoned").changed.subscribe();
    let mut seen = 0;
    loop {
        seen = reconcile(&mut shared.store.lock().expect("never poisoned"), seen);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Brings the slices of every Service that something since `seen` concerns up to date; returns what it has seen.
fn reconcile(store: &mut Store, seen: u64) -> u64 {
    let upto = store.version;
    let mut services: BTreeSet<Box<str>> = BTreeSet::new();
    let mut pods: Vec<Arc<Object>> = Vec::new();
    if let Ok(table) = store.table("services") {
        let news = table.log.iter().filter(|c| c.object.version > seen);
        services.extend(news.map(|c| c.object.key.clone()));
    }
    if let Ok(table) = store.table("pods") {
        for change in table.log.iter().rev().take_while(|c| c.object.version > seen) {
            pods.extend(change.previous.iter().chain([&change.object]).cloned());
        }
    }
    if let (Ok(table), false) = (store.table("services"), pods.is_empty()) {
        for service in table.objects.values() {
            if services.contains(&service.key) {
                continue;
            }
            let value = service.value();
            let Some(selector) = selector(&value) else { continue };
            if pods.iter().any(|p| p.namespace() == service.namespace() && matches(&selector, p)) {
                services.insert(service.key.clone());
            }
        }
    }
    for service in services {
        slices_of(store, &service);
    }
    upto
}

fn selector(service: &Value) -> Option<BTreeMap<String, String>> {
    let selector = service["spec"]["selector"].as_object()?;
    let found: BTreeMap<_, _> =
        selector.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_string())).collect();
    (!found.is_empty()).then_some(found)
}

fn matches(selector: &BTreeMap<String, String>, pod: &Object) -> bool {
    selector.iter().all(|(k, v)| pod.label(k) == Some(v))
}

/// Writes the slices of one Service.
fn slices_of(store: &mut Store, service: &str) {
    let live = store.get("services", service).map(|s| s.value());
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    let wanted = live.as_ref().and_then(|s| Some((s, selector(s)?)));
    let groups = wanted.map(|(s, selector)| desired(store, s, namespace, &selector)).unwrap_or_default();
    let resource = "endpointslices.discovery.k8s.io";
    let ours = |o: &Object| {
        o.label("kubernetes.io/service-name") == Some(name)
            && o.label("endpointslice.kubernetes.io/managed-by") == Some(MANAGER)
    };
    let there = store.table(resource).map(|t| t.objects.values().cloned().collect::<Vec<_>>());
    let there = there.unwrap_or_default().into_iter().filter(|o| o.namespace() == namespace && ours(o));
    let mut there: Vec<Value> = there.map(|o| o.value()).collect();
    for ((family, ports), mut endpoints) in groups {
        let ports: Value = serde_json::from_str(&ports).unwrap_or_default();
        // First the slices there are keep what still holds, then the first with room takes what is new.
        let (mut kept, rest): (Vec<Value>, Vec<Value>) =
            there.into_iter().partition(|s| s["addressType"] == family.as_str() && s["ports"] == ports);
        there = rest;
        for slice in &mut kept {
            let old = slice["endpoints"].as_array().cloned().unwrap_or_default();
            let staying = old.iter().filter_map(|e| endpoints.remove(&e["targetRef"]["name"].to_string()));
            let staying: Vec<Value> = staying.collect();
            slice["endpoints"] = staying.into();
        }
        let mut fresh: Vec<Value> = endpoints.into_values().collect();
        for slice in &mut kept {
            let list = slice["endpoints"].as_array_mut().expect("set above");
            while list.len() < FULL && !fresh.is_empty() {
                list.push(fresh.remove(0));
            }
        }
        let chunks: Vec<Vec<Value>> = fresh.chunks(FULL).map(<[Value]>::to_vec).collect();
        let none = chunks.is_empty() && kept.is_empty();
        for endpoints in chunks.into_iter().chain(none.then(Vec::new)) {
            let suffix = store.suffix();
            kept.push(json!({
                "metadata": {
                    "name": format!("{name}-{suffix}"), "generateName": format!("{name}-"), "namespace": namespace,
                    "labels": { "kubernetes.io/service-name": name,
                                "endpointslice.kubernetes.io/managed-by": MANAGER },
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "Service", "name": name, "controller": true,
                        "uid": live.as_ref().map(|s| text(s, "uid")), "blockOwnerDeletion": true }],
                },
                "addressType": family, "ports": ports, "endpoints": endpoints,
            }));
        }
        let spare = kept.iter().filter(|s| s["endpoints"].as_array().is_some_and(Vec::is_empty)).count();
        let mut keep_empty = usize::from(spare == kept.len());
        for mut slice in kept {
            let empty = slice["endpoints"].as_array().is_some_and(Vec::is_empty);
            if empty && keep_empty == 0 {
                there.push(slice);
                continue;
            }
            keep_empty -= usize::from(empty);
            (slice["kind"], slice["apiVersion"]) = ("EndpointSlice".into(), "discovery.k8s.io/v1".into());
            let stored = store.get(resource, &key(namespace, text(&slice, "name"))).map(|o| o.value());
            if stored.is_none_or(|s| s["endpoints"] != slice["endpoints"]) {
                if let Some(meta) = slice["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                    meta.remove("generation");
                }
                direct::apply(store, slice);
            }
        }
    }
    for slice in there {
        direct::delete(store, resource, &key(namespace, text(&slice, "name")));
    }
}

type Groups = BTreeMap<(String, String), BTreeMap<String, Value>>;

/// The endpoints a Service ought to have, by family and ports, and within them by pod.
fn desired(store: &Store, service: &Value, namespace: &str, selector: &BTreeMap<String, String>) -> Groups {
    let mut groups = Groups::new();
    let families: Vec<&str> =
        service["spec"]["ipFamilies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let unready_too = service["spec"]["publishNotReadyAddresses"] == true;
    let Ok(table) = store.table("pods") else { return groups };
    let prefix = format!("{namespace}/");
    let pods = table.from(&prefix);
    for pod in pods.take_while(|p| p.key.starts_with(&prefix)).filter(|p| matches(selector, p)) {
        let value = pod.value();
        if matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
            continue;
        }
        let ips: BTreeSet<&str> = value["status"]["podIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|i| i["ip"].as_str())
            .chain(value["status"]["podIP"].as_str())
            .collect();
        let ready = value["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        let terminating = value["metadata"]["deletionTimestamp"].is_string();
        for family in &families {
            let Some(ip) = ips.iter().find(|ip| ip.contains(':') == (*family == "IPv6")) else { continue };
            let ports = ports(service, &value);
            let mut endpoint = json!({
                "addresses": [ip],
                "conditions": { "ready": unready_too || ready && !terminating,
                                "serving": ready, "terminating": terminating },
                "targetRef": { "kind": "Pod", "namespace": namespace, "name": pod.name(), "uid": text(&value, "uid") },
            });
            if let Some(node) = value["spec"]["nodeName"].as_str() {
                endpoint["nodeName"] = node.into();
                let zone = store
                    .get("nodes", node)
                    .and_then(|n| n.label("topology.kubernetes.io/zone").map(str::to_string));
                if let Some(zone) = zone {
                    endpoint["zone"] = zone.into();
                }
            }
            let group = groups.entry((family.to_string(), ports.to_string())).or_default();
            group.insert(Value::from(pod.name()).to_string(), endpoint);
        }
    }
    if groups.is_empty() {
        for family in families {
            groups.insert((family.to_string(), "[]".into()), BTreeMap::new());
        }
    }
    groups
}

/// The Service's ports with their targets on this pod, without those whose name the pod does not have.
fn ports(service: &Value, pod: &Value) -> Value {
    let mut found = Vec::new();
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let target = match &port["targetPort"] {
            Value::String(name) => {
                let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
                let mut ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
                let same = |p: &&Value| p["name"] == name.as_str() && protocol(p) == protocol(port);
                let Some(target) = ports.find(same) else { continue };
                target["containerPort"].clone()
            }
            Value::Null => port["port"].clone(),
            number => number.clone(),
        };
        let mut said = json!({ "name": port["name"].as_str().unwrap_or_default(), "port": target, "protocol": protocol(port) });
        if port["appProtocol"].is_string() {
            said["appProtocol"] = port["appProtocol"].clone();
        }
        found.push(said);
    }
    found.into()
}

/// TCP where it is not said.
fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}
