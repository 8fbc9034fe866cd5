//! TokenRequest and TokenReview.

use std::time::Duration;

use serde_json::json;

use crate::harness::{PATIENCE, Place};

pub(crate) async fn a_token_names_the_node(place: &Place) {
    let node = format!("node-{}", place.namespace);
    place.create("/api/v1/nodes", json!({ "metadata": { "name": node } })).await.ok();
    place.create(&place.core("serviceaccounts"), json!({ "metadata": { "name": "agent" } })).await.ok();
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "serviceAccountName": "agent", "nodeName": node,
                      "automountServiceAccountToken": false, "containers": [{ "name": "c", "image": "i" }] } });
    place.create(&place.core("pods"), pod).await.ok();
    let wanted = json!({ "spec": { "audiences": ["causeway"], "expirationSeconds": 3600,
                         "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "p" } } });
    let made = place.create(&place.core("serviceaccounts/agent/token"), wanted).await.ok();
    let token = made["status"]["token"].as_str().unwrap();
    let review = |audience: &str| {
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": { "token": token, "audiences": [audience] } })
    };
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = place.create(path, review("causeway")).await.ok()["status"].take();
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["causeway"])));
    let name = format!("system:serviceaccount:{}:agent", place.namespace);
    assert_eq!(status["user"]["username"], name);
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/node-name"], json!([node]));
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let other = place.create(path, review("somebody")).await.ok()["status"].take();
    assert_ne!(other["authenticated"], true);
    assert!(other["error"].is_string());
    // The token ends with its pod, though a real server remembers its last judgement for ten seconds.
    place.delete(&place.core("pods/p?gracePeriodSeconds=0")).await.ok();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while place.create(path, review("causeway")).await.ok()["status"]["authenticated"] == true {
        assert!(tokio::time::Instant::now() < deadline, "the token outlives its pod");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    place.delete(&format!("/api/v1/nodes/{node}")).await.ok();
}

pub(crate) async fn a_token_is_refused(place: &Place) {
    place.create(&place.core("serviceaccounts"), json!({ "metadata": { "name": "agent" } })).await.ok();
    place.account().await;
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "automountServiceAccountToken": false,
                      "containers": [{ "name": "c", "image": "i" }] } });
    place.create(&place.core("pods"), pod).await.ok();
    let path = place.core("serviceaccounts/agent/token");
    let bound = |name: &str| json!({ "spec": { "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": name } } });
    // The pod is another account's.
    place.create(&path, bound("p")).await.refused(400, "BadRequest");
    place.create(&path, bound("nowhere")).await.refused(404, "NotFound");
    place.create(&path, json!({ "spec": { "expirationSeconds": 10 } })).await.refused(422, "Invalid");
    let nobody = place.core("serviceaccounts/nobody/token");
    place.create(&nobody, json!({ "spec": {} })).await.refused(404, "NotFound");
    let review = json!({ "spec": { "token": "nonsense", "audiences": ["causeway"] } });
    let answer = place.create("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(answer.code, 201);
    let answer = answer.ok();
    assert_ne!(answer["status"]["authenticated"], true);
    assert!(answer["status"]["error"].is_string());
}
