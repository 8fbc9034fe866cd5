//! What is imported from other clusters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Cidr;

/// The Multi-Cluster Services API: services that clusters export to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Multicluster {
    /// The ranges that clusterset IPs are taken from. They never leave a node, so every cluster may use the same; nothing
    /// else in the cluster may.
    #[serde(rename = "clustersetCIDRs")]
    #[schemars(length(min = 1))]
    pub clusterset_cidrs: Vec<Cidr>,
    /// Share namespaces with other clusters where the annotation `causeway.io/global` does not say. Nothing leaves the
    /// cluster of one that is not shared, whatever its services say.
    pub share_namespaces: bool,
    /// Import services also into namespaces that the cluster does not have: pods reach them, but no ServiceImport is
    /// written until there is such a namespace.
    pub import_without_namespace: bool,
    /// Import also what other clusters share by Cilium's annotations, if there is no Service of that name here.
    pub import_global_services: bool,
    /// Write EndpointSlices for imports, for other controllers to read.
    pub endpoint_slices: bool,
    /// The clusterset's name, as the ClusterProperty `clusterset.k8s.io` says it; empty: no such property.
    pub clusterset_name: String,
}

impl Default for Multicluster {
    fn default() -> Self {
        let cidr = |text: &str| text.parse().expect("a range");
        Self {
            clusterset_cidrs: vec![cidr("243.0.0.0/16"), cidr("fd43:c5e7::/112")],
            share_namespaces: true,
            import_without_namespace: false,
            import_global_services: false,
            endpoint_slices: true,
            clusterset_name: "causeway".into(),
        }
    }
}
