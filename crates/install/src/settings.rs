//! Everything that can be chosen about an installation.
//!
//! One definition: `causeway install` fills it from flags, a file and the cluster; the chart's `values.yaml` and its
//! schema, and the table in the book, are generated from the docstrings here. Nothing is optional by absence: an empty
//! text, list or map means "not set", in YAML as in Helm's templates.

mod agent;
pub(crate) mod check;
mod cluster;
mod controllers;
mod dns;
mod link;
mod mesh;
mod multicluster;
mod pods;
mod policy;
mod services;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use agent::{Agent, Cni};
pub use check::{Problem, check};
pub use cluster::{Cidr, Cluster};
pub use controllers::{ApiServer, Authority, Controllers};
pub use dns::Dns;
pub use link::{Budget, Link};
pub use mesh::{Encapsulate, Encryption, Granularity, Location, Mesh, PresharedKeys};
pub use multicluster::Multicluster;
pub use pods::{
    Image, Log, LogFormat, PullPolicy, Resources, Toleration, TolerationEffect, TolerationOperator,
};
pub use policy::{Distributed, Established, Policy, Selectors};

pub use services::{LoadBalancerAlgorithm, LoadBalancerMode, OtherCluster, Services, Traffic};

/// The namespace of Kubernetes' own daemons, and ours unless somebody says otherwise: it is there, and lets pods use the
/// host, so manifests can be tried on a server (`kubectl apply --dry-run=server`) before anything is made.
pub const SYSTEM: &str = "kube-system";

/// The settings of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The namespace that everything lives in. One other than `kube-system` is made, and deleted with the rest.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub namespace: String,
    /// The cluster, as it presents itself to others.
    pub cluster: Cluster,
    /// The image that everything runs from.
    pub image: Image,
    /// The cluster's daemon: watches the API server, speaks to the agents and to other clusters.
    pub controllers: Controllers,
    /// The nodes' daemon: tunnels, services, pods' network.
    pub agent: Agent,
    /// Which nodes have tunnels to which.
    pub mesh: Mesh,
    /// What links to other clusters may cost, and when what they brought is forgotten.
    pub link: Link,
    /// The Multi-Cluster Services API: services that clusters export to each other.
    pub multicluster: Multicluster,
    /// What counts for services that do not say.
    pub services: Services,
    /// What holds for all policies.
    pub policy: Policy,
    /// What the daemons log.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: SYSTEM.into(),
            cluster: Cluster::default(),
            image: Image::default(),
            controllers: Controllers::default(),
            agent: Agent::default(),
            mesh: Mesh::default(),
            link: Link::default(),
            multicluster: Multicluster::default(),
            services: Services::default(),
            policy: Policy::default(),
            log: Log::default(),
        }
    }
}

impl Settings {
    /// These settings, and over them what `values` says: a field at a time, as Helm does with its values.
    ///
    /// # Errors
    /// A value that is no setting, or not what its setting takes.
    pub fn with(&self, values: &Value) -> Result<Self, serde_json::Error> {
        let mut all = self.to_json();
        merge(&mut all, values);
        serde_json::from_value(all)
    }

    /// As the manifests' templates see them.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("settings are JSON")
    }
}

/// Puts values over others, a field at a time, as Helm does: lists are replaced whole, null says nothing.
pub fn merge(all: &mut Value, over: &Value) {
    match (all, over) {
        (Value::Object(all), Value::Object(over)) => {
            over.iter().for_each(|(key, value)| merge(all.entry(key).or_insert(Value::Null), value));
        }
        (_, Value::Null) => {}
        (all, over) => *all = over.clone(),
    }
}

/// The schema of the settings, in the dialect that Helm reads.
pub fn schema() -> Value {
    let mut dialect = schemars::generate::SchemaSettings::draft07();
    dialect.inline_subschemas = true;
    let schema = dialect.into_generator().into_root_schema_for::<Settings>();
    serde_json::to_value(schema).expect("a schema is JSON")
}
