//! Whose pods a node has to know.

use std::collections::{BTreeMap, BTreeSet};

use model::ClusterName;
use model::policy::{Namespace, Pod, Policy, PolicySubject};

use super::compiled::{Compiled, Direction, Selects, selects};
use super::identities::Identities;
use super::matchers::{Surroundings, Whom};
use super::planner::holds;
use super::settings::{Scope, Settings};

/// The clusters whose pods a node has to know: those that a policy about one of its own pods may mean by what they are. To be
/// asked before there is a [`super::Planner`], which knows the same of what it was told ([`super::Planner::interest`]).
pub fn interest<'a>(
    settings: &Settings,
    clusters: impl IntoIterator<Item = &'a ClusterName>,
    namespaces: impl IntoIterator<Item = &'a Namespace>,
    pods: impl IntoIterator<Item = &'a Pod>,
    policies: impl IntoIterator<Item = &'a Policy>,
) -> BTreeSet<ClusterName> {
    let cluster = settings.scope.cluster();
    let around = Surroundings {
        selectors: settings.selectors,
        clusters: clusters.into_iter().cloned().chain([cluster.clone()]).collect(),
        cluster: cluster.clone(),
        namespaces: namespaces.into_iter().map(|its| (its.name.clone(), its.labels.clone())).collect(),
        nodes: BTreeMap::new(),
        identities: Identities::default(),
    };
    let mine = |pod: &&Pod| match &settings.scope {
        Scope::Node(me) => pod.node.as_ref() == Some(me),
        Scope::Cluster(cluster) => pod.name.namespace.cluster == *cluster,
    };
    let mine: Vec<&Pod> = pods.into_iter().filter(mine).collect();
    let about_one = |policy: &Policy| {
        // Whether it is about this node the planner knows.
        if matches!(policy.subject, PolicySubject::Nodes(_)) {
            return settings.host.is_some();
        }
        mine.iter().any(|pod| {
            let namespace = &pod.name.namespace;
            let labels = around.namespaces.get(namespace);
            selects(policy, namespace, labels, Some(&pod.labels)) != Selects::No
        })
    };
    let mut found = BTreeSet::new();
    for policy in policies.into_iter().filter(|policy| holds(settings, policy) && about_one(policy)) {
        let compiled = Direction::ALL.into_iter().filter_map(|way| Compiled::new(policy, way));
        for rule in compiled.flat_map(|compiled| compiled.rules) {
            found.extend(rule.whoms().flat_map(|whom: &Whom| whom.interest(&around)));
        }
    }
    found
}
