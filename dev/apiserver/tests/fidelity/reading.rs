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
