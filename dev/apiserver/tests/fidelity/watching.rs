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
