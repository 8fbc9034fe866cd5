//! A lab file as it is written: every value with its place.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLab {
    pub(super) api_version: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) clusters: Spanned<Vec<RawCluster>>,
    #[serde(default)]
    pub(super) links: Vec<RawLink>,
    /// Known only to say where nodes belong.
    #[serde(default)]
    pub(super) nodes: Option<Spanned<IgnoredAny>>,
}

/// One of `clusters`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawCluster {
    pub(super) name: Spanned<String>,
    pub(super) id: Spanned<u64>,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Spanned<Vec<Spanned<String>>>,
    #[serde(rename = "serviceCIDRs")]
    pub(super) service_cidrs: Spanned<Vec<Spanned<String>>>,
    pub(super) nodes: Spanned<Vec<RawNode>>,
    #[serde(default)]
    pub(super) manifests: Vec<Spanned<String>>,
}

/// One of a cluster's `nodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawNode {
    pub(super) name: Spanned<String>,
    pub(super) region: Spanned<String>,
    pub(super) zone: Spanned<String>,
    #[serde(default)]
    pub(super) location: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Spanned<String>>,
    #[serde(default, rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<Spanned<String>>,
}

/// One of `links`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLink {
    pub(super) between: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) rtt: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) loss: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) rate: Option<Spanned<String>>,
}
