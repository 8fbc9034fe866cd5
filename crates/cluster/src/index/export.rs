//! Exports: what an export takes along from its service, and what is said of it to whoever writes its status.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Access, ObjectName, Terms};

use crate::manifest::multicluster::ServiceExport;
use crate::multicluster::{Behind, Condition, Exported, SERVICE_NAME, conditions, version};

/// What is kept of an export.
#[derive(Debug, PartialEq)]
pub(super) struct Export {
    created: i64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    generation: i64,
    version: u64,
    conditions: Vec<Condition>,
}

impl Export {
    /// None for one that is being deleted.
    pub(super) fn new(object: &ServiceExport) -> Option<Self> {
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let spec = object.spec.clone().unwrap_or_default();
        let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let written = object.status.as_ref().and_then(|status| status.conditions.as_deref());
        Some(Self {
            created,
            labels: spec.exported_labels.unwrap_or_default(),
            annotations: spec.exported_annotations.unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            version: version(&object.metadata),
            conditions: conditions(written),
        })
    }

    /// What it makes of a service.
    pub(super) fn of(&self, terms: &Terms) -> model::Export {
        let (labels, annotations) = (self.labels.clone(), self.annotations.clone());
        model::Export { created: self.created, terms: Terms { labels, annotations, ..terms.clone() } }
    }

    /// What is said of it.
    pub(super) fn exported(&self, behind: Behind) -> Exported {
        let conditions = self.conditions.clone();
        Exported { behind, generation: self.generation, version: self.version, conditions }
    }
}

/// What a service would have its import be.
pub(super) fn terms(spec: &ServiceSpec, vips: &[IpAddr], access: &Access) -> Terms {
    let families: Vec<bool> = match spec.ip_families.as_deref() {
        Some(listed @ [_, ..]) => {
            let known = listed.iter().filter(|family| matches!(family.as_str(), "IPv4" | "IPv6"));
            known.map(|family| family == "IPv6").collect()
        }
        _ => vips.iter().map(IpAddr::is_ipv6).collect(),
    };
    Terms {
        headless: spec.cluster_ip.as_deref() == Some("None"),
        session_affinity: access.session_affinity,
        internal_local: access.internal_local,
        traffic_distribution: spec.traffic_distribution.clone().unwrap_or_default(),
        ipv6: families,
        ..Terms::default()
    }
}

/// Whether a slice is derived from an import: its endpoints are other clusters', or are there already.
pub(super) fn is_derived(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(SERVICE_NAME))
}

/// The name of an object, if it can be one of ours.
pub(super) fn name(id: &crate::manifest::Id) -> Option<ObjectName> {
    ObjectName::new(&id.namespace, &id.name).ok()
}
