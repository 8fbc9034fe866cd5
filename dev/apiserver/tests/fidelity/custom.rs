//! CustomResourceDefinitions.

use serde_json::{Value, json};

use crate::harness::{Place, version};

fn definition(group: &str) -> Value {
    let schema = json!({ "type": "object", "properties": {
        "spec": { "type": "object", "required": ["size"], "properties": {
            "size": { "type": "integer", "minimum": 1 }, "names": { "type": "array", "items": { "type": "string" } } } },
        "status": { "type": "object", "properties": { "seen": { "type": "integer" } } } } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("things.{group}") },
        "spec": { "group": group, "scope": "Cluster",
            "names": { "kind": "Thing", "listKind": "ThingList", "plural": "things", "singular": "thing" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                           "schema": { "openAPIV3Schema": schema } }] },
    })
}

pub(crate) async fn a_definition_is_served(place: &Place) {
    let group = format!("{}.causeway.io", place.namespace);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let things = format!("/apis/{group}/v1/things");
    assert_eq!(place.get(&things).await.code, 404);
    place.create(definitions, definition(&group)).await.ok();
    place.until(&things, "served", |a| a.code == 200).await;
    let thing = |spec| json!({ "apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": { "name": "x" }, "spec": spec });
    let made = place.create(&things, thing(json!({ "size": 1, "other": 2 }))).await.ok();
    assert_eq!(made["spec"], json!({ "size": 1 }), "unknown fields are pruned");
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &Value::Null));
    place.create(&things, thing(json!({ "size": 0 }))).await.refused(422, "Invalid");
    let path = format!("{things}/x");
    let seen = place
        .merge(&format!("{path}/status"), json!({ "status": { "seen": 1 }, "spec": { "size": 7 } }))
        .await
        .ok();
    assert_eq!((&seen["spec"]["size"], &seen["status"]["seen"]), (&json!(1), &json!(1)));
    assert_eq!(seen["metadata"]["generation"], 1, "a status is no change of what is wanted");
    let grown = place.merge(&path, json!({ "spec": { "size": 2 }, "status": { "seen": 5 } })).await.ok();
    assert_eq!((&grown["metadata"]["generation"], &grown["status"]["seen"]), (&json!(2), &json!(1)));
    assert!(version(&grown) > version(&seen));
    let list = place.get(&things).await.ok();
    assert_eq!(list["items"][0]["kind"], "Thing", "custom kinds are said in every item");
    place.delete(&format!("{definitions}/things.{group}")).await.ok();
    place.until(&things, "withdrawn", |a| a.code == 404).await;
}
