//! What the cluster is, to itself and to others.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The cluster, as it presents itself to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// Its name: a DNS label of at most 32 characters, unique among the clusters that are linked. It cannot be changed
    /// later.
    #[schemars(regex(pattern = r"^([a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?)?$"))]
    pub name: String,
    /// Its number, unique among the clusters that are linked.
    #[schemars(range(min = 1, max = 511))]
    pub id: u16,
    /// The ranges that pods take addresses from; no linked cluster may overlap. k3s: 10.42.0.0/16.
    #[serde(rename = "podCIDRs")]
    #[schemars(length(min = 1))]
    pub pod_cidrs: Vec<Cidr>,
    /// The ranges that services take addresses from. k3s: 10.43.0.0/16, kubeadm: 10.96.0.0/12.
    #[serde(rename = "serviceCIDRs")]
    #[schemars(length(min = 1))]
    pub service_cidrs: Vec<Cidr>,
    /// The ranges that `causeway peer add` takes addresses from, and at which other clusters reach peers; no linked cluster
    /// may overlap. Empty: 10.254.ID.0/24 and fd43:c5e8:ID::/64, with the cluster's id.
    #[serde(rename = "peerCIDRs")]
    pub peer_cidrs: Vec<Cidr>,
    /// How large an IPv4 slice a node gets that has none from Kubernetes (`spec.podCIDRs`).
    #[serde(rename = "nodeMaskSizeIPv4")]
    #[schemars(range(min = 8, max = 30))]
    pub node_mask_size_ipv4: u8,
    /// How large an IPv6 slice a node gets that has none from Kubernetes.
    #[serde(rename = "nodeMaskSizeIPv6")]
    #[schemars(range(min = 48, max = 120))]
    pub node_mask_size_ipv6: u8,
}

impl Default for Cluster {
    fn default() -> Self {
        let cidr = |text: &str| text.parse().expect("a range");
        Self {
            name: String::new(),
            id: 1,
            pod_cidrs: vec![cidr("10.42.0.0/16")],
            service_cidrs: vec![cidr("10.43.0.0/16")],
            peer_cidrs: Vec::new(),
            node_mask_size_ipv4: 24,
            node_mask_size_ipv6: 64,
        }
    }
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cidr(pub IpNet);

impl FromStr for Cidr {
    type Err = ipnet::AddrParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CIDR".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9.]+|[0-9a-f:.]+)/[0-9]{1,3}$" })
    }
}
