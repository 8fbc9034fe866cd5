//! Server-side apply.

use serde_json::{Value, json};

use crate::harness::{Place, version};

pub(crate) async fn an_unchanged_apply_writes_nothing(place: &Place) {
    let path = place.core("configmaps/x");
    let map =
        |data| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": data });
    let first = place.apply(&path, "causeway", false, map(json!({ "a": "1", "b": "1" }))).await;
    assert_eq!(first.code, 201);
    let first = first.ok();
    let again = place.apply(&path, "causeway", false, map(json!({ "a": "1", "b": "1" }))).await;
    assert_eq!(again.code, 200);
    assert_eq!(version(&again.ok()), version(&first));
    // Others' fields stay; what is left out goes; what belongs to others is a conflict.
    place.merge(&format!("{path}?fieldManager=other"), json!({ "data": { "c": "1" } })).await.ok();
    let less = place.apply(&path, "causeway", false, map(json!({ "a": "2" }))).await.ok();
    assert_eq!(less["data"], json!({ "a": "2", "c": "1" }));
    let fight = place.apply(&path, "causeway", false, map(json!({ "a": "2", "c": "2" }))).await;
    let fight = fight.refused(409, "Conflict");
    let cause = json!([{ "reason": "FieldManagerConflict", "message": "conflict with \"other\" using v1", "field": ".data.c" }]);
    assert_eq!(fight["details"]["causes"], cause);
    let won = place.apply(&path, "causeway", true, map(json!({ "a": "2", "c": "2" }))).await.ok();
    assert_eq!(won["data"], json!({ "a": "2", "c": "2" }));
}

pub(crate) async fn what_an_apply_must_say(place: &Place) {
    let path = place.core("configmaps/x");
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let media = "application/apply-patch+yaml";
    place.call("PATCH", &path, media, Some(&map("x"))).await.refused(422, "Invalid");
    place.apply(&path, "m", false, map("y")).await.refused(400, "BadRequest");
    let nowhere = place.apply("/api/v1/namespaces/nowhere-at-all/configmaps/x", "m", false, map("x")).await;
    nowhere.refused(404, "NotFound");
    let mut stale = map("x");
    place.apply(&path, "m", false, map("x")).await.ok();
    stale["metadata"]["resourceVersion"] = "1".into();
    stale["data"] = json!({ "a": "b" });
    place.apply(&path, "m", false, stale).await.refused(409, "Conflict");
    let mut managed = map("x");
    managed["metadata"]["managedFields"] = json!([{ "manager": "m", "operation": "Apply", "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:data": {} } }]);
    place.apply(&path, "m", false, managed).await.refused(400, "BadRequest");
}

pub(crate) async fn lists_are_merged_by_their_keys(place: &Place) {
    let path = place.core("services/s");
    let service = |ports: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": ports } });
    place
        .apply(&path, "one", false, service(json!([{ "name": "a", "port": 80, "protocol": "TCP" }])))
        .await
        .ok();
    let both = place
        .apply(&path, "two", false, service(json!([{ "name": "b", "port": 81, "protocol": "TCP" }])))
        .await
        .ok();
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    let changed = service(json!([{ "name": "c", "port": 81, "protocol": "TCP" }]));
    let fight = place.apply(&path, "one", false, changed).await.refused(409, "Conflict");
    let field = fight["details"]["causes"][0]["field"].as_str().unwrap().to_string();
    assert!(field.starts_with(".spec.ports[") && field.ends_with("].name"), "{field}");
    // An item goes with the last who applied it.
    let none = place.apply(&path, "two", false, service(json!([]))).await.ok();
    assert_eq!(none["spec"]["ports"][0]["name"], "a");
    assert_eq!(none["spec"]["ports"].as_array().unwrap().len(), 1);
    let labels = |labels: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "labels": labels } });
    place.apply(&path, "three", false, labels(json!({ "x": "1", "y": "1" }))).await.ok();
    let fewer = place.apply(&path, "three", false, labels(json!({ "y": "1" }))).await.ok();
    assert_eq!(fewer["metadata"]["labels"], json!({ "y": "1" }));
}

pub(crate) async fn a_shared_field_stays(place: &Place) {
    let path = place.core("configmaps/x");
    let map = |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": data });
    place.apply(&path, "one", false, map(json!({ "a": "1" }))).await.ok();
    // The same value is no conflict, and makes two owners.
    let shared = place.apply(&path, "two", false, map(json!({ "a": "1" }))).await.ok();
    assert_eq!(shared["metadata"]["managedFields"].as_array().unwrap().len(), 2);
    let left = place.apply(&path, "one", false, map(json!({}))).await.ok();
    assert_eq!(left["data"], json!({ "a": "1" }));
    let gone = place.apply(&path, "two", false, map(json!({}))).await.ok();
    assert_eq!(gone["data"], Value::Null);
}

pub(crate) async fn updates_and_applies_are_two_managers(place: &Place) {
    let path = place.core("configmaps/x");
    let map = |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": data });
    let maps = place.core("configmaps?fieldManager=m");
    place.create(&maps, map(json!({ "a": "1" }))).await.ok();
    place.apply(&path, "m", false, map(json!({ "a": "2" }))).await.refused(409, "Conflict");
    let forced = place.apply(&path, "m", true, map(json!({ "a": "2" }))).await.ok();
    // An update takes what it changes, and the next apply of the old value is a conflict again.
    let taken = place.merge(&format!("{path}?fieldManager=m"), json!({ "data": { "a": "3" } })).await.ok();
    assert!(version(&taken) > version(&forced));
    place.apply(&path, "m", false, map(json!({ "a": "2" }))).await.refused(409, "Conflict");
    place.apply(&path, "m", false, map(json!({ "a": "3" }))).await.ok();
}

pub(crate) async fn a_status_is_applied_apart(place: &Place) {
    let node = format!("node-{}", place.namespace);
    let path = format!("/api/v1/nodes/{node}");
    place.create("/api/v1/nodes", json!({ "metadata": { "name": node } })).await.ok();
    let status = |kind: &str, status: &str| {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node },
                "status": { "conditions": [{ "type": kind, "status": status }] } })
    };
    let parts = format!("{path}/status");
    place.apply(&parts, "one", false, status("Ready", "True")).await.ok();
    let both = place.apply(&parts, "two", false, status("NetworkUnavailable", "False")).await.ok();
    assert_eq!(both["status"]["conditions"].as_array().unwrap().len(), 2);
    let again = place.apply(&parts, "two", false, status("NetworkUnavailable", "False")).await.ok();
    assert_eq!(version(&again), version(&both));
    place.apply(&parts, "two", false, status("Ready", "False")).await.refused(409, "Conflict");
    let ignored = place.apply(&path, "two", false, status("Ready", "False")).await.ok();
    assert_eq!(ignored["status"]["conditions"].as_array().unwrap().len(), 2);
    place.delete(&path).await.ok();
}
