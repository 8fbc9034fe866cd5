//! Create, update, patch.

use serde_json::json;

use crate::harness::{Place, version};

pub(crate) async fn a_stale_version_is_a_conflict(place: &Place) {
    let path = place.core("configmaps/x");
    let old = place.create(&place.core("configmaps"), json!({ "metadata": { "name": "x" } })).await.ok();
    let mut changed = old.clone();
    changed["data"] = json!({ "a": "b" });
    let new = place.update(&path, &changed).await.ok();
    assert!(version(&new) > version(&old));
    place.update(&path, &changed).await.refused(409, "Conflict");
    let stale = json!({ "metadata": { "resourceVersion": old["metadata"]["resourceVersion"] }, "data": { "a": "c" } });
    place.merge(&path, stale).await.refused(409, "Conflict");
    let same = place.update(&path, &new).await.ok();
    assert_eq!(version(&same), version(&new), "nothing new is no write");
}
