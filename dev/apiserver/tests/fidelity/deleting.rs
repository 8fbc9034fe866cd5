//! Deletion.

use serde_json::json;

use crate::harness::{Place, names};

pub(crate) async fn finalizers_are_waited_for(place: &Place) {
    let path = place.core("configmaps/x");
    let map = json!({ "metadata": { "name": "x", "finalizers": ["causeway.io/test"] } });
    place.create(&place.core("configmaps"), map).await.ok();
    let waiting = place.delete(&path).await.ok();
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(place.get(&path).await.code, 200);
    place.merge(&path, json!({ "metadata": { "finalizers": null } })).await.ok();
    place.get(&path).await.refused(404, "NotFound");
}

pub(crate) async fn a_deletion_answers(place: &Place) {
    let maps = place.core("configmaps");
    let path = place.core("configmaps/x");
    let made = place.create(&maps, json!({ "metadata": { "name": "x" } })).await.ok();
    let other = json!({ "preconditions": { "uid": "7f1ee5f0-0000-4000-8000-000000000000" } });
    place.call("DELETE", &path, "application/json", Some(&other)).await.refused(409, "Conflict");
    let done = place.delete(&path).await.ok();
    assert_eq!((&done["kind"], &done["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(done["details"], json!({ "name": "x", "kind": "configmaps", "uid": made["metadata"]["uid"] }));
    place.delete(&path).await.refused(404, "NotFound");
}

pub(crate) async fn collections_go_by_selector(place: &Place) {
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let map = json!({ "metadata": { "name": name, "labels": { "app": app } } });
        place.create(&place.core("configmaps"), map).await.ok();
    }
    place.delete(&place.core("configmaps?labelSelector=app%3Dx")).await.ok();
    assert_eq!(names(&place.get(&place.core("configmaps?labelSelector=app")).await.ok()), ["b"]);
}

pub(crate) async fn pods_are_given_time(place: &Place) {
    place.account().await;
    let pod = |name: &str, node: Option<&str>| {
        json!({ "metadata": { "name": name }, "spec": { "nodeName": node, "automountServiceAccountToken": false,
                "containers": [{ "name": "c", "image": "i" }] } })
    };
    place.create(&place.core("pods"), pod("running", Some("some-node"))).await.ok();
    place.create(&place.core("pods"), pod("waiting", None)).await.ok();
    place.delete(&place.core("pods/waiting")).await.ok();
    place.get(&place.core("pods/waiting")).await.refused(404, "NotFound");
    let leaving = place.delete(&place.core("pods/running")).await.ok();
    assert_eq!(leaving["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(leaving["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(place.get(&place.core("pods/running")).await.code, 200);
    place.delete(&place.core("pods/running?gracePeriodSeconds=0")).await.ok();
    place.get(&place.core("pods/running")).await.refused(404, "NotFound");
}

pub(crate) async fn a_namespace_takes_its_contents(place: &Place) {
    let space = format!("{}-inner", place.namespace);
    place.create("/api/v1/namespaces", json!({ "metadata": { "name": space } })).await.ok();
    let made = place.get(&format!("/api/v1/namespaces/{space}")).await.ok();
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], space);
    assert_eq!(made["status"]["phase"], "Active");
    let maps = format!("/api/v1/namespaces/{space}/configmaps");
    place.create(&maps, json!({ "metadata": { "name": "x" } })).await.ok();
    let leaving = place.delete(&format!("/api/v1/namespaces/{space}")).await.ok();
    assert_eq!(leaving["status"]["phase"], "Terminating");
    place.until(&format!("/api/v1/namespaces/{space}"), "gone", |a| a.code == 404).await;
    place.get(&format!("{maps}/x")).await.refused(404, "NotFound");
    place.delete("/api/v1/namespaces/default").await.refused(403, "Forbidden");
}
