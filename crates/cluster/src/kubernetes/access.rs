//! What a controller may do at its API server: exactly what it does. The installer writes these rules; tests run the whole
//! controller against a server that knows no others.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{clusterlink, state};

/// The name of the Lease that controllers elect their leader by.
pub const LEASE: &str = "causeway-controller";

/// The rules for the whole cluster, and those for the controller's own namespace.
pub fn controller_rules() -> (Vec<PolicyRule>, Vec<PolicyRule>) {
    let read = &["list", "watch"];
    let cluster = vec![
        rule("", &["namespaces"], read),
        // Looked up one by one to name the owner of a MeshNode, whom a token is of, and what an Event is about.
        rule("", &["nodes", "pods", "services"], &["get", "list", "watch"]),
        // Written are those that are derived from other clusters' endpoints.
        rule("discovery.k8s.io", &["endpointslices"], &["get", "list", "watch", "create", "patch", "delete"]),
        rule("networking.k8s.io", &["networkpolicies"], read),
        rule("policy.networking.k8s.io", &["clusternetworkpolicies"], read),
        rule("cilium.io", &["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"], read),
        rule("multicluster.x-k8s.io", &["serviceexports"], read),
        rule("multicluster.x-k8s.io", &["serviceexports/status", "serviceimports/status"], &["patch"]),
        rule("multicluster.x-k8s.io", &["serviceimports"], &["list", "watch", "create", "patch", "delete"]),
        // Written by `causeway peer`.
        rule("kilo.squat.ai", &["peers"], &["get", "list", "watch", "create", "patch", "delete"]),
        rule("about.k8s.io", &["clusterproperties"], &["list", "create", "patch", "delete"]),
        rule("causeway.io", &["meshnodes"], &["list", "watch", "create", "patch", "delete"]),
        rule("causeway.io", &["meshnodes/status"], &["patch"]),
        rule("causeway.io", &["clusterlinks"], read),
        rule("causeway.io", &["clusterlinks/status"], &["patch"]),
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ];
    let mut namespace = Vec::new();
    for (group, resource, name, verbs) in [
        ("coordination.k8s.io", "leases", LEASE, &["get", "list", "watch", "patch"][..]),
        ("", "secrets", state::STATE, &["get", "patch"]),
        ("", "configmaps", state::ROOTS, &["get", "patch"]),
    ] {
        // A right to create cannot be tied to a name.
        namespace.push(rule(group, &[resource], &["create"]));
        namespace
            .push(PolicyRule { resource_names: Some(vec![name.into()]), ..rule(group, &[resource], verbs) });
    }
    // The tokens that ClusterLinks name.
    namespace.push(PolicyRule {
        resource_names: Some(vec![clusterlink::TOKENS.into()]),
        ..rule("", &["secrets"], &["get"])
    });
    (cluster, namespace)
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
