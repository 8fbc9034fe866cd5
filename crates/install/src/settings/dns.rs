//! The nodes' DNS server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A DNS server on every node, for names of the clusterset. Off: switch it on and point the cluster's DNS at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Whether agents answer.
    pub enabled: bool,
    /// Where they answer beside their node's own address in the mesh.
    #[schemars(length(min = 1))]
    pub listen: Vec<String>,
    /// Who is asked for names of other zones, as ADDRESS or ADDRESS:PORT; empty: those of the node's /etc/resolv.conf.
    pub upstreams: Vec<String>,
    /// The zone of the cluster's own services; empty: the cluster's DNS serves it.
    #[schemars(regex(pattern = r"^([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*)?$"))]
    pub cluster_domain: String,
    /// The zone of imported services.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*$"))]
    pub clusterset_domain: String,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: vec!["169.254.20.53".into()],
            upstreams: Vec::new(),
            cluster_domain: String::new(),
            clusterset_domain: "clusterset.local".into(),
        }
    }
}
