//! What ought to run where: Deployments taken apart into pods, and pods placed on nodes.
//!
//! Stands in for Kubernetes' Deployment controller and scheduler, as a function of the objects there are: called again
//! with what it returned, it returns the same. It knows neither resources nor taints; `nodeSelector` and
//! `unschedulable` count.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::manifest::{Id, Kind, Manifest};

/// What ought to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    /// Every pod that ought to exist, by namespace and name; without a node if there is none for it.
    pub pods: Vec<Pod>,
    /// What could not be done, in words.
    pub problems: Vec<String>,
}

/// Works out the pods that ought to exist, from the nodes, Deployments and pods that there are.
///
/// A Deployment's pods are `NAME-0` to `NAME-(replicas - 1)`: scaling down removes the newest. A pod stays on its node
/// while the node is there; others go where the fewest of their Deployment are, then where the fewest pods are.
pub fn place<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Placement {
    let mut nodes = BTreeMap::new();
    let mut deployments = BTreeMap::new();
    let mut there = BTreeMap::new();
    for manifest in manifests {
        match manifest {
            Manifest::Node(node) => drop(nodes.insert(manifest.id().name, &**node)),
            Manifest::Deployment(deployment) => drop(deployments.insert(manifest.id(), &**deployment)),
            Manifest::Pod(pod) => drop(there.insert(manifest.id(), &**pod)),
            _ => {}
        }
    }
    let mut placement = Placement::default();
    let mut wanted: BTreeMap<Id, Wanted> = BTreeMap::new();
    for (id, pod) in &there {
        if owner(pod).is_none() {
            wanted.insert(id.clone(), Wanted { pod: (*pod).clone(), deployment: None });
        }
    }
    for (id, deployment) in &deployments {
        for n in 0..replicas(deployment) {
            let pod_id = Id::new(Kind::Pod, &id.namespace, &format!("{}-{n}", id.name));
            if wanted.contains_key(&pod_id) {
                let problem = format!("{pod_id} is not one of {id}, which needs its name; give it another");
                placement.problems.push(problem);
                continue;
            }
            let existing = there.get(&pod_id).copied();
            let pod = pod_of(id, deployment, &pod_id, existing.filter(|pod| stays(pod, &nodes)));
            wanted.insert(pod_id, Wanted { pod, deployment: Some(id.clone()) });
        }
    }
    settle(&mut wanted, &nodes, &mut placement.problems);
    placement.pods = wanted.into_values().map(|wanted| wanted.pod).collect();
    placement
}

/// A pod that ought to exist, and the Deployment that wants it.
struct Wanted {
    pod: Pod,
    deployment: Option<Id>,
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty())
}

/// The Deployment that a pod was made for.
fn owner(pod: &Pod) -> Option<&str> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.kind == "Deployment").map(|owner| owner.name.as_str())
}

/// Whether what is known of the pod can still be true.
fn stays(pod: &Pod, nodes: &BTreeMap<String, &Node>) -> bool {
    owner(pod).is_some() && node_of(pod).is_none_or(|node| nodes.contains_key(node))
}

/// A Deployment's pod: what the template says, and what the pod that is there has become.
fn pod_of(id: &Id, deployment: &Deployment, pod_id: &Id, existing: Option<&Pod>) -> Pod {
    let template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(pod_id.name.clone());
    metadata.namespace = Some(pod_id.namespace.clone());
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: Kind::Deployment.api_version().into(),
        kind: Kind::Deployment.as_str().into(),
        name: id.name.clone(),
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }]);
    let mut spec = template.spec;
    if let Some(existing) = existing {
        metadata.uid = existing.metadata.uid.clone();
        metadata.creation_timestamp = existing.metadata.creation_timestamp.clone();
        metadata.deletion_timestamp = existing.metadata.deletion_timestamp.clone();
        if let (Some(spec), Some(node)) = (&mut spec, node_of(existing)) {
            spec.node_name = Some(node.to_string());
        }
    }
    Pod { metadata, spec, status: existing.and_then(|pod| pod.status.clone()) }
}

/// Gives a node to every pod that has none.
fn settle(wanted: &mut BTreeMap<Id, Wanted>, nodes: &BTreeMap<String, &Node>, problems: &mut Vec<String>) {
    let mut pods_on: BTreeMap<&str, usize> = BTreeMap::new();
    let mut of_deployment_on: BTreeMap<(Id, &str), usize> = BTreeMap::new();
    let mut homeless = BTreeSet::new();
    for (id, Wanted { pod, deployment }) in wanted.iter() {
        match node_of(pod).map(|name| (name, nodes.get_key_value(name))) {
            None => drop(homeless.insert((deployment.is_none(), id.clone()))),
            Some((name, None)) => problems.push(format!("{id} is to run on node {name}, which is not there")),
            Some((_, Some((node, _)))) => {
                *pods_on.entry(node).or_default() += 1;
                if let Some(deployment) = deployment {
                    *of_deployment_on.entry((deployment.clone(), node)).or_default() += 1;
                }
            }
        }
    }
    for (_, id) in homeless {
        let Some(Wanted { pod, deployment }) = wanted.get_mut(&id) else { continue };
        let deployment = &*deployment;
        let alike = |node: &str| match deployment {
            Some(deployment) => {
                of_deployment_on.get(&(deployment.clone(), node)).copied().unwrap_or_default()
            }
            None => 0,
        };
        let usable = nodes.iter().filter(|(_, node)| takes(node, pod));
        let Some((node, _)) = usable
            .min_by_key(|(name, _)| (alike(name), pods_on.get(name.as_str()).copied().unwrap_or_default()))
        else {
            problems.push(format!(
                "{id} has no node to run on; look at its nodeSelector and at the nodes' labels"
            ));
            continue;
        };
        *pods_on.entry(node).or_default() += 1;
        if let Some(deployment) = deployment {
            *of_deployment_on.entry((deployment.clone(), node)).or_default() += 1;
        }
        pod.spec.get_or_insert_default().node_name = Some(node.clone());
    }
}

/// Whether a node takes a new pod.
fn takes(node: &Node, pod: &Pod) -> bool {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    let labels = node.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
    !closed && selector.into_iter().flatten().all(has)
}

#[cfg(test)]
mod tests;
