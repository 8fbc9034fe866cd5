//! Who the other end is, and whether a rule's peer means it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::policy::{NamespaceChoice, Pod, PodName, PolicyEntity, PolicyPeer, Selector};
use model::{ClusterName, NodeName};

use crate::labels::{Truth, holds, of_namespace};
use crate::scene::{Node, Scene};

/// Who is at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who<'a> {
    /// A pod.
    Pod(&'a Pod),
    /// A node.
    Node(&'a Node),
    /// Somebody of whom more should be known.
    Unknown,
    /// Somebody else.
    Other,
}

/// Who is at an address. The pods that this node gave it come first, then the node itself, then nodes of the own cluster; other
/// clusters' private addresses are not seen here. Where two share an address it is nobody's.
pub(crate) fn who(scene: &Scene, ip: IpAddr) -> Who<'_> {
    let given: Vec<&PodName> =
        scene.attached.iter().filter(|(_, ips)| ips.contains(&ip)).map(|(name, _)| name).collect();
    if !given.is_empty() {
        let known: Vec<Option<&Pod>> =
            given.iter().map(|name| scene.pods.iter().find(|pod| pod.name == **name)).collect();
        return one_of(scene, &known).map_or_else(|| nobody(scene, ip), Who::Pod);
    }
    let nodes: Vec<&Node> = scene.nodes.iter().filter(|node| node.ips.contains(&ip)).collect();
    if let Some(me) = nodes.iter().find(|node| node.name == scene.me) {
        return Who::Node(me);
    }
    let own: Vec<&&Node> = nodes.iter().filter(|node| node.name.cluster == scene.me.cluster).collect();
    match own[..] {
        [] => {}
        [node] => return Who::Node(node),
        _ => return nobody(scene, ip),
    }
    let is_given = |pod: &Pod| scene.attached.iter().any(|(name, _)| *name == pod.name);
    let told = scene.pods.iter().filter(|pod| pod.ips.contains(&ip) && !is_given(pod));
    let pods: Vec<Option<&Pod>> = told.map(Some).collect();
    match (&pods[..], &nodes[..]) {
        ([], [node]) => Who::Node(node),
        ([_, ..], []) => one_of(scene, &pods).map_or_else(|| nobody(scene, ip), Who::Pod),
        _ => nobody(scene, ip),
    }
}

/// The first of some pods, if all are known and alike. "A pod whose namespace is not known is not known."
fn one_of<'a>(scene: &Scene, pods: &[Option<&'a Pod>]) -> Option<&'a Pod> {
    let ports = |pod: &Pod| pod.ports.iter().cloned().collect::<BTreeSet<_>>();
    let first = pods.first().copied().flatten()?;
    of_namespace(scene, &first.name.namespace)?;
    let same = |its: &Option<&Pod>| {
        its.is_some_and(|its| {
            its.name.namespace == first.name.namespace
                && its.labels == first.labels
                && ports(its) == ports(first)
        })
    };
    pods.iter().all(same).then_some(first)
}

/// "An address in the ranges of a cluster whose pods are told here is unknown as long as nobody is known to be at it."
fn nobody(scene: &Scene, ip: IpAddr) -> Who<'static> {
    let told = scene.clusters.iter().filter(|(name, _)| scene.told.contains(name));
    let within = told.flat_map(|(_, ranges)| ranges).any(|range| range.contains(&ip));
    if within { Who::Unknown } else { Who::Other }
}

/// Whether a cluster is one of those that are known.
pub(crate) fn exists(scene: &Scene, cluster: &ClusterName) -> bool {
    *cluster == scene.me.cluster || scene.clusters.iter().any(|(name, _)| name == cluster)
}

/// Whether a rule's peer means the other end.
pub(crate) fn matches(scene: &Scene, peer: &PolicyPeer, ip: IpAddr, who: &Who<'_>) -> bool {
    match peer {
        PolicyPeer::Pods(wanted) => {
            let Who::Pod(pod) = who else { return false };
            let cluster = &pod.name.namespace.cluster;
            let names = |selector: &Selector| {
                let keys = ["causeway.io/cluster", "io.cilium.k8s.policy.cluster"];
                selector.requirements.iter().any(|its| keys.contains(&its.key.as_str()))
            };
            let of_namespaces = match &wanted.namespaces {
                NamespaceChoice::Named(_) => false,
                NamespaceChoice::Selected(selector) => names(selector),
            };
            // "A selector that names no cluster means pods of the cluster that applies it, or all of them by the setting."
            let anywhere = scene.selectors_clusterset || of_namespaces || names(&wanted.pods);
            exists(scene, cluster)
                && (anywhere || *cluster == scene.me.cluster)
                && match &wanted.namespaces {
                    NamespaceChoice::Named(name) => *name == pod.name.namespace.name,
                    NamespaceChoice::Selected(selector) => {
                        let labels = of_namespace(scene, &pod.name.namespace);
                        labels.is_some() && holds(selector, cluster, labels) == Truth::Yes
                    }
                }
                && holds(&wanted.pods, cluster, Some(&pod.labels)) == Truth::Yes
        }
        // "Addresses in one of the ranges, and in none of the exceptions, whoever has them."
        PolicyPeer::Networks { ranges, except } => {
            ranges.iter().any(|range| range.contains(&ip)) && !except.iter().any(|range| range.contains(&ip))
        }
        PolicyPeer::Nodes(selector) => match who {
            Who::Node(Node { name: NodeName { cluster, .. }, labels, .. }) => {
                *cluster == scene.me.cluster && holds(selector, cluster, Some(labels)) == Truth::Yes
            }
            _ => false,
        },
        // "example.com is that name; *.example.com is every name below it, however deep."
        PolicyPeer::DomainNames(patterns) => {
            let mut leading = scene.names.iter().filter(|(_, to)| *to == ip).map(|(name, _)| name);
            leading.any(|name| {
                patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
                    Some(parent) => {
                        name.strip_suffix(parent).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
                    }
                    None => name == pattern,
                })
            })
        }
        PolicyPeer::Entity(entity) => is(scene, *entity, ip, who),
    }
}

fn is(scene: &Scene, entity: PolicyEntity, ip: IpAddr, who: &Who<'_>) -> bool {
    let of = |cluster: &ClusterName| match who {
        Who::Pod(pod) => pod.name.namespace.cluster == *cluster,
        Who::Node(node) => node.name.cluster == *cluster,
        Who::Unknown | Who::Other => false,
    };
    // "Where pods of a cluster are not told, its ranges say who belongs to it."
    let in_ranges = |cluster: &ClusterName| {
        let untold = !scene.told.contains(cluster);
        let mut its = scene.clusters.iter().filter(|(name, _)| name == cluster);
        untold && its.any(|(_, ranges)| ranges.iter().any(|range| range.contains(&ip)))
    };
    let belongs = |cluster: &ClusterName| of(cluster) || in_ranges(cluster);
    match entity {
        PolicyEntity::Cluster => belongs(&scene.me.cluster),
        PolicyEntity::ClusterMesh => {
            belongs(&scene.me.cluster) || scene.clusters.iter().any(|(name, _)| belongs(name))
        }
        PolicyEntity::Host => matches!(who, Who::Node(node) if node.name == scene.me),
        PolicyEntity::RemoteNode => matches!(who, Who::Node(node) if node.name != scene.me),
        // "The world is what is in no cluster: no pod's range, no node's address."
        PolicyEntity::World => {
            let pods = scene.clusters.iter().flat_map(|(_, ranges)| ranges).any(|range| range.contains(&ip));
            !pods && !scene.nodes.iter().any(|node| node.ips.contains(&ip))
        }
        PolicyEntity::All => true,
    }
}
