use k8s_openapi::api::rbac::v1::PolicyRule;
pub(super) fn controller_rules() -> (Vec<PolicyRule>, Vec<PolicyRule>) {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| PolicyRule {
        api_groups: Some(groups.iter().map(|s| s.to_string()).collect()),
        resources: Some(resources.iter().map(|s| s.to_string()).collect()),
        verbs: verbs.iter().map(|s| s.to_string()).collect(),
        ..Default::default()
    };
    (
        vec![rule(&[""], &["nodes", "pods"], &["list", "watch"])],
        vec![rule(&[""], &["secrets"], &["get", "patch"])],
    )
}
pub(super) fn crd() -> serde_json::Value {
    serde_json::json!({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"meshnodes.causeway.io"},
    "spec":{"group":"causeway.io","names":{"kind":"MeshNode","plural":"meshnodes"},"scope":"Cluster","versions":[{"name":"v1alpha1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","description":"A: b's \"quoted\" #x"}}}]}})
}
