//! Who plays in the story: found in what the lab says of itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use model::{ClusterName, NodeName, Tier};

use crate::load::Target;
use crate::status::{BackendStatus, LabStatus, ServiceStatus};

/// The service that the story is about, as `NAMESPACE` and `NAME`.
const SERVICE: (&str, &str) = ("demo", "echo");

/// What the names of pods to call from begin with.
const CLIENT: &str = "client-";

/// The port that the echo servers themselves listen on.
pub(super) const PORT: u16 = 8080;

/// Everything the story needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    /// The cluster from which calls are made.
    pub(super) cluster: ClusterName,
    /// The pod from which they are made, as `CLUSTER/NAMESPACE/NAME`.
    pub(super) client: String,
    /// The node it is on, without the cluster.
    pub(super) node: String,
    /// The service, as `NAMESPACE/NAME`.
    pub(super) service: String,
    /// Its address.
    pub(super) target: Target,
    /// The backend on the client's node.
    pub(super) own: Backend,
    /// The other backends of the cluster.
    pub(super) rest: Vec<Backend>,
    /// How near the nearest of them is.
    pub(super) next_tier: Tier,
    /// The other clusters with backends and the round-trip time to each, nearest first.
    pub(super) clouds: Vec<(ClusterName, f64)>,
}

/// A pod that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// As `CLUSTER/NAMESPACE/NAME`.
    pub(super) pod: String,
    /// Its network namespace.
    pub(super) netns: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// Why the story cannot be told of this lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// It lacks someone.
    #[error(
        "the demo needs the default lab, and this one lacks {0}; `causeway lab down`, then `causeway lab up` without --file"
    )]
    Lacks(String),
    /// It is not whole.
    #[error(
        "the lab is not whole: {0}; wait, or bring it back (`causeway lab start`, `causeway lab status`)"
    )]
    Broken(String),
}

impl Backend {
    /// Its name alone.
    pub(super) fn name(&self) -> &str {
        self.pod.rsplit('/').next().unwrap_or(&self.pod)
    }
}

impl Stage {
    /// Finds the players: the first client that has a backend on its own node, others in its cluster, and two more
    /// clouds.
    pub(super) fn set(status: &LabStatus) -> Result<Self, StageError> {
        let (namespace, name) = SERVICE;
        let lacks = |what: String| Err(StageError::Lacks(what));
        let mut clients = status
            .pods
            .iter()
            .filter(|pod| pod.namespace == namespace && pod.name.starts_with(CLIENT))
            .filter_map(|pod| {
                let service = service_of(status, &pod.cluster)?;
                let node = pod.node.as_deref()?;
                let own = service.backends.iter().find(|backend| is_on(backend, &pod.cluster, node))?;
                Some((pod, service, node, own))
            });
        let Some((pod, service, node, own)) = clients.next() else {
            return lacks(format!(
                "a pod {namespace}/{CLIENT}… next to a backend of service {namespace}/{name}"
            ));
        };
        let Some(vip) = service.vips.first() else {
            return lacks(format!("an address of service {namespace}/{name}"));
        };
        let local = |backend: &&BackendStatus| backend.cluster == pod.cluster && *backend != own;
        let Some(next_tier) = service.backends.iter().filter(local).filter_map(|b| b.tiers.get(node)).min()
        else {
            return lacks(format!("a second backend in cluster {}", pod.cluster));
        };
        let clouds = clouds(status, service, &pod.cluster, node);
        if clouds.len() < 2 {
            return lacks("two more clusters with backends and a measured round-trip time".into());
        }
        let mut rest = Vec::new();
        for backend in service.backends.iter().filter(local) {
            rest.push(player(status, service, backend)?);
        }
        let stage = Self {
            cluster: pod.cluster.clone(),
            client: format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name),
            node: node.to_string(),
            service: format!("{namespace}/{name}"),
            target: Target { address: (*vip, 80).into(), path: "/".into() },
            own: player(status, service, own)?,
            rest,
            next_tier: *next_tier,
            clouds,
        };
        match stage.missing(status) {
            missing if missing.is_empty() => Ok(stage),
            missing => Err(StageError::Broken(missing)),
        }
    }

    /// What keeps the lab from being whole, in words; empty when nothing does.
    pub(super) fn missing(&self, status: &LabStatus) -> String {
        let mut missing = Vec::new();
        for node in &status.nodes {
            if !node.agent.ready {
                missing.push(format!("node {}/{} is not ready", node.cluster, node.name));
            } else if let Some(tunnel) = node.tunnels.iter().find(|tunnel| !tunnel.alive) {
                missing.push(format!("node {}/{} does not hear {}", node.cluster, node.name, tunnel.peer));
            }
        }
        let everyone = status.services.iter().filter(|service| is_the_service(service));
        for service in everyone.filter(|service| service.cluster == self.cluster) {
            let out = service.backends.iter().filter(|backend| !backend.healthy);
            missing.extend(out.map(|b| format!("backend {} of {} is out: {}", b.pod, b.cluster, b.why)));
            let seen = |cloud: &ClusterName| service.backends.iter().any(|backend| backend.cluster == *cloud);
            let unseen = self.clouds.iter().filter(|(cloud, _)| !seen(cloud));
            missing.extend(unseen.map(|(cloud, _)| format!("no backend of {cloud} is known")));
        }
        missing.join(", ")
    }

    /// The other clouds as they are measured now, nearest first; and whether that is what the wires are like, which it
    /// is not while a lab that has just come up still keeps the machine busy.
    pub(super) fn clouds_now(&self, status: &LabStatus) -> (Vec<(ClusterName, f64)>, bool) {
        let Some(service) = service_of(status, &self.cluster) else { return (Vec::new(), false) };
        let clouds = clouds(status, service, &self.cluster, &self.node);
        let calm = clouds.iter().all(|(cloud, rtt)| {
            let least = wires(status, &self.cluster, &self.node, cloud).min_by(f64::total_cmp);
            least.is_none_or(|least| *rtt <= least * 1.25 + 2.0)
        });
        (clouds, calm)
    }

    /// The service as people ask for it.
    pub(super) fn url(&self) -> String {
        match self.target.address.ip() {
            IpAddr::V4(ip) => format!("http://{ip}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]/"),
        }
    }
}

fn is_the_service(service: &ServiceStatus) -> bool {
    (service.namespace.as_str(), service.name.as_str()) == SERVICE
}

fn service_of<'a>(status: &'a LabStatus, cluster: &ClusterName) -> Option<&'a ServiceStatus> {
    status.services.iter().find(|service| service.cluster == *cluster && is_the_service(service))
}

fn is_on(backend: &BackendStatus, cluster: &ClusterName, node: &str) -> bool {
    backend.cluster == *cluster && backend.node.as_deref() == Some(node)
}

/// The other clusters with backends, by the shortest round-trip time to a node of theirs that the client's node has
/// measured.
fn clouds(
    status: &LabStatus,
    service: &ServiceStatus,
    own: &ClusterName,
    node: &str,
) -> Vec<(ClusterName, f64)> {
    let mut nearest: BTreeMap<&ClusterName, f64> = BTreeMap::new();
    let here = status.nodes.iter().filter(|candidate| candidate.cluster == *own && candidate.name == node);
    for tunnel in here.flat_map(|node| &node.tunnels) {
        let NodeName { cluster, .. } = &tunnel.peer;
        let has_backend = service.backends.iter().any(|backend| backend.cluster == *cluster);
        if let Some(rtt) = tunnel.rtt_ms
            && cluster != own
            && has_backend
        {
            nearest.entry(cluster).and_modify(|least| *least = least.min(rtt)).or_insert(rtt);
        }
    }
    let mut clouds: Vec<_> = nearest.into_iter().map(|(cluster, rtt)| (cluster.clone(), rtt)).collect();
    clouds.sort_by(|a, b| a.1.total_cmp(&b.1));
    clouds
}

/// The round-trip times of the wires from a node's location to those of a cloud.
fn wires<'a>(
    status: &'a LabStatus,
    own: &'a ClusterName,
    node: &'a str,
    cloud: &'a ClusterName,
) -> impl Iterator<Item = f64> + 'a {
    let here = status.nodes.iter().find(move |candidate| candidate.cluster == *own && candidate.name == node);
    let here = here.map(|node| format!("{own}/{}", node.location)).unwrap_or_default();
    let there = format!("{cloud}/");
    let joins = move |[a, b]: &[String; 2]| {
        (*a == here && b.starts_with(&there)) || (*b == here && a.starts_with(&there))
    };
    status.wires.iter().filter(move |wire| wire.up && joins(&wire.between)).map(|wire| wire.rtt_ms)
}

fn player(
    status: &LabStatus,
    service: &ServiceStatus,
    backend: &BackendStatus,
) -> Result<Backend, StageError> {
    let name = format!("{}/{}/{}", backend.cluster, service.namespace, backend.pod);
    let pod = status.pods.iter().find(|pod| {
        pod.cluster == backend.cluster && pod.namespace == service.namespace && pod.name == backend.pod
    });
    match (pod, backend.ips.first()) {
        (Some(pod), Some(ip)) => {
            Ok(Backend { pod: name, netns: pod.netns.clone(), address: (*ip, PORT).into() })
        }
        _ => Err(StageError::Lacks(format!("a pod behind backend {name}"))),
    }
}

#[cfg(test)]
mod tests;
