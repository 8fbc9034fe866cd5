//! Policy, asked and watched: what `causeway policy` says, and what it asks with.

mod end;
mod flow;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use model::policy::{Labels, PolicyAction, PolicyKind, PolicyName, PolicyTier};
use model::{ClusterName, NodeName, Port, Protocol};
use serde::{Deserialize, Serialize};

pub use end::{EndError, PolicyEnd};
pub use flow::{DeniedFlow, DeniedFlows, FlowEnd};

/// Questions that one request may hold.
pub const MOST_POLICY_QUESTIONS: usize = 4_096;

/// Asks a controller whether ends may talk to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyQuestions {
    /// At most [`MOST_POLICY_QUESTIONS`].
    pub questions: Vec<PolicyQuestion>,
}

/// May one end open a connection to the other?
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyQuestion {
    /// Who begins.
    pub from: PolicyEnd,
    /// Who is dialled.
    pub to: PolicyEnd,
    /// How.
    pub protocol: PolicyProtocol,
    /// The port that is dialled: the real one, behind a service. None for ICMP; else: a port that no rule names.
    #[serde(default)]
    pub port: Option<PortChoice>,
    /// By which of their addresses. None: the family that both have; IPv4 where they have both.
    #[serde(default)]
    pub family: Option<Family>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// An echo request: of ICMP, or of ICMPv6.
    Icmp,
}

impl PolicyProtocol {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
        }
    }

    /// The transport protocol; none for ICMP, which has no ports.
    pub fn transport(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Icmp => None,
        }
    }
}

impl fmt::Display for PolicyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PolicyProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|protocol| text.eq_ignore_ascii_case(protocol.as_str()));
        found.ok_or_else(|| format!("{text:?} is no protocol: write tcp, udp, sctp or icmp"))
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

impl Family {
    /// An address's.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::IPv4 } else { Self::IPv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        })
    }
}

/// A port by its number, or by the name that the pod which is dialled gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortChoice {
    /// By number.
    Number(Port),
    /// By name.
    Name(String),
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for PortChoice {
    type Err = String;

    /// A number from 1 to 65535, or a port's name as Kubernetes has them (RFC 6335: 1 to 15 of a-z, 0-9 and `-`, a letter
    /// among them).
    fn from_str(text: &str) -> Result<Self, String> {
        let what = || format!("{text:?} is no port: write a number from 1 to 65535, or a port's name");
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number).map_err(|_| what());
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = text.len() <= 15
            && text.bytes().all(fits)
            && text.bytes().any(|byte| byte.is_ascii_lowercase())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        if good { Ok(Self::Name(text.into())) } else { Err(what()) }
    }
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PolicyAnswer {
    /// It is answered.
    Judged(Box<PolicyCheck>),
    /// It cannot be: there is no such pod, say.
    Refused {
        /// Why, and what to do.
        error: String,
    },
}

/// Whether one end may open a connection to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCheck {
    /// Who begins, in full.
    pub from: PolicyEnd,
    /// Who is dialled, in full.
    pub to: PolicyEnd,
    /// How.
    pub protocol: PolicyProtocol,
    /// The port that is dialled.
    pub port: Option<PortChoice>,
    /// Between which of their addresses.
    #[serde(default)]
    pub family: Option<Family>,
    /// Whether it may: both ends say so. None: that is not known here.
    pub allowed: Option<bool>,
    /// What holds for `from`, who sends.
    pub egress: PolicyDecision,
    /// What holds for `to`, who is sent to.
    pub ingress: PolicyDecision,
}

/// What holds at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDecision {
    /// Whether it may. None: that is not known here.
    pub allowed: Option<bool>,
    /// Why.
    pub by: DecidedBy,
    /// The rule that decided, where one did.
    pub rule: Option<PolicyRuleRef>,
    /// The cluster whose end it is, and that judges it; none for what is in no cluster.
    pub judged_by: Option<ClusterName>,
    /// The policies that select the end for this direction, in the order in which they are asked.
    pub policies: Vec<PolicyRef>,
    /// The same in a sentence, with what to do where there is something to be done; may be empty.
    #[serde(default)]
    pub note: String,
}

/// Why something may pass, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// A rule says so.
    Rule,
    /// No rule says anything of it, and nothing isolates the end.
    NoPolicy,
    /// A policy isolates the end, and no rule accepts.
    Isolated,
    /// It is not known who the other end, or the end itself, is: what might be denied is.
    Unknown,
    /// The node's own talk with its own pods always passes.
    OwnNode,
    /// No policy stops it at the node itself: SSH, the API server, the controllers, the tunnel.
    AlwaysAllowed,
    /// Another cluster's end: that one judges it.
    NotJudged,
}

impl DecidedBy {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Rule,
        Self::NoPolicy,
        Self::Isolated,
        Self::Unknown,
        Self::OwnNode,
        Self::AlwaysAllowed,
        Self::NotJudged,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::NoPolicy => "no-policy",
            Self::Isolated => "isolated",
            Self::Unknown => "unknown",
            Self::OwnNode => "own-node",
            Self::AlwaysAllowed => "always-allowed",
            Self::NotJudged => "not-judged",
        }
    }
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PolicyDecision {
    /// An end of another cluster.
    pub fn not_judged(cluster: ClusterName) -> Self {
        let note = format!(
            "{cluster} judges its own end: ask its controller, too (causeway policy check, where that one runs)"
        );
        Self { note, judged_by: Some(cluster), ..Self::bare(None, DecidedBy::NotJudged) }
    }

    /// An end in no cluster of ours: nobody of us keeps it from anything.
    pub fn nobody() -> Self {
        let note = "this end is in no cluster: nobody of ours judges there".into();
        Self { note, ..Self::bare(Some(true), DecidedBy::NoPolicy) }
    }

    fn bare(allowed: Option<bool>, by: DecidedBy) -> Self {
        Self { allowed, by, rule: None, judged_by: None, policies: Vec::new(), note: String::new() }
    }
}

impl PolicyCheck {
    /// Whether it may, by what holds at both ends.
    pub fn conclude(egress: &PolicyDecision, ingress: &PolicyDecision) -> Option<bool> {
        match (egress.allowed, ingress.allowed) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    /// The answers of both ends' clusters, made one: of each end what is known counts.
    pub fn join(self, other: Self) -> Self {
        let better = |a: PolicyDecision, b: PolicyDecision| if a.by == DecidedBy::NotJudged { b } else { a };
        let (egress, ingress) = (better(self.egress, other.egress), better(self.ingress, other.ingress));
        Self {
            allowed: Self::conclude(&egress, &ingress),
            family: self.family.or(other.family),
            egress,
            ingress,
            from: self.from,
            to: self.to,
            protocol: self.protocol,
            port: self.port,
        }
    }
}

/// Names a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// What it is written as.
    pub kind: PolicyKind,
    /// The cluster it was written in.
    pub cluster: ClusterName,
    /// Its namespace; empty for one of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl From<&PolicyName> for PolicyRef {
    fn from(name: &PolicyName) -> Self {
        let PolicyName { cluster, kind, namespace, name } = name.clone();
        Self { kind, cluster, namespace, name }
    }
}

impl From<PolicyRef> for PolicyName {
    fn from(PolicyRef { kind, cluster, namespace, name }: PolicyRef) -> Self {
        Self { cluster, kind, namespace, name }
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PolicyName::from(self.clone()).fmt(f)
    }
}

/// Names a rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRuleRef {
    /// The policy.
    #[serde(flatten)]
    pub policy: PolicyRef,
    /// Where in the object: `spec.ingress[2]`.
    pub path: String,
    /// The rule's own name; empty if it has none.
    pub rule: String,
    /// When it is asked.
    pub tier: TierName,
    /// What it does.
    pub action: ActionName,
}

impl fmt::Display for PolicyRuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.path)?;
        if self.rule.is_empty() { Ok(()) } else { write!(f, " ({})", self.rule) }
    }
}

/// A tier, without a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierName {
    /// Before those of namespaces.
    Admin,
    /// NetworkPolicy, and Cilium's.
    Namespace,
    /// For what none of those isolates.
    Baseline,
}

impl From<PolicyTier> for TierName {
    fn from(tier: PolicyTier) -> Self {
        match tier {
            PolicyTier::Admin { .. } => Self::Admin,
            PolicyTier::Namespace => Self::Namespace,
            PolicyTier::Baseline { .. } => Self::Baseline,
        }
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Namespace => "namespace",
            Self::Baseline => "baseline",
        })
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionName {
    /// It may pass.
    Accept,
    /// It is dropped.
    Deny,
    /// The rest of the tier is not asked.
    Pass,
}

impl From<PolicyAction> for ActionName {
    fn from(action: PolicyAction) -> Self {
        match action {
            PolicyAction::Accept => Self::Accept,
            PolicyAction::Deny => Self::Deny,
            PolicyAction::Pass => Self::Pass,
        }
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accepts",
            Self::Deny => "denies",
            Self::Pass => "passes on",
        })
    }
}

/// Asks a controller what holds for a pod of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyShowAsk {
    /// The pod.
    pub pod: PolicyEnd,
}

/// What holds for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyShow {
    /// The pod or node, in full.
    pub pod: PolicyEnd,
    /// The pod's node; the node itself.
    pub node: Option<NodeName>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its labels.
    pub labels: Labels,
    /// For what is sent to it.
    pub ingress: PolicyDirection,
    /// For what it sends.
    pub egress: PolicyDirection,
}

/// What holds for a pod or node in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDirection {
    /// Whether a policy isolates it: what no rule accepts is denied.
    pub isolated: bool,
    /// Whether nothing passes because its rules cannot be enforced, or are not known yet; why. Empty: it is not so.
    #[serde(default)]
    pub closed: String,
    /// The policies that select it, in the order in which they are asked.
    pub policies: Vec<PolicyRef>,
    /// Their rules, likewise.
    pub rules: Vec<PolicyRuleShown>,
}

/// A rule, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRuleShown {
    /// Which.
    #[serde(flatten)]
    pub rule: PolicyRuleRef,
    /// The priority of its policy, where its tier has some.
    #[serde(default)]
    pub priority: Option<u16>,
    /// The other ends, in words, one for each peer; none: everybody.
    pub peers: Vec<String>,
    /// Ports, such as `tcp/80`, `udp/1000-2000`, `tcp/http`, `icmp/8`; none: everything.
    pub ports: Vec<String>,
}

/// What is carried out as it is written, and hardly meant so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLint {
    /// The cluster that applies them.
    pub cluster: ClusterName,
    /// How many policies it applies.
    pub policies: usize,
    /// What was found, by policy and path.
    pub findings: Vec<PolicyFinding>,
}

/// One thing that `causeway policy lint` found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFinding {
    /// In which policy.
    pub policy: PolicyRef,
    /// Where in it.
    pub path: String,
    /// What, in one word: `selects-nothing`, `shadowed`, `wide` …
    pub kind: String,
    /// In a sentence that says what to do.
    pub message: String,
}

#[cfg(test)]
mod tests;
