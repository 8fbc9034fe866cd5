//! What belongs to neither daemon alone.

use cluster::kubernetes::clusterlink::ClusterLink;
use cluster::kubernetes::meshnode::MeshNode;
use kube::CustomResourceExt as _;

use crate::tree::{Tree, set, tree};

/// The namespace, in which pods may use the host.
pub(super) fn namespace() -> Tree {
    tree!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": (set("namespace")),
            "labels": {
                "app.kubernetes.io/name": "causeway",
                "pod-security.kubernetes.io/enforce": "privileged",
                "pod-security.kubernetes.io/audit": "privileged",
                "pod-security.kubernetes.io/warn": "privileged",
            },
        },
    })
}

/// Some providers let pods of the system's priorities run only where a quota speaks of them. It limits nobody here.
pub(super) fn quota() -> Tree {
    tree!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": (metadata("causeway-critical-pods")),
        "spec": {
            "hard": { "pods": "20k" },
            "scopeSelector": {
                "matchExpressions": [{
                    "operator": "In",
                    "scopeName": "PriorityClass",
                    "values": ["system-node-critical", "system-cluster-critical"],
                }],
            },
        },
    })
}

/// The kind that controllers share what they know of nodes by.
pub(super) fn mesh_nodes() -> Tree {
    serde_json::to_value(MeshNode::crd()).expect("a definition is JSON").into()
}

/// The kind that asks for links with other clusters.
pub(super) fn cluster_links() -> Tree {
    serde_json::to_value(ClusterLink::crd()).expect("a definition is JSON").into()
}

/// Nobody is given its token unasked: the controller's pod asks, and the agent's wants one for us alone.
pub(super) fn service_account(name: &str) -> Tree {
    tree!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": (metadata(name)),
        "automountServiceAccountToken": false,
    })
}

/// Metadata of an object in the namespace.
pub(super) fn metadata(name: &str) -> Tree {
    tree!({ "name": name, "namespace": (set("namespace")), "labels": { "app.kubernetes.io/name": "causeway" } })
}

/// Metadata of an object that belongs to no namespace.
pub(super) fn cluster_metadata(name: &str) -> Tree {
    tree!({ "name": name, "labels": { "app.kubernetes.io/name": "causeway" } })
}

/// By what a daemon's pods are known.
pub(super) fn labels(component: &str) -> Tree {
    tree!({ "app.kubernetes.io/name": "causeway", "app.kubernetes.io/component": component })
}

/// What the daemons log, through their environment.
pub(super) fn log_environment() -> [Tree; 2] {
    [
        tree!({ "name": "CAUSEWAY_LOG", "value": (set("log.level")) }),
        tree!({ "name": "CAUSEWAY_LOG_FORMAT", "value": (set("log.format")) }),
    ]
}

/// A value that the pod knows of itself.
pub(super) fn downward(name: &str, field: &str) -> Tree {
    tree!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": field } } })
}

/// An answer of a daemon's HTTP port that a probe asks for.
pub(super) fn probe(path: &str, port: &'static str, period: i64, failures: i64) -> Tree {
    tree!({
        "httpGet": { "path": path, "port": (set(port)) },
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}
