//! Whom a selector means. Pods and namespaces have the name of their cluster as a label without carrying it.

use model::policy::{
    CILIUM_CLUSTER_LABEL, CLUSTER_LABEL, Labels, NamespaceChoice, Operator, PodSelector, Requirement,
    Selector,
};
use model::{ClusterName, PEER_LABEL};

/// Whether a label is the name of the cluster.
pub(super) fn is_cluster(key: &str) -> bool {
    key == CLUSTER_LABEL || key == CILIUM_CLUSTER_LABEL
}

/// Whether labels in a cluster are as a selector wants them.
pub(super) fn matches(selector: &Selector, cluster: &ClusterName, labels: &Labels) -> bool {
    selector.requirements.iter().all(|requirement| {
        let value = if is_cluster(&requirement.key) {
            Some(cluster.as_str())
        } else {
            labels.get(&requirement.key).map(String::as_str)
        };
        met(requirement, value)
    })
}

/// Whether some labels in a cluster could be as a selector wants them: only the cluster's name is known of them.
pub(super) fn could_match(selector: &Selector, cluster: &ClusterName) -> bool {
    let mut about_cluster = selector.requirements.iter().filter(|its| is_cluster(&its.key));
    about_cluster.all(|its| met(its, Some(cluster.as_str())))
}

/// Whether a selector asks for nothing but clusters.
pub(super) fn only_clusters(selector: &Selector) -> bool {
    selector.requirements.iter().all(|its| is_cluster(&its.key))
}

/// Whether a selector of pods says which clusters it means.
pub(super) fn names_cluster(selector: &PodSelector) -> bool {
    let named = |selector: &Selector| selector.requirements.iter().any(|its| is_cluster(&its.key));
    let by_namespace = match &selector.namespaces {
        NamespaceChoice::Named(_) => false,
        NamespaceChoice::Selected(selector) => named(selector),
    };
    by_namespace || named(&selector.pods)
}

/// Whether a selector of pods means peers that are no nodes, too: only one that asks for their label does.
pub(super) fn names_peer(selector: &PodSelector) -> bool {
    selector.pods.requirements.iter().any(|its| its.key == PEER_LABEL)
}

/// Whether a selector of pods may mean pods of a cluster at all.
pub(super) fn could_be_in(selector: &PodSelector, cluster: &ClusterName) -> bool {
    let by_namespace = match &selector.namespaces {
        NamespaceChoice::Named(_) => true,
        NamespaceChoice::Selected(selector) => could_match(selector, cluster),
    };
    by_namespace && could_match(&selector.pods, cluster)
}

fn met(requirement: &Requirement, value: Option<&str>) -> bool {
    match &requirement.operator {
        Operator::In(values) => value.is_some_and(|value| values.contains(value)),
        Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}
