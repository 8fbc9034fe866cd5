//! The Kubernetes objects of a lab's cluster: what only the lab can know to be wrong with them.
//!
//! That each is right by itself is `cluster::manifest`'s to say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::manifest::{self, Manifest as Object};
use cluster::yaml::{Error, Located};
use k8s_openapi::api::core::v1::{PodSpec, ServiceSpec};
use model::ClusterName;

use super::check::{instead_of, list};
use super::{LabCluster, Manifest};

/// The longest name that a pod's network namespace can have: a file's.
const MAX_NETNS: usize = 255;

/// What the generated part of a Deployment's pods' names takes at most.
const GENERATED: usize = 18;

/// Checks all manifests of a cluster, together.
pub(super) fn of_cluster(lab: &LabCluster) -> Result<(), Error> {
    let mut objects = Vec::new();
    for Manifest { path, text } in &lab.manifests {
        objects.extend(manifest::parse(&path.display().to_string(), text)?);
    }
    manifest::check_unique(&objects)?;
    let nodes: Vec<&str> = lab.nodes.iter().map(|node| node.name.node.as_str()).collect();
    check(&lab.cluster, &nodes, &objects)
}

/// Checks objects that are to be put into a cluster of a lab with these nodes.
pub fn check(cluster: &model::Cluster, nodes: &[&str], objects: &[Located<Object>]) -> Result<(), Error> {
    let mut vips = BTreeMap::new();
    for object in objects {
        match &object.value {
            Object::Node(_) => {
                let what = "the lab makes its nodes itself";
                return Err(object.error("kind", what, "them under `nodes` in the lab file instead"));
            }
            Object::Service(service) => {
                let Some(spec) = &service.spec else { continue };
                virtual_addresses(cluster, object, spec, &mut vips)?;
            }
            Object::Pod(pod) => {
                name(&cluster.name, object, 0)?;
                let Some(spec) = &pod.spec else { continue };
                pod_spec(&cluster.name, nodes, object, "spec", spec)?;
            }
            Object::Deployment(deployment) => {
                name(&cluster.name, object, GENERATED)?;
                let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
                let Some(spec) = spec else { continue };
                pod_spec(&cluster.name, nodes, object, "spec.template.spec", spec)?;
            }
            Object::EndpointSlice(slice) => {
                for (i, endpoint) in slice.endpoints.iter().enumerate() {
                    let path = format!("endpoints[{i}].nodeName");
                    known_node(&cluster.name, nodes, object, &path, endpoint.node_name.as_deref())?;
                }
            }
            // Nothing in these is about the lab's machines.
            Object::Namespace(_)
            | Object::Peer(_)
            | Object::NetworkPolicy(_)
            | Object::ClusterNetworkPolicy(_)
            | Object::CiliumNetworkPolicy(_)
            | Object::CiliumClusterwideNetworkPolicy(_)
            | Object::ServiceExport(_)
            | Object::ServiceImport(_) => {}
        }
    }
    Ok(())
}

/// A service's own addresses are of its cluster, and nobody else's.
fn virtual_addresses(
    cluster: &model::Cluster,
    object: &Located<Object>,
    spec: &ServiceSpec,
    taken: &mut BTreeMap<IpAddr, String>,
) -> Result<(), Error> {
    let listed = spec.cluster_ips.iter().flatten().enumerate();
    let listed = listed.map(|(i, ip)| (format!("spec.clusterIPs[{i}]"), ip));
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
    for (path, text) in single.map(|ip| ("spec.clusterIP".to_string(), ip)).chain(listed) {
        // "None" and "" are no addresses, and meant so.
        let Ok(ip) = text.parse::<IpAddr>() else { continue };
        if !cluster.service_cidrs.iter().any(|range| range.contains(&ip)) {
            let what = format!("{ip} is not in a service range of cluster {}", cluster.name);
            let instead = format!("an address in {}, or leave it out", list(&cluster.service_cidrs));
            return Err(object.error(&path, what, instead));
        }
        let place = format!("{}:{}", object.file(), object.line_of(&path));
        if let Some(first) = taken.insert(ip, place) {
            let what = format!("{ip} is another service's address at {first}");
            return Err(object.error(&path, what, "an address of its own, or leave it out"));
        }
    }
    Ok(())
}

/// A pod that the lab can run.
fn pod_spec(
    cluster: &ClusterName,
    nodes: &[&str],
    object: &Located<Object>,
    at: &str,
    spec: &PodSpec,
) -> Result<(), Error> {
    known_node(cluster, nodes, object, &format!("{at}.nodeName"), spec.node_name.as_deref())?;
    for (i, container) in spec.containers.iter().enumerate() {
        if container.command.as_ref().is_none_or(Vec::is_empty) {
            let path = format!("{at}.containers[{i}]");
            let what = format!("container `{}` has no command, and the lab runs no images", container.name);
            return Err(object.error(
                &path,
                what,
                "a program of this machine, such as `command: [sleep, infinity]`",
            ));
        }
    }
    Ok(())
}

fn known_node(
    cluster: &ClusterName,
    nodes: &[&str],
    object: &Located<Object>,
    path: &str,
    name: Option<&str>,
) -> Result<(), Error> {
    match name {
        Some(name) if !nodes.contains(&name) => {
            let what = format!("there is no node `{name}` in cluster {cluster}");
            Err(object.error(path, what, instead_of(name, nodes.iter().copied())))
        }
        _ => Ok(()),
    }
}

/// The network namespace `cwp_CLUSTER_NAMESPACE_NAME` can be had.
fn name(cluster: &ClusterName, object: &Located<Object>, more: usize) -> Result<(), Error> {
    let id = object.value.id();
    let fixed = "cwp___".len() + cluster.as_str().len() + id.namespace.len() + more;
    if fixed + id.name.len() <= MAX_NETNS {
        return Ok(());
    }
    let what = format!("the name has {} characters", id.name.len());
    Err(object.error("metadata.name", what, format!("at most {} in the lab", MAX_NETNS - fixed)))
}
