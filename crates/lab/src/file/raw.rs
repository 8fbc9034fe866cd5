//! A lab file as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLab {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) clusters: Vec<RawCluster>,
    #[serde(default)]
    pub(super) links: Vec<RawLink>,
    /// Known only to say where nodes belong.
    #[serde(default)]
    pub(super) nodes: Option<IgnoredAny>,
}

/// One of `clusters`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawCluster {
    pub(super) name: String,
    pub(super) id: u64,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<String>,
    #[serde(rename = "serviceCIDRs")]
    pub(super) service_cidrs: Vec<String>,
    pub(super) nodes: Vec<RawNode>,
    #[serde(default)]
    pub(super) manifests: Vec<String>,
}

/// One of a cluster's `nodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawNode {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) zone: String,
    #[serde(default)]
    pub(super) location: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<String>,
}

/// One of `links`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLink {
    pub(super) between: Vec<String>,
    #[serde(default)]
    pub(super) rtt: Option<String>,
    #[serde(default)]
    pub(super) loss: Option<String>,
    #[serde(default)]
    pub(super) rate: Option<String>,
}
