//! Who may talk to whom: what holds for all policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds for all policies: NetworkPolicy, ClusterNetworkPolicy, CiliumNetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether policies are enforced.
    pub enabled: bool,
    /// Which clusters a selector of pods means that names none by the label `causeway.io/cluster`: the one that applies the
    /// policy (`local`), or all of them (`clusterset`).
    pub selectors: Selectors,
    /// What becomes of connections that there are when policies change: they are judged again (`cut`), or go on (`keep`).
    pub established: Established,
    /// What becomes of policies that other clusters distribute (`causeway.io/distribute: "true"`): nothing (`ignore`), or they
    /// hold for this cluster's pods, too (`accept`).
    pub distributed: Distributed,
    /// Whether policies about nodes (`nodeSelector` of CiliumClusterwideNetworkPolicy) are enforced: what a node itself sends
    /// and is sent by the device that reaches other nodes.
    pub host: bool,
    /// What of that no policy stops: ports of the node's own, such as `tcp/22`, and addresses of others. The API server, the
    /// controllers and the tunnel are always among them; a load balancer of the API server is not, so name its address.
    pub host_always_allowed: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: true,
            selectors: Selectors::default(),
            established: Established::default(),
            distributed: Distributed::default(),
            host: false,
            host_always_allowed: vec!["tcp/22".into()],
        }
    }
}

/// Which clusters a selector of pods means that names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Selectors {
    #[default]
    Local,
    Clusterset,
}

/// What becomes of connections that there are when policies change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Established {
    #[default]
    Cut,
    Keep,
}

/// What becomes of policies that other clusters distribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the field's own words; comments would turn them into alternatives in the schema"
)]
pub enum Distributed {
    #[default]
    Ignore,
    Accept,
}
