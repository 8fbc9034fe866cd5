//! Flows that were denied.

use std::net::IpAddr;

use model::NodeName;
use serde::{Deserialize, Serialize};

use super::PolicyRuleRef;

/// What an agent has denied since a number, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeniedFlows {
    /// The number to ask with next.
    pub next: u64,
    /// How many since then are not here: there were more than an agent keeps.
    pub lost: u64,
    /// The flows.
    pub flows: Vec<DeniedFlow>,
}

/// A flow that was denied. The names of the fields are a contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeniedFlow {
    /// When, in seconds since 1970; of several alike the last.
    pub at: f64,
    /// The node that dropped it.
    pub node: NodeName,
    /// `egress`: it was dropped as it left a pod. `ingress`: on its way into one.
    pub direction: String,
    /// Who sent it.
    pub from: FlowEnd,
    /// Who was to get it.
    pub to: FlowEnd,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or the protocol's number.
    pub protocol: String,
    /// The ICMP type, where it is ICMP.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// Why: the numbered reason's name, such as `policy_isolated`.
    pub reason: String,
    /// The rule that denies it, where one does.
    pub rule: Option<PolicyRuleRef>,
    /// How many packets alike this stands for.
    pub count: u64,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowEnd {
    /// Who has the address, as a [`super::PolicyEnd`] is written; empty where that is not known.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// The port; none where there is none.
    pub port: Option<u16>,
}
