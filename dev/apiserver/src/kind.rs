//! The kinds of objects that are served, and how each behaves.

use std::sync::Arc;

use serde_json::Value;

/// One served kind in one version.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether `status` is a part of its own, written through `/status` only.
    pub(crate) status: bool,
    /// Whether `metadata.generation` counts the changes of everything but metadata and status.
    pub(crate) generation: bool,
    /// For what a CustomResourceDefinition brought: its schema.
    pub(crate) custom: Option<Arc<Value>>,
}

/// Group, version, kind, plural, and how it behaves: `n`amespaced, `s`tatus apart, `g`eneration.
const BUILT_IN: [(&str, &str, &str, &str, &str); 23] = [
    ("", "v1", "ConfigMap", "configmaps", "n"),
    ("", "v1", "Endpoints", "endpoints", "n"),
    ("", "v1", "Event", "events", "n"),
    ("", "v1", "Namespace", "namespaces", "s"),
    ("", "v1", "Node", "nodes", "s"),
    ("", "v1", "Pod", "pods", "nsg"),
    ("", "v1", "Secret", "secrets", "n"),
    ("", "v1", "Service", "services", "ns"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "n"),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "sg"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "sg"),
    ("apps", "v1", "DaemonSet", "daemonsets", "nsg"),
    ("apps", "v1", "Deployment", "deployments", "nsg"),
    ("coordination.k8s.io", "v1", "Lease", "leases", "n"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "ng"),
    ("events.k8s.io", "v1", "Event", "events", "n"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "ng"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "nsg"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", ""),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", ""),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "n"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "n"),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "g"),
];

/// The kinds that are there from the start.
pub(crate) fn built_in() -> Vec<Arc<Kind>> {
    let kinds = BUILT_IN.iter().map(|(group, version, kind, plural, traits)| Kind {
        group: group.to_string(),
        version: version.to_string(),
        kind: kind.to_string(),
        plural: plural.to_string(),
        namespaced: traits.contains('n'),
        status: traits.contains('s'),
        generation: traits.contains('g'),
        custom: None,
    });
    kinds.map(Arc::new).collect()
}

/// The kinds that a CustomResourceDefinition brings: one for each version that it serves.
pub(crate) fn custom(definition: &Value) -> Vec<Arc<Kind>> {
    let spec = &definition["spec"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let versions = spec["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|v| v["served"] == true).map(|version| Kind {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        kind: text(&spec["names"]["kind"]),
        plural: text(&spec["names"]["plural"]),
        namespaced: spec["scope"] == "Namespaced",
        status: version["subresources"]["status"].is_object(),
        generation: true,
        custom: Some(Arc::new(version["schema"]["openAPIV3Schema"].clone())),
    });
    served.map(Arc::new).collect()
}

impl Kind {
    /// Under which all versions of the kind are kept: `pods`, `leases.coordination.k8s.io`.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// How the object's JSON begins: kind and version, which the store leaves out.
    pub(crate) fn head(&self) -> String {
        format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", self.kind, self.api_version())
    }

    /// Whether a replacement may leave out the version that it replaces.
    pub(crate) fn replaces_blindly(&self) -> bool {
        self.custom.is_none() && !matches!(self.plural.as_str(), "leases" | "customresourcedefinitions")
    }

    /// Whether a deletion answers with the object rather than with a bare success.
    pub(crate) fn returns_deleted(&self) -> bool {
        matches!(self.plural.as_str(), "pods" | "services" | "serviceaccounts")
    }

    /// Whether the API server knows this field selector for the kind.
    pub(crate) fn selects(&self, field: &str) -> bool {
        match field {
            "metadata.name" => true,
            "metadata.namespace" => self.namespaced,
            "spec.nodeName" | "status.phase" | "status.podIP" | "spec.hostNetwork" => self.kind == "Pod",
            "type" => self.kind == "Secret",
            _ => false,
        }
    }
}
