//! What both daemons' pods have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The image that everything runs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// Its name. The default names no registry: import the archive on every node, or push it to a registry of yours
    /// and name it here.
    #[schemars(length(min = 1))]
    pub repository: String,
    /// Its tag.
    #[schemars(length(min = 1))]
    pub tag: String,
    /// When nodes ask the registry.
    pub pull_policy: PullPolicy,
    /// Names of Secrets, in the namespace, that open the registry.
    pub pull_secrets: Vec<String>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: "localhost/causeway".into(),
            tag: env!("CARGO_PKG_VERSION").into(),
            pull_policy: PullPolicy::IfNotPresent,
            pull_secrets: Vec::new(),
        }
    }
}

/// When nodes ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(
    missing_docs,
    reason = "Kubernetes' own words; comments would turn them into alternatives in the schema"
)]
pub enum PullPolicy {
    IfNotPresent,
    Always,
    Never,
}

/// What a pod asks for, and may use at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What it asks for.
    pub requests: BTreeMap<String, String>,
    /// What it may use at most; empty: as much as there is.
    pub limits: BTreeMap<String, String>,
}

impl Resources {
    pub(super) fn requests(cpu: &str, memory: &str) -> Self {
        let requests = BTreeMap::from([("cpu".into(), cpu.into()), ("memory".into(), memory.into())]);
        Self { requests, limits: BTreeMap::new() }
    }
}

/// What a pod puts up with on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// The taint's key; empty: every taint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// How the value is compared.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The taint's value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The taint's effect; empty: all of them.
    #[serde(default, skip_serializing_if = "TolerationEffect::is_any")]
    pub effect: TolerationEffect,
}

impl Toleration {
    pub(super) fn everything() -> Self {
        Self::of("")
    }

    pub(super) fn of(key: &str) -> Self {
        let operator = TolerationOperator::Exists;
        Self { key: key.into(), operator, value: String::new(), effect: TolerationEffect::Any }
    }
}

/// How a toleration compares values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(
    missing_docs,
    reason = "Kubernetes' own words; comments would turn them into alternatives in the schema"
)]
pub enum TolerationOperator {
    Exists,
    #[default]
    Equal,
}

/// Which effects a toleration is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(
    missing_docs,
    reason = "Kubernetes' own words; comments would turn them into alternatives in the schema"
)]
pub enum TolerationEffect {
    #[default]
    #[serde(rename = "")]
    Any,
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TolerationEffect {
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// What the daemons log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// A level (error, warn, info, debug, trace), or directives such as `info,link=debug`.
    #[schemars(length(min = 1))]
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(
    missing_docs,
    reason = "said by their names; comments would turn them into alternatives in the schema"
)]
pub enum LogFormat {
    Text,
    Json,
}
