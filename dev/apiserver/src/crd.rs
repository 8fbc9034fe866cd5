//! CustomResourceDefinitions: a definition that is written is served, one that is deleted takes its objects with it.

use serde_json::{Value, json};

use crate::clock;
use crate::kind::{self, Kind};
use crate::object::Object;
use crate::store::Store;

fn is_definition(kind: &Kind) -> bool {
    kind.kind == "CustomResourceDefinition"
}

/// The status that the API server gives a definition.
pub(crate) fn prepare(kind: &Kind, value: &mut Value) {
    if !is_definition(kind) || value["status"]["conditions"].is_array() {
        return;
    }
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({ "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": clock::now() })
    };
    let versions = value["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<Value> = versions.filter(|v| v["storage"] == true).map(|v| v["name"].clone()).collect();
    value["status"] = json!({
        "acceptedNames": value["spec"]["names"],
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
}

/// Serves what a definition defines.
pub(crate) fn written(store: &mut Store, kind: &Kind, object: &Object) {
    if is_definition(kind) {
        store.serve(kind::custom(&object.value()));
    }
}

/// Serves it no more.
pub(crate) fn removed(store: &mut Store, kind: &Kind, object: &Object) {
    if is_definition(kind) {
        store.withdraw(object.name());
    }
}
