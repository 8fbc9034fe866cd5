//! Watches.

use serde_json::json;

use crate::harness::{Place, version};

pub(crate) async fn everything_then_changes(place: &Place) {
    let path = place.core("configmaps");
    let map = |name: &str, labels| json!({ "metadata": { "name": name, "labels": labels } });
    place.create(&path, map("a", json!({ "app": "x" }))).await.ok();
    let list = place.get(&path).await.ok();
    let mut all = place.watch(&format!("{path}?watch=true&labelSelector=app&timeoutSeconds=9")).await;
    let mut since = place
        .watch(&format!("{path}?watch=1&labelSelector=app%3Dx&resourceVersion={}", version(&list)))
        .await;
    let said = |what: &str, name: &str| (what.to_string(), name.to_string());
    assert_eq!(all.told().await, said("ADDED", "a"));
    place.create(&path, map("b", json!({ "app": "y" }))).await.ok();
    place.merge(&place.core("configmaps/b"), json!({ "metadata": { "labels": { "app": "x" } } })).await.ok();
    place.merge(&place.core("configmaps/a"), json!({ "metadata": { "labels": { "app": null } } })).await.ok();
    place.delete(&place.core("configmaps/b")).await.ok();
    for (what, name) in [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a"), ("DELETED", "b")] {
        assert_eq!(all.told().await, said(what, name));
    }
    // To who asked for `x` alone, a thing appears and goes by its labels.
    for (what, name) in [("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")] {
        assert_eq!(since.told().await, said(what, name));
    }
}

pub(crate) async fn too_old_a_version_is_an_event(place: &Place) {
    let mut watch = place.watch(&place.core("configmaps?watch=1&resourceVersion=1&timeoutSeconds=5")).await;
    let Some(event) = watch.next().await else {
        assert!(!place.forgets, "a watch from a forgotten version waits for what comes next");
        return;
    };
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!((&event["object"]["reason"], &event["object"]["kind"]), (&json!("Expired"), &json!("Status")));
    assert_eq!(watch.next().await, None, "and it is over");
}

pub(crate) async fn the_end_is_announced_by_a_bookmark(place: &Place) {
    let map = |name: &str| json!({ "metadata": { "name": name } });
    place.create(&place.core("configmaps"), map("a")).await.ok();
    let list = place.get(&place.core("configmaps")).await.ok();
    let path =
        format!("configmaps?watch=1&labelSelector=mine&timeoutSeconds=5&resourceVersion={}", version(&list));
    let mut with = place.watch(&place.core(&format!("{path}&allowWatchBookmarks=true"))).await;
    let mut without = place.watch(&place.core(&path)).await;
    // There is nothing to say unless something has happened, though it be to objects that the watch does not select.
    let other = place.create(&place.core("configmaps"), map("b")).await.ok();
    let mut events = Vec::new();
    while let Some(event) = with.next().await {
        events.push(event);
    }
    let last = events.last().expect("at least one bookmark");
    assert_eq!((&last["type"], &last["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert!(version(&last["object"]) >= version(&other));
    while let Some(event) = without.next().await {
        assert_ne!(event["type"], "BOOKMARK");
    }
}

pub(crate) async fn a_list_as_a_stream(place: &Place) {
    for name in ["a", "b"] {
        let map = json!({ "metadata": { "name": name, "labels": { "mine": "" } } });
        place.create(&place.core("configmaps"), map).await.ok();
    }
    let begin = "configmaps?watch=1&labelSelector=mine&timeoutSeconds=9&sendInitialEvents=true";
    let path = place.core(&format!("{begin}&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"));
    place.get(&place.core(begin)).await.refused(422, "Invalid");
    if !place.streaming_lists {
        let refused = place.get(&path).await.refused(422, "Invalid");
        assert_eq!(refused["details"]["causes"][0]["field"], "sendInitialEvents");
        return;
    }
    let mut watch = place.watch(&path).await;
    let mut first = [watch.told().await.1, watch.told().await.1];
    first.sort();
    assert_eq!(first, ["a", "b"]);
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    place.delete(&place.core("configmaps/a")).await.ok();
    assert_eq!(watch.told().await, ("DELETED".into(), "a".into()));
}

pub(crate) async fn a_deletion_has_a_version_of_its_own(place: &Place) {
    let made = place
        .create(&place.core("configmaps"), json!({ "metadata": { "name": "a" }, "data": { "a": "b" } }))
        .await
        .ok();
    let path =
        format!("configmaps?watch=1&fieldSelector=metadata.name%3Da&resourceVersion={}", version(&made));
    let mut watch = place.watch(&place.core(&path)).await;
    place.create(&place.core("configmaps"), json!({ "metadata": { "name": "b" } })).await.ok();
    place.delete(&place.core("configmaps/a")).await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]), (&json!("DELETED"), &json!({ "a": "b" })));
    assert!(version(&event["object"]) > version(&made));
    assert_eq!(
        (&event["object"]["kind"], &event["object"]["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
}
