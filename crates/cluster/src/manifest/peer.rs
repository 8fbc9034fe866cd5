//! Kilo's kind for WireGuard clients that are no nodes: `kilo.squat.ai/v1alpha1` `Peer`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// Which nodes have the tunnel, by name and with commas between them; the first that is there. `all`, or no such
/// annotation: every node with a public address.
pub const GATEWAY: &str = "causeway.io/gateway";
/// When the peer is nobody any more: an RFC 3339 time.
pub const EXPIRES: &str = "causeway.io/expires";
/// What its configuration leads into the tunnel: `pods`, `services` and ranges, with commas between them.
pub const ALLOW: &str = "causeway.io/allow";

/// A WireGuard client that is no node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peer {
    /// Its version of the API.
    #[serde(default)]
    pub api_version: String,
    /// `Peer`.
    #[serde(default)]
    pub kind: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it is.
    #[serde(default)]
    pub spec: PeerSpec,
}

/// What a peer is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerSpec {
    /// The addresses behind it.
    #[serde(default, rename = "allowedIPs")]
    pub allowed_ips: Vec<String>,
    /// Where it is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<PeerEndpoint>,
    /// Seconds between packets that keep a NAT's mapping open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_keepalive: Option<i64>,
    /// What both ends know beside their keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preshared_key: String,
    /// Its key.
    #[serde(default)]
    pub public_key: String,
}

/// Where a peer is dialled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerEndpoint {
    /// The host.
    #[serde(default, rename = "dnsOrIP")]
    pub dns_or_ip: DnsOrIp,
    /// The UDP port.
    #[serde(default)]
    pub port: i64,
}

/// A host, by name or by address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsOrIp {
    /// Its DNS name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns: String,
    /// Its address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip: String,
}
