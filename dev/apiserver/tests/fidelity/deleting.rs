//! Deletion.

use serde_json::json;

use crate::harness::Place;

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
