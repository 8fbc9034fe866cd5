//! Get and list.

use serde_json::{Value, json};

use crate::harness::{Place, names, version};

async fn maps(place: &Place, names: &[&str]) {
    for name in names {
        let map = json!({ "metadata": { "name": name, "labels": { "name": name } }, "data": { "a": "b" } });
        place.create(&place.core("configmaps"), map).await.ok();
    }
}

pub(crate) async fn lists_say_what_they_are(place: &Place) {
    maps(place, &["b", "a", "a-b"]).await;
    let list = place.get(&place.core("configmaps?labelSelector=name")).await.ok();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!(names(&list), ["a", "a-b", "b"]);
    assert_eq!(list["items"][0]["kind"], Value::Null, "built-in kinds are said once");
    assert!(version(&list) >= version(&list["items"][0]));
    let one = place.get(&place.core("configmaps/a")).await.ok();
    assert_eq!((&one["kind"], &one["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
        assert!(!one["metadata"][field].is_null(), "{field}");
    }
}

pub(crate) async fn pages_are_one_version(place: &Place) {
    maps(place, &["a", "b", "c", "d", "e"]).await;
    let first = place.get(&place.core("configmaps?limit=2&labelSelector=name")).await.ok();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], Value::Null, "not counted under a selector");
    let token = first["metadata"]["continue"].as_str().unwrap().to_string();
    // What happens between the pages is not seen by the second.
    place.delete(&place.core("configmaps/d")).await.ok();
    maps(place, &["bb"]).await;
    let path = place.core(&format!("configmaps?limit=9&labelSelector=name&continue={token}"));
    let second = place.get(&path).await.ok();
    assert_eq!(names(&second), ["c", "d", "e"]);
    assert_eq!(version(&first), version(&second));
    let exact = format!(
        "configmaps?labelSelector=name&resourceVersionMatch=Exact&resourceVersion={}",
        version(&first)
    );
    assert_eq!(names(&place.get(&place.core(&exact)).await.ok()), ["a", "b", "c", "d", "e"]);
}

pub(crate) async fn what_is_not_there(place: &Place) {
    let gone = place.get(&place.core("pods/x")).await.refused(404, "NotFound");
    assert_eq!(gone["details"], json!({ "name": "x", "kind": "pods" }));
    place.get("/api/v1/nonsense").await.refused(404, "NotFound");
    let unknown = place.get("/apis/nonsense.causeway.io/v1/things").await;
    assert_eq!((unknown.code, unknown.body.as_str()), (404, Some("404 page not found\n")));
    place.get(&place.core("pods?fieldSelector=spec.nonsense=x")).await.refused(400, "BadRequest");
    place.get(&place.core("pods?labelSelector=a==,(")).await.refused(400, "BadRequest");
    place.get(&place.core("pods?resourceVersion=x")).await.refused(400, "BadRequest");
    place.get(&place.core("pods?continue=x")).await.refused(400, "BadRequest");
    place.get(&place.core("pods?resourceVersionMatch=Exact")).await.refused(422, "Invalid");
}

pub(crate) async fn pages_count_what_is_left(place: &Place) {
    maps(place, &["a", "b", "c", "d", "e"]).await;
    let (mut token, mut seen, mut left) = (String::new(), 0, Vec::new());
    loop {
        let page = place.get(&place.core(&format!("configmaps?limit=2&continue={token}"))).await.ok();
        seen += names(&page).len();
        left.push(page["metadata"]["remainingItemCount"].as_u64());
        assert!(names(&page).len() <= 2);
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_string(),
            None => break,
        }
    }
    // A controller may have put a map of its own into the new namespace.
    let all = names(&place.get(&place.core("configmaps")).await.ok()).len();
    assert_eq!(seen, all);
    let counted: Vec<u64> = left.into_iter().flatten().collect();
    assert_eq!(counted.first(), Some(&(all as u64 - 2)));
    assert!(counted.is_sorted_by(|a, b| a == &(b + 2)), "{counted:?}");
}

pub(crate) async fn versions_that_may_be_asked_for(place: &Place) {
    maps(place, &["a"]).await;
    let now = place.get(&place.core("configmaps")).await.ok();
    let at = |query: String| place.core(&format!("configmaps?labelSelector=name&{query}"));
    for query in [
        "resourceVersion=0".to_string(),
        format!("resourceVersion={}", version(&now)),
        format!("resourceVersion={}&resourceVersionMatch=NotOlderThan", version(&now)),
        format!("resourceVersion={}&resourceVersionMatch=Exact", version(&now)),
    ] {
        assert_eq!(names(&place.get(&at(query.clone())).await.ok()), ["a"], "{query}");
    }
    let future = place.get(&at("resourceVersion=900000000".into())).await.refused(504, "Timeout");
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(future["details"]["retryAfterSeconds"], 1);
    for query in
        ["resourceVersion=0&resourceVersionMatch=Exact", "resourceVersion=1&resourceVersionMatch=Other"]
    {
        place.get(&at(query.into())).await.refused(422, "Invalid");
    }
}

pub(crate) async fn selectors(place: &Place) {
    let pod = |name: &str, node: &str, labels: Value| {
        json!({ "metadata": { "name": name, "labels": labels },
                "spec": { "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                          "containers": [{ "name": "c", "image": "i" }] } })
    };
    place.account().await;
    for (name, node, labels) in [
        ("a", "one", json!({ "app": "web", "tier": "front" })),
        ("b", "two", json!({ "app": "api" })),
        ("c", "one", json!({})),
    ] {
        place.create(&place.core("pods"), pod(name, node, labels)).await.ok();
    }
    for (query, found) in [
        ("fieldSelector=spec.nodeName%3Done", vec!["a", "c"]),
        ("fieldSelector=spec.nodeName!%3Done", vec!["b"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=status.phase%3DPending,spec.nodeName%3Dtwo", vec!["b"]),
        ("labelSelector=app%20in%20(web,api)", vec!["a", "b"]),
        ("labelSelector=app%20notin%20(web)", vec!["b", "c"]),
        ("labelSelector=!app", vec!["c"]),
        ("labelSelector=app,tier!%3Dfront", vec!["b"]),
    ] {
        assert_eq!(names(&place.get(&place.core(&format!("pods?{query}"))).await.ok()), found, "{query}");
    }
}

pub(crate) async fn what_is_served_is_said(place: &Place) {
    let groups = place.get("/apis").await.ok();
    let named: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    for group in
        ["apps", "discovery.k8s.io", "coordination.k8s.io", "networking.k8s.io", "authentication.k8s.io"]
    {
        assert!(named.contains(&group), "{group} in {named:?}");
    }
    let slices = place.get("/apis/discovery.k8s.io/v1").await.ok();
    let found =
        slices["resources"].as_array().unwrap().iter().find(|r| r["name"] == "endpointslices").cloned();
    let found = found.unwrap();
    assert_eq!((&found["kind"], &found["namespaced"]), (&json!("EndpointSlice"), &json!(true)));
    assert_eq!(place.get("/version").await.ok()["major"], "1");
    assert_eq!(place.get("/readyz").await.code, 200);
}
