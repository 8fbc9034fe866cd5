//! Who is asked: this machine's agent, or agents of its lab.

use std::path::Path;

use anyhow::{Result, bail};
use lab::state::{Candidate, Folders, What, resolve};
use lab::status::LabStatus;
use model::{ClusterName, NodeName};
use wire::local::{MulticlusterStatus, ServiceReport, ServicesReport};

use super::{Whose, exports};
use crate::status::{AGENT, CONTROLLER};

/// Every service, as whoever is asked sees them.
pub(super) async fn services(whose: &Whose) -> Result<Vec<ServiceReport>> {
    let from = whose.from.as_deref();
    match &whose.socket {
        Some(socket) => Ok(agent(socket, from).await?.services),
        None if whose.cluster.is_some() || crate::status::only_a_lab() => {
            lab(from, whose.cluster.as_ref()).await
        }
        None if Path::new(AGENT).exists() => {
            Ok(with_exports(agent(Path::new(AGENT), from).await?, Path::new(CONTROLLER)).await)
        }
        None => bail!("no agent runs here ({AGENT} is not there) and no lab is up: give an agent's --socket"),
    }
}

async fn agent(socket: &Path, from: Option<&str>) -> Result<ServicesReport> {
    let path = match from {
        None => "/v1/services".to_string(),
        Some(from) if from.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:".contains(c)) => {
            format!("/v1/services?from={from}")
        }
        Some(from) => bail!("{from:?} names no node and no pod: names are of letters, digits, '-' and '.'"),
    };
    Ok(serve::client::get(socket, &path).await?)
}

/// With what the controller says of exports, if it is there. Nobody is kept from the rest by one that does not answer.
async fn with_exports(report: ServicesReport, controller: &Path) -> Vec<ServiceReport> {
    let ServicesReport { from, mut services } = report;
    if controller.exists() {
        match serve::client::get::<MulticlusterStatus>(controller, "/v1/services").await {
            Ok(status) => exports::join(&mut services, &from, status.exports),
            Err(error) => eprintln!("what becomes of exports is not known: {error}"),
        }
    }
    services
}

/// In a lab every node's agent can be asked itself, so what its data path holds is known too.
async fn lab(from: Option<&str>, cluster: Option<&ClusterName>) -> Result<Vec<ServiceReport>> {
    let mut status = lab::client::status(None).await?;
    if let Some(cluster) = cluster {
        status.clusters.retain(|known| known.name == *cluster);
        if status.clusters.is_empty() {
            bail!("no cluster of the lab is called {cluster}: `causeway lab status` lists them");
        }
        status.nodes.retain(|node| node.cluster == *cluster);
        status.pods.retain(|pod| pod.cluster == *cluster);
    }
    let nodes = match from {
        Some(from) => vec![node_of(&status, from)?],
        None => first_nodes(&status),
    };
    let mut services = Vec::new();
    for node in nodes {
        let socket = Folders::of_node(&node).run.join("agent.sock");
        let controller = Folders::of_controller(&node.cluster).run.join("controller.sock");
        services.extend(with_exports(agent(&socket, None).await?, &controller).await);
    }
    Ok(services)
}

/// The first node of each cluster that answers.
fn first_nodes(status: &LabStatus) -> Vec<NodeName> {
    let of = |cluster: &lab::status::ClusterStatus| {
        let mut nodes = status.nodes.iter().filter(|node| node.cluster == cluster.name && node.up);
        let node = nodes.find(|node| node.agent.error.is_empty())?;
        NodeName::new(node.cluster.clone(), node.name.as_str()).ok()
    };
    status.clusters.iter().filter_map(of).collect()
}

fn node_of(status: &LabStatus, from: &str) -> Result<NodeName> {
    let pod = |pod: &lab::status::PodStatus| format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name);
    let pods = status.pods.iter().map(|p| Candidate { what: What::Pod, name: pod(p) });
    let nodes = status.nodes.iter();
    let nodes = nodes.map(|n| Candidate { what: What::Node, name: format!("{}/{}", n.cluster, n.name) });
    let meant = resolve("pod or node", from, pods.chain(nodes).collect())?;
    if meant.what == What::Node {
        return Ok(meant.name.try_into()?);
    }
    let of_pod = status.pods.iter().find(|p| pod(p) == meant.name);
    match of_pod.and_then(|p| Some((p.cluster.clone(), p.node.as_deref()?))) {
        Some((cluster, node)) => Ok(NodeName::new(cluster, node)?),
        None => bail!("pod {} runs on no node yet: `causeway lab status` says why", meant.name),
    }
}
