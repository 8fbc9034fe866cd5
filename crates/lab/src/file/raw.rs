//! A lab file as it is written.

use std::collections::BTreeMap;

use agent::config::LoadBalancerAlgorithm;
use controller::config::Mesh;
use engine::policy::{Distributed, Established, Selectors};
use engine::services::{LoadBalancerMode, TableSize};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{LabPolicy, PresharedKeys};
use crate::underlay::NatKind;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLab {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// Of every cluster that does not say.
    #[serde(default)]
    pub(super) services: RawServices,
    /// Of every cluster that does not say.
    #[serde(default)]
    pub(super) policy: RawPolicy,
    pub(super) mesh: Option<Mesh>,
    /// Of every cluster that does not say.
    #[serde(default)]
    pub(super) preshared_keys: PresharedKeys,
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
    pub(super) hosts: Vec<RawHost>,
    #[serde(default)]
    pub(super) services: RawServices,
    #[serde(default)]
    pub(super) policy: RawPolicy,
    pub(super) mesh: Option<Mesh>,
    pub(super) preshared_keys: Option<PresharedKeys>,
    /// Of every node that does not say.
    pub(super) nat: Option<RawNat>,
    #[serde(default)]
    pub(super) agent: RawAgent,
    #[serde(default)]
    pub(super) dns: RawDns,
    #[serde(default)]
    pub(super) manifests: Vec<String>,
}

/// What its pods have of the outside.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct RawAgent {
    pub(super) masquerade: bool,
}

/// Who is asked for names of the outside.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct RawDns {
    pub(super) upstreams: Vec<String>,
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
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<String>,
    pub(super) nat: Option<RawNat>,
}

/// What is between nodes and the rest of the world.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawNat {
    None,
    FullCone,
    Restricted,
    PortRestricted,
    Symmetric,
}

impl RawNat {
    pub(super) fn kind(self) -> Option<NatKind> {
        match self {
            Self::None => None,
            Self::FullCone => Some(NatKind::FullCone),
            Self::Restricted => Some(NatKind::Restricted),
            Self::PortRestricted => Some(NatKind::PortRestricted),
            Self::Symmetric => Some(NatKind::Symmetric),
        }
    }
}

/// One of a cluster's `hosts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawHost {
    pub(super) name: String,
    pub(super) location: String,
}

/// What agents do for services, as far as it is said: the words of their configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct RawServices {
    load_balancer_mode: Option<LoadBalancerMode>,
    load_balancer_algorithm: Option<LoadBalancerAlgorithm>,
    maglev_table_size: Option<TableSize>,
    eject_outliers: Option<bool>,
}

impl RawServices {
    /// The agents' configuration; what is not said here is as in `rest`.
    pub(super) fn over(&self, rest: agent::config::Services) -> agent::config::Services {
        agent::config::Services {
            load_balancer_mode: self.load_balancer_mode.unwrap_or(rest.load_balancer_mode),
            load_balancer_algorithm: self.load_balancer_algorithm.unwrap_or(rest.load_balancer_algorithm),
            maglev_table_size: self.maglev_table_size.unwrap_or(rest.maglev_table_size),
            eject_outliers: self.eject_outliers.unwrap_or(rest.eject_outliers),
            ..rest
        }
    }
}

/// What holds for policies, as far as it is said: the words of the agents' configuration and the controller's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct RawPolicy {
    enabled: Option<bool>,
    selectors: Option<Selectors>,
    established: Option<Established>,
    distributed: Option<Distributed>,
    host: Option<bool>,
    host_always_allowed: Option<Vec<String>>,
}

impl RawPolicy {
    /// What holds; what is not said here is as in `rest`.
    pub(super) fn over(&self, rest: LabPolicy) -> LabPolicy {
        LabPolicy {
            agents: agent::config::Policy {
                enabled: self.enabled.unwrap_or(rest.agents.enabled),
                selectors: self.selectors.unwrap_or(rest.agents.selectors),
                established: self.established.unwrap_or(rest.agents.established),
                host: self.host.unwrap_or(rest.agents.host),
                host_always_allowed: self
                    .host_always_allowed
                    .clone()
                    .unwrap_or(rest.agents.host_always_allowed),
            },
            distributed: self.distributed.unwrap_or(rest.distributed),
        }
    }
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
    #[serde(default)]
    pub(super) mtu: Option<u32>,
}
