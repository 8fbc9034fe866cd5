//! What the API says when it does not do what was asked: a `Status` object with code, reason and details.

use serde_json::{Value, json};

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    details: Option<Value>,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, reason, message: message.into(), details: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(400, "BadRequest", message)
    }

    /// The path leads to no resource that is served.
    pub(crate) fn no_such_resource() -> Failure {
        Failure::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn not_found(group: &str, plural: &str, name: &str) -> Failure {
        let message = format!("{} {name:?} not found", qualified(group, plural));
        Failure::new(404, "NotFound", message).about(group, plural, name)
    }

    pub(crate) fn already_exists(group: &str, plural: &str, name: &str) -> Failure {
        let message = format!("{} {name:?} already exists", qualified(group, plural));
        Failure::new(409, "AlreadyExists", message).about(group, plural, name)
    }

    pub(crate) fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Failure {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, plural));
        Failure::new(409, "Conflict", message).about(group, plural, name)
    }

    pub(crate) fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Failure {
        let message = format!("{} {name:?} is forbidden: {why}", qualified(group, plural));
        Failure::new(403, "Forbidden", message).about(group, plural, name)
    }

    /// A field holds what it must not; `reason` is a cause such as `FieldValueInvalid`.
    pub(crate) fn invalid(
        group: &str,
        kind: &str,
        name: &str,
        field: &str,
        reason: &str,
        why: &str,
    ) -> Failure {
        let mut failure = Failure::new(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {field}: {why}", qualified(group, kind)),
        )
        .about(group, kind, name);
        if let Some(details) = &mut failure.details {
            details["causes"] = json!([{ "reason": reason, "message": why, "field": field }]);
        }
        failure
    }

    /// The version asked for is no longer, or never was, known.
    pub(crate) fn expired(message: impl Into<String>) -> Failure {
        Failure::new(410, "Expired", message)
    }

    /// A list was asked to be newer than anything there is.
    pub(crate) fn too_new(asked: u64, current: u64) -> Failure {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Failure::new(504, "Timeout", message);
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        failure.details = Some(json!({ "causes": [cause], "retryAfterSeconds": 1 }));
        failure
    }

    /// A server-side apply would change what belongs to others: (manager and version, path of the field).
    pub(crate) fn owned_by_others(conflicts: &[(String, String)]) -> Failure {
        let said: Vec<String> =
            conflicts.iter().map(|(manager, path)| format!("conflict with {manager}: {path}")).collect();
        let noun = if conflicts.len() == 1 { "conflict" } else { "conflicts" };
        let message = format!("Apply failed with {} {noun}: {}", conflicts.len(), said.join(", "));
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, path)| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {manager}"),
                        "field": path })
            })
            .collect();
        let mut failure = Failure::new(409, "Conflict", message);
        failure.details = Some(json!({ "causes": causes }));
        failure
    }

    /// Asks the client to come back after so many seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Failure {
        self.details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = seconds.into();
        self
    }

    /// The seconds after which the client is asked to come back.
    pub(crate) fn seconds(&self) -> Option<u64> {
        self.details.as_ref()?["retryAfterSeconds"].as_u64()
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Failure {
        let mut details = json!({ "kind": kind });
        if !group.is_empty() {
            details["group"] = group.into();
        }
        if !name.is_empty() {
            details["name"] = name.into();
        }
        self.details = Some(details);
        self
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason.is_empty() {
            status.as_object_mut().map(|s| s.remove("reason"));
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") }
}
