//! What a source says of the Multi-Cluster Services API beside what travels: which namespaces there are, what has become of
//! exports, and which imports and derived slices the API server holds. For whoever writes those.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as KubeCondition, ObjectMeta};
use model::{ClusterName, ObjectName};
use serde_json::{Value, json};

use crate::kubernetes::FIELD_MANAGER;
use crate::manifest::multicluster::ServiceImport;
use crate::manifest::{Id, Kind};

/// The label that says which import a slice belongs to.
pub const SERVICE_NAME: &str = "multicluster.kubernetes.io/service-name";
/// The label that says which cluster the endpoints of a slice are in.
pub const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";
/// The label that says who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// As that label names us.
pub const MANAGER: &str = "controller.causeway.io";

/// Something that is now so, in place of what was said of it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A namespace is there, or gone.
    Namespace {
        /// Which.
        name: String,
        /// Whether it is there.
        there: bool,
    },
    /// An export, or none any more.
    Export {
        /// Its name, and that of its service.
        name: ObjectName,
        /// The export.
        export: Option<Exported>,
    },
    /// An import as the API server holds it, or none any more.
    Import {
        /// Its name.
        name: ObjectName,
        /// The import.
        import: Option<Imported>,
    },
    /// A derived slice of ours as the API server holds it, or none any more.
    Slice {
        /// Its own name.
        name: ObjectName,
        /// The slice.
        slice: Option<DerivedSlice>,
    },
}

impl Fact {
    /// What it is about.
    pub fn id(&self) -> Id {
        let of = |kind, name: &ObjectName| Id::new(kind, &name.namespace, &name.name);
        match self {
            Self::Namespace { name, .. } => Id::new(Kind::Namespace, "", name),
            Self::Export { name, .. } => of(Kind::ServiceExport, name),
            Self::Import { name, .. } => of(Kind::ServiceImport, name),
            Self::Slice { name, .. } => of(Kind::EndpointSlice, name),
        }
    }
}

/// Whether there is anything behind an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// A service that can be exported.
    Service,
    /// Nothing.
    Nothing,
    /// A service that is only a name for something else.
    ExternalName,
    /// A service of a namespace that is not shared with other clusters.
    Unshared,
}

/// An export of the own cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What stands behind it.
    pub behind: Behind,
    /// Its `metadata.generation`.
    pub generation: i64,
    /// Its resourceVersion; 0 where there is none.
    pub version: u64,
    /// What its status says.
    pub conditions: Vec<Condition>,
}

/// An import as the API server holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Whether we have written it.
    pub ours: bool,
    /// Its spec.
    pub spec: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The clusters that its status names.
    pub clusters: Vec<String>,
    /// What its status says.
    pub conditions: Vec<Condition>,
}

impl From<&ServiceImport> for Imported {
    fn from(object: &ServiceImport) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let clusters = status.clusters.unwrap_or_default();
        let map = |map: &Option<BTreeMap<String, String>>| map.clone().unwrap_or_default();
        Self {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            version: version(&object.metadata),
            ours: is_ours(&object.metadata),
            spec: serde_json::to_value(&object.spec).expect("a spec is JSON"),
            labels: map(&object.metadata.labels),
            annotations: map(&object.metadata.annotations),
            clusters: clusters.into_iter().map(|source| source.cluster).collect(),
            conditions: conditions(status.conditions.as_deref()),
        }
    }
}

/// A slice that we have derived from another cluster's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedSlice {
    /// Its resourceVersion.
    pub version: u64,
    /// The import that it belongs to, without the namespace, which is its own.
    pub import: String,
    /// Stands for its content.
    pub print: u64,
}

impl DerivedSlice {
    /// None for a slice that is not ours.
    pub fn new(object: &EndpointSlice) -> Option<Self> {
        let labels = object.metadata.labels.as_ref()?;
        let import = labels.get(SERVICE_NAME)?.clone();
        if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
            return None;
        }
        let content = json!({
            "addressType": object.address_type,
            "ports": object.ports,
            "endpoints": object.endpoints,
        });
        Some(Self { version: version(&object.metadata), import, print: print_of(&content) })
    }
}

/// One condition of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in words joined by commas.
    pub reason: String,
    /// Why, in sentences.
    pub message: String,
    /// Which generation of the object it speaks of.
    pub generation: i64,
    /// Since when the status is so, as Kubernetes writes it; empty for one that is not written yet.
    pub since: String,
}

impl Condition {
    /// A condition that is to be written.
    pub fn new(kind: &str, status: &str, reason: &str, message: impl Into<String>) -> Self {
        let (kind, status, reason) = (kind.into(), status.into(), reason.into());
        Self { kind, status, reason, message: message.into(), generation: 0, since: String::new() }
    }

    /// Whether both say the same, whenever they began to.
    pub fn says(&self, other: &Self) -> bool {
        let words = |c: &Self| (c.kind.clone(), c.status.clone(), c.reason.clone(), c.message.clone());
        words(self) == words(other) && self.generation == other.generation
    }
}

impl From<&KubeCondition> for Condition {
    fn from(condition: &KubeCondition) -> Self {
        Self {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            generation: condition.observed_generation.unwrap_or_default(),
            since: condition.last_transition_time.0.to_string(),
        }
    }
}

/// The conditions that an object has.
pub(crate) fn conditions(written: Option<&[KubeCondition]>) -> Vec<Condition> {
    written.unwrap_or_default().iter().map(Condition::from).collect()
}

/// What is derived from where: the labels of a slice of ours.
pub fn slice_labels(import: &str, source: &ClusterName) -> [(&'static str, String); 3] {
    [(SERVICE_NAME, import.into()), (SOURCE_CLUSTER, source.to_string()), (MANAGED_BY, MANAGER.into())]
}

/// Whether we have written an object's own fields.
pub(crate) fn is_ours(metadata: &ObjectMeta) -> bool {
    let ours = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    metadata.managed_fields.iter().flatten().any(ours)
}

/// An object's resourceVersion: of two of one object the greater is the later (KEP-5504). 0 if it is no number.
pub(crate) fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Stands for a value of JSON, whatever the order of its fields.
pub fn print_of(value: &Value) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = siphasher::sip::SipHasher13::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
