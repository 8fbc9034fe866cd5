//! The local API: what an agent or controller answers on its Unix socket, and what the lab answers on its own.
//! JSON over HTTP/1.1; the field names are a contract with `-o json`'s readers, so they only ever grow.
//!
//! Agent (`/run/causeway/agent.sock`): `GET /v1/status` → [`AgentStatus`]; `GET /v1/plan` → desired, observed and
//! their difference; `GET /v1/services?from=NODE` → [`ServicesReport`]; `POST /v1/mtu` ([`MtuAsk`]) → [`MtuStatus`];
//! `POST /v1/cni` → [`CniRequest`] → [`CniResponse`]; `GET /v1/policy/denied?after=N` → [`DeniedFlows`]; `GET /metrics`;
//! `GET /healthz`.
//! Controller (`/run/causeway/controller.sock`): `GET /v1/status` → [`ControllerStatus`]; `GET /v1/services` →
//! [`MulticlusterStatus`]; `POST /v1/tokens/node`,
//! `POST /v1/tokens/link` ([`LinkTerms`]) → [`Token`]; `POST /v1/links` ([`LinkJoin`]) → [`LinkJoined`];
//! `DELETE /v1/links/CLUSTER`; `POST /v1/links/doctor` ([`Examine`]) → [`Examination`]s; `POST /v1/authority/rotate`
//! ([`Rotate`]) → [`AuthorityStatus`]; `POST /v1/policy/check` ([`PolicyQuestions`]) → [`PolicyAnswer`]s, in their order;
//! `POST /v1/policy/show` ([`PolicyShowAsk`]) → [`PolicyShow`]; `GET /v1/policy/lint` → [`PolicyLint`];
//! `GET /v1/mesh` → [`MeshReport`]; `POST /v1/peers` ([`PeerWrite`]); `DELETE /v1/peers/NAME`.

mod peers;
mod policy;
mod services;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::mesh::Transport;
use model::{
    ClusterName, GenerationId, KubeProxy, NodeName, ObjectName, Protocol, PublicKey, ServiceKey, Tier,
    Topology,
};
use serde::{Deserialize, Serialize};

pub use peers::{KeysRequested, MeshReport, PeerWrite, RotateKeys};
pub use policy::{
    ActionName, DecidedBy, DeniedFlow, DeniedFlows, EndError, Family, FlowEnd, MOST_POLICY_QUESTIONS,
    PolicyAnswer, PolicyCheck, PolicyDecision, PolicyDirection, PolicyEnd, PolicyFinding, PolicyLint,
    PolicyProtocol, PolicyQuestion, PolicyQuestions, PolicyRef, PolicyRuleRef, PolicyRuleShown, PolicyShow,
    PolicyShowAsk, PortChoice, TierName,
};
pub use services::{
    ClusterDistance, Otherwise, Sees, ServiceFrontend, ServiceOutside, ServiceReport, ServiceTier,
    ServicesReport,
};

/// What an agent says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The node.
    pub node: NodeName,
    /// Causeway's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Whether the kernel holds the plan and every peer was probed once.
    pub ready: bool,
    /// Why it is not ready, in words; empty when ready.
    pub waiting_for: Vec<String>,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The stream to the controller.
    pub controller: StreamStatus,
    /// Where the node stands.
    pub topology: Topology,
    /// Its location.
    pub location: String,
    /// Its WireGuard key.
    pub public_key: Option<PublicKey>,
    /// `kernel` or `userspace`.
    pub wireguard: String,
    /// The tunnels.
    pub tunnels: Vec<TunnelStatus>,
    /// Laptops and other peers that have a tunnel with this node.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// The services as this node sees them.
    pub services: Vec<ServiceStatus>,
    /// The device that reaches other nodes.
    #[serde(default)]
    pub underlay: String,
    /// The ranges that this node's pods take addresses from.
    #[serde(default, rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
    /// Whether kube-proxy is at work beside the agent.
    #[serde(default)]
    pub kube_proxy: KubeProxyStatus,
    /// What the kernel can and cannot do.
    pub features: Vec<FeatureStatus>,
    /// Operations that observed and desired state still differ by.
    pub pending_operations: usize,
    /// What an operator should put right, in words.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// What a node sees of kube-proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeProxyStatus {
    /// What follows from it.
    pub state: KubeProxy,
    /// What was seen, in words: rules, a device, its answer.
    pub seen: Vec<String>,
}

/// A stream of the exchange.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Whether it is up.
    pub connected: bool,
    /// To whom.
    pub address: Option<SocketAddr>,
    /// The last revision taken in.
    pub revision: u64,
    /// Whether what is known came from disk and has not been confirmed since.
    pub stale: bool,
    /// The last error, with what to do.
    pub last_error: Option<String>,
}

/// One tunnel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelStatus {
    /// The node at the other end, `CLUSTER/NODE`.
    pub peer: NodeName,
    /// Where that node stands.
    #[serde(default)]
    pub peer_topology: Topology,
    /// Its location.
    #[serde(default)]
    pub peer_location: String,
    /// Its key.
    pub public_key: PublicKey,
    /// Where packets go.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake; none before the first.
    pub last_handshake_seconds: Option<f64>,
    /// Smoothed round-trip time through the tunnel, in milliseconds; none before the first answer.
    pub rtt_ms: Option<f64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Whether it answers through the data path.
    pub alive: bool,
    /// Which way the tunnel's packets go.
    #[serde(default)]
    pub path: TunnelPath,
    /// What carries the packets between the nodes' pods: the tunnel, or inside a location what needs none.
    #[serde(default)]
    pub transport: Transport,
    /// The node that passes them on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<NodeName>,
    /// The generation that the pair's pre-shared key is of; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationId>,
}

/// Which way packets of a tunnel go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelPath {
    /// One of the nodes dials the other.
    #[default]
    Direct,
    /// Through the NATs that both are behind, which both opened for each other.
    Punched,
    /// Over a third node, which passes them on as they are.
    Relay,
    /// Nowhere: neither can dial the other, and no way was found.
    None,
}

/// A peer that is no node and has a tunnel with this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// What is behind it.
    #[serde(rename = "allowedIPs")]
    pub allowed_ips: Vec<IpNet>,
    /// Where packets go; none before it was heard.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake; none before the first.
    pub last_handshake_seconds: Option<f64>,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// One service as a node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Which.
    pub service: ServiceKey,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// Whether other clusters' backends are included.
    pub global: bool,
    /// What answers, nearest first.
    pub backends: Vec<BackendStatus>,
}

/// A service's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port clients dial.
    pub port: u16,
}

/// One backend as a node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The pod, `NAMESPACE/NAME`, or the address when no pod stands behind it.
    pub pod: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its node, without the cluster.
    pub node: Option<String>,
    /// Its node's zone.
    pub zone: String,
    /// Its node's region.
    pub region: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// How near it is to the node that looks.
    pub tier: Tier,
    /// Its weight among those that are alike to it.
    #[serde(default)]
    pub weight: u32,
    /// Fit to take connections, and on a node that answers.
    pub healthy: bool,
    /// Whether it takes connections now.
    #[serde(default, rename = "in")]
    pub takes: bool,
    /// Part of all new connections that go to it now, 0 to 1.
    pub share: f64,
    /// Why it gets none; empty when it takes some.
    pub why: String,
}

/// Something of the kernel that the data path uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureStatus {
    /// Its name, such as `wireguard` or `tcx`.
    pub name: String,
    /// Whether the kernel has it.
    pub present: bool,
    /// What it is for.
    pub purpose: String,
    /// What is used in its place, when it is missing.
    pub fallback: Option<String>,
}

/// Asks an agent how large packets may be on the way to another cluster's nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtuAsk {
    /// The other cluster.
    pub cluster: ClusterName,
}

/// How large packets may be on the way to nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtuStatus {
    /// How large pods' packets are at most, in bytes.
    pub mtu: u32,
    /// How large they may be, node by node.
    pub peers: Vec<MtuPeer>,
}

/// How large packets may be on the way to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtuPeer {
    /// The node.
    pub peer: NodeName,
    /// The largest size, in bytes, that was answered; 0 if none was.
    pub largest: u32,
}

/// What a controller says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerStatus {
    /// Its cluster.
    pub cluster: ClusterName,
    /// That cluster's number.
    #[serde(default)]
    pub id: u16,
    /// Causeway's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Whether its source has been read in full.
    pub ready: bool,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The revision of what it tells.
    pub revision: u64,
    /// Agents connected, by node name.
    pub agents: Vec<NodeName>,
    /// Links to other clusters.
    pub links: Vec<LinkStatus>,
    /// Its cluster's CA.
    #[serde(default)]
    pub authority: AuthorityStatus,
    /// Objects refused, with the reason; the newest last, at most 100.
    pub problems: Vec<String>,
    /// Whether it leads, where a cluster has several controllers.
    #[serde(default)]
    pub role: RoleStatus,
    /// Where its objects come from.
    #[serde(default)]
    pub source: SourceStatus,
    /// How many objects its agents are told of, by kind, those of linked clusters included.
    #[serde(default)]
    pub objects: BTreeMap<String, usize>,
    /// What is wrong with single objects; at most 100.
    #[serde(default)]
    pub complaints: Vec<ComplaintStatus>,
}

/// A cluster's CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStatus {
    /// The SHA-256 of its newest root, in hexadecimal.
    pub root: String,
    /// When the next root takes its place, in seconds since 1970.
    pub rotate_at: u64,
    /// Older roots that still count, newest first.
    pub old: Vec<OldRoot>,
}

/// A root that still counts beside a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OldRoot {
    /// Its SHA-256, in hexadecimal.
    pub root: String,
    /// When it will be dropped, in seconds since 1970.
    pub until: u64,
}

/// What a cluster exports to others, and what it imports (the MCS API).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MulticlusterStatus {
    /// Its exports, by name.
    pub exports: Vec<ExportStatus>,
    /// Its imports, by name.
    pub imports: Vec<ImportStatus>,
}

/// One export, as in the status of a ServiceExport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// Namespace and name.
    pub service: ObjectName,
    /// `Valid`, `Ready` and `Conflict`.
    pub conditions: Vec<ConditionStatus>,
}

/// One import, as in a ServiceImport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportStatus {
    /// Namespace and name.
    pub service: ObjectName,
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its clusterset IPs.
    pub ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// The clusters that export it.
    pub clusters: Vec<ClusterName>,
    /// Why it has not all of its addresses; empty when it has.
    pub problem: String,
}

/// A condition of a status, as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStatus {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In words joined by commas.
    pub reason: String,
    /// In sentences.
    pub message: String,
}

/// A controller among those of its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleStatus {
    /// Whether it leads: writes to the API server, and talks with linked clusters.
    pub leads: bool,
    /// Its name in the election; empty where there is none.
    pub identity: String,
    /// Who leads, if that is known.
    pub leader: Option<String>,
}

/// Where a controller's objects come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `standalone` or `kubernetes`.
    pub kind: String,
    /// The API server's version, once it has said so.
    pub server_version: Option<String>,
    /// Seconds since it had first been read in full.
    pub synced_seconds: Option<f64>,
    /// Whether what agents are told came from disk, in part or whole.
    pub stale: bool,
    /// Seconds since the API server does not answer; none while it does.
    pub away_seconds: Option<f64>,
    /// What happens instead.
    pub away_why: String,
}

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComplaintStatus {
    /// Which: its kind, namespace and name.
    pub object: String,
    /// In one word, as in the Kubernetes Event.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// A link to another cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// The other cluster.
    pub cluster: ClusterName,
    /// That cluster's number.
    #[serde(default)]
    pub id: u16,
    /// Whether this side dials; if not, the other one does.
    #[serde(default)]
    pub dials: bool,
    /// The object that asked for it; none for a link that was made by hand.
    #[serde(default)]
    pub declared_by: Option<String>,
    /// The stream.
    pub stream: StreamStatus,
    /// Nodes received.
    pub nodes: usize,
    /// Services received.
    pub services: usize,
    /// Endpoints received.
    pub endpoints: usize,
    /// Objects refused because the cluster may not say them.
    pub refused: u64,
    /// How it stands.
    #[serde(default)]
    pub state: LinkState,
    /// Seconds since it stands so.
    #[serde(default)]
    pub since_seconds: f64,
    /// What goes over it.
    #[serde(default)]
    pub flow: LinkFlow,
}

/// How a link stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// There is no stream; it is tried again. What was heard stays.
    #[default]
    Connecting,
    /// There is a stream.
    Connected,
    /// A budget was exceeded: nothing more is taken in for now. What was heard stays.
    Frozen,
    /// The other cluster has removed the link. What was heard is gone.
    Removed,
}

impl LinkState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Connecting, Self::Connected, Self::Frozen, Self::Removed];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Frozen => "frozen",
            Self::Removed => "removed",
        }
    }
}

/// What goes over a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkFlow {
    /// How old what is known of the other cluster may be, in milliseconds: half of the round trip, and the time for which
    /// its oldest change has waited to be told; without a stream, the time since it was last heard. None while it has
    /// not said.
    pub lag_ms: Option<f64>,
    /// The round trip from controller to controller, in milliseconds; none before the first answer.
    pub rtt_ms: Option<f64>,
    /// Bytes of the objects that are held.
    pub bytes: u64,
    /// Services whose endpoints are asked for; none when all are told.
    pub wanted: Option<usize>,
    /// What it takes of what it may.
    pub budget: Vec<BudgetUse>,
}

/// A part of a link's budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetUse {
    /// Which: `objects`, `bytes`, `changesPerSecond` or `bytesPerSecond`.
    pub measure: String,
    /// How much there is; rates over the last ten seconds or so.
    pub used: f64,
    /// How much there may be.
    pub limit: u64,
}

/// A join token, as handed to whoever joins. Secret: never logged, never an argument.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// The text to hand over.
    pub token: String,
}

/// On what terms a link token is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkTerms {
    /// How many clusters may use it; one, if nothing is said.
    #[serde(default)]
    pub uses: Option<u32>,
    /// For how many seconds; fifteen minutes, if nothing is said.
    #[serde(default)]
    pub expires_seconds: Option<u64>,
}

/// Asks a controller to link with the cluster that made the token.
#[derive(Clone, Serialize, Deserialize)]
pub struct LinkJoin {
    /// The token.
    pub token: String,
}

/// The clusters are linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkJoined {
    /// The other cluster.
    pub cluster: ClusterName,
}

/// Asks a controller to go over to the next root of its cluster's CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// To make no root, but drop all that are older than the newest.
    #[serde(default)]
    pub finish: bool,
}

/// Asks a controller what is wrong with its links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examine {
    /// With the one to this cluster; with all of them, if none is named.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
}

/// A link, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The other cluster.
    pub cluster: ClusterName,
    /// What was looked at, in order; nothing after the first that is wrong.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What: `DNS`, `TCP`, `TLS identity`, `clock`, `ranges`, `version`, `data path` or `MTU`.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What was seen.
    pub detail: String,
    /// What to do; empty when nothing is wrong.
    pub advice: String,
}

/// How something is that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Wrong.
    Failed,
    /// Could not be looked at, or did not have to be.
    Skipped,
}

impl Check {
    /// It is as it should be.
    pub fn ok(name: &str, detail: String) -> Self {
        Self { name: name.into(), state: CheckState::Ok, detail, advice: String::new() }
    }

    /// It is wrong.
    pub fn failed(name: &str, detail: String, advice: String) -> Self {
        Self { name: name.into(), state: CheckState::Failed, detail, advice }
    }

    /// It was not looked at.
    pub fn skipped(name: &str, detail: String) -> Self {
        Self { name: name.into(), state: CheckState::Skipped, detail, advice: String::new() }
    }
}

/// What the CNI plugin asks the agent: the environment and the configuration, as the runtime gave them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniRequest {
    /// `CNI_COMMAND`: `ADD`, `DEL`, `CHECK`, `STATUS` or `GC`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`: a path.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, such as `K8S_POD_NAMESPACE=demo;K8S_POD_NAME=echo-0`.
    pub args: String,
    /// The network configuration from standard input.
    pub config: serde_json::Value,
}

/// What the agent answers: a CNI result, or a CNI error (CNI 1.1.0, "Result Types").
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CniResponse {
    /// To print as it is, with exit status 0. `null` prints nothing.
    Result(serde_json::Value),
    /// To print as a CNI error, with exit status 1.
    Error {
        /// CNI's error code.
        code: u32,
        /// What went wrong.
        msg: String,
        /// What to check.
        details: String,
    },
}
