//! Server-side apply.

use serde_json::json;

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
