//! The API server, for objects whose kinds are only known from their text.

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;

/// A request that the API server did not answer as hoped.
#[derive(Debug, thiserror::Error)]
#[error("{what} {object}: {}", reason(source))]
pub struct Error {
    /// What was attempted.
    pub what: &'static str,
    /// On what.
    pub object: String,
    /// Why it failed.
    pub source: kube::Error,
}

impl Error {
    pub(crate) fn new(what: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self { what, object, source }
    }

    /// Whether the API server says that there is no such thing.
    pub fn is_missing(&self) -> bool {
        is_missing(&self.source)
    }
}

pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What the API server says, and what to do about it.
pub fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "{} (installing needs an administrator's rights: see `kubectl auth whoami`)",
                status.message
            )
        }
        kube::Error::Api(status) if status.code == 401 => {
            format!("{} (log in to the cluster again, then retry)", status.message)
        }
        kube::Error::Api(status) => status.message.clone(),
        other => format!("{} (is the API server reachable? try `kubectl version`)", chain(other)),
    }
}

fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Kind, namespace and name, as messages name an object.
pub(crate) fn named(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match text("/metadata/namespace") {
        "" => format!("{} {}", text("/kind"), text("/metadata/name")),
        namespace => format!("{} {namespace}/{}", text("/kind"), text("/metadata/name")),
    }
}

/// Where objects of this one's kind live.
pub(crate) fn of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").rsplit_once('/').unwrap_or(("", text("/apiVersion")));
    let kind = text("/kind");
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: text("/apiVersion").into(),
        kind: kind.into(),
        plural: plural(kind),
    };
    match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// English, as far as our own kinds need it.
fn plural(kind: &str) -> String {
    kind.to_ascii_lowercase() + "s"
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// A version as it is compared: major and minor.
pub(crate) fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
