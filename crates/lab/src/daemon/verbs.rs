//! What operators do to a running lab: kill, start, cut, heal, enter.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::{join_all, try_join_all};
use kernel::sandbox::Sandbox;
use model::NodeName;
use wire::local::AgentStatus;

use super::cluster::ClusterHost;
use super::{Daemon, Lab};
use crate::api::Entrance;
use crate::node::Node;
use crate::plan::Host;
use crate::pod::{Facts, base_environment};
use crate::state::{Candidate, What, pod_cgroup, pod_netns, pod_resolv, resolve};

/// How long `lab start` waits for agents, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// A node or a cluster that somebody named.
enum Machines<'a> {
    One(&'a ClusterHost, &'a Node),
    All(&'a ClusterHost),
}

impl Lab {
    /// Whether the machine has its cable.
    fn is_up(&self, host: &Host) -> bool {
        self.clusters.iter().any(|cluster| {
            let nodes = cluster.nodes.iter().any(|node| node.plan.host == *host && node.is_up());
            nodes || (cluster.plan.controller == *host && cluster.controller.is_up())
        })
    }
}

impl Machines<'_> {
    fn hosts(&self) -> Vec<Host> {
        match self {
            Self::One(_, node) => vec![node.plan.host.clone()],
            Self::All(cluster) => {
                let nodes = cluster.nodes.iter().map(|node| node.plan.host.clone());
                nodes.chain([cluster.plan.controller.clone()]).collect()
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::One(_, node) => format!("node {}", node.name()),
            Self::All(cluster) => format!("cluster {}", cluster.name()),
        }
    }
}

impl Daemon {
    /// Kills a node, or a cluster with all its nodes and its controller.
    pub async fn kill(&self, name: &str) -> Result<Vec<String>> {
        let lab = self.lab()?;
        let _alone = lab.cuts.lock().await;
        match machines(lab, name)? {
            Machines::One(_, node) => {
                node.kill()?.remove().await.with_context(|| format!("clearing node {} away", node.name()))?;
                Ok(vec![format!("node {} killed", node.name())])
            }
            Machines::All(cluster) => {
                let up = cluster.nodes.iter().filter(|node| node.is_up());
                // All of them first, then what is left: a cloud goes dark at once.
                let dead: Vec<_> = up.map(|node| Ok((node, node.kill()?))).collect::<Result<_>>()?;
                let controller = match cluster.controller.is_up() {
                    true => Some(cluster.controller.kill()?),
                    false => None,
                };
                if dead.is_empty() && controller.is_none() {
                    bail!(
                        "cluster {0} is down already: `causeway lab start {0}` brings it back",
                        cluster.name()
                    );
                }
                let mut changes: Vec<String> =
                    dead.iter().map(|(node, _)| format!("node {} killed", node.name())).collect();
                try_join_all(dead.into_iter().map(|(_, dead)| dead.remove())).await?;
                if let Some(controller) = controller {
                    controller.remove().await?;
                    changes.push(format!("controller of {} killed", cluster.name()));
                }
                Ok(changes)
            }
        }
    }

    /// Brings back what was killed, and waits until it is ready.
    pub async fn start(&self, name: &str) -> Result<Vec<String>> {
        let lab = self.lab()?;
        let mut cuts = lab.cuts.lock().await;
        let found = machines(lab, name)?;
        let described = found.describe();
        let mut changes = Vec::new();
        let (cluster, nodes): (&ClusterHost, Vec<&Node>) = match found {
            Machines::One(cluster, node) => (cluster, vec![node]),
            Machines::All(cluster) => {
                if !cluster.controller.is_up() {
                    let machine = cluster.controller.rebuild().await?;
                    cuts.reattach(&cluster.plan.controller)?;
                    cluster.controller.boot(machine)?;
                    changes.push(format!("controller of {} started", cluster.name()));
                }
                (cluster, cluster.nodes.iter().collect())
            }
        };
        let down: Vec<&Node> = nodes.into_iter().filter(|node| !node.is_up()).collect();
        if down.is_empty() && changes.is_empty() {
            bail!("{described} is up already");
        }
        if cluster.controller.is_up() && !down.is_empty() {
            self.answering(cluster).await?;
        }
        let machines = try_join_all(down.iter().map(|node| node.rebuild())).await?;
        for (node, machine) in down.iter().zip(machines) {
            cuts.reattach(&node.plan.host)?;
            // One that has joined before needs no token, so a controller that is down is no obstacle.
            let token = match cluster.controller.is_up() {
                true => Some(cluster.node_token().await?.token),
                false => None,
            };
            node.boot(machine, token.as_deref(), cluster.objects.clone())?;
        }
        cluster.objects.bell.notify_one();
        drop(cuts);
        changes.extend(join_all(down.into_iter().map(started)).await);
        Ok(changes)
    }

    /// Cuts two nodes or clusters off from each other.
    pub async fn cut(&self, a: &str, b: &str) -> Result<Vec<String>> {
        self.set_cut(a, b, true).await
    }

    /// Joins them again.
    pub async fn heal(&self, a: &str, b: &str) -> Result<Vec<String>> {
        self.set_cut(a, b, false).await
    }

    async fn set_cut(&self, a: &str, b: &str, cut: bool) -> Result<Vec<String>> {
        let lab = self.lab()?;
        let (left, right) = (machines(lab, a)?, machines(lab, b)?);
        let others = right.hosts();
        let mut pairs = Vec::new();
        for host in left.hosts() {
            if others.contains(&host) {
                bail!(
                    "{} and {} have {} in common: name two that do not overlap",
                    left.describe(),
                    right.describe(),
                    host.netns
                );
            }
            pairs.extend(others.iter().map(|other| (host.clone(), other.clone())));
        }
        let mut cuts = lab.cuts.lock().await;
        let changed = cuts.set(&pairs, cut, |host| lab.is_up(host))?;
        *lab.cut_pairs.lock().unwrap_or_else(PoisonError::into_inner) = cuts.pairs().clone();
        let (verb, was) =
            if cut { ("cut off from", "was cut already") } else { ("joined with", "was not cut") };
        let (left, right) = (left.describe(), right.describe());
        let note = if changed == 0 { format!(" ({was})") } else { String::new() };
        Ok(vec![format!("{left} {verb} {right}{note}")])
    }

    /// The machines that are cut off from each other, by the names of their namespaces.
    pub(super) fn cut_pairs(&self) -> BTreeSet<(String, String)> {
        let pairs =
            self.lab.get().map(|lab| lab.cut_pairs.lock().unwrap_or_else(PoisonError::into_inner).clone());
        pairs.unwrap_or_default()
    }

    /// Where a command for a pod, a node, another host or a controller runs.
    pub fn entrance(&self, text: &str) -> Result<Entrance> {
        let lab = self.lab()?;
        let mut candidates = Vec::new();
        for cluster in &lab.clusters {
            let name = cluster.name();
            let pods = cluster.pods()?;
            candidates
                .extend(pods.keys().map(|pod| Candidate { what: What::Pod, name: format!("{name}/{pod}") }));
            candidates.extend(
                cluster
                    .nodes
                    .iter()
                    .map(|node| Candidate { what: What::Node, name: node.name().to_string() }),
            );
            candidates.extend(
                cluster.hosts.iter().map(|host| Candidate { what: What::Host, name: host.name.to_string() }),
            );
            candidates.push(Candidate { what: What::Controller, name: format!("{name}/_controller") });
        }
        let found = resolve("pod, node or host", text, candidates)?;
        let (cluster, rest) = found.name.split_once('/').context("names of pods and nodes have a cluster")?;
        let cluster = lab.clusters.iter().find(|c| c.name().as_str() == cluster);
        let cluster = cluster.context("the candidates come from these clusters")?;
        match found.what {
            What::Pod => pod_entrance(cluster, rest),
            What::Node => {
                let node = cluster.node(rest).context("the candidates come from these nodes")?;
                let down =
                    || anyhow!("node {0} is down: `causeway lab start {0}` brings it back", node.name());
                let target = format!("node {}", node.name());
                machine_entrance(target, &node.plan.host.netns, &node.sandbox().ok_or_else(down)?)
            }
            What::Host => {
                let host = cluster.hosts.iter().find(|host| host.name.node == rest);
                let host = host.context("the candidates come from these hosts")?;
                let sandbox =
                    host.sandbox().with_context(|| format!("host {} is not built yet", host.name))?;
                machine_entrance(format!("host {}", host.name), &host.site.host.netns, &sandbox)
            }
            What::Controller | What::Cluster => {
                let down = || {
                    anyhow!(
                        "the controller of {0} is down: `causeway lab start {0}` brings it back",
                        cluster.name()
                    )
                };
                let target = format!("controller of {}", cluster.name());
                machine_entrance(
                    target,
                    &cluster.plan.controller.netns,
                    &cluster.controller.sandbox().ok_or_else(down)?,
                )
            }
        }
    }
}

/// Waits until a node's agent is ready, for a while; says how that went.
async fn started(node: &Node) -> String {
    let name = node.name();
    let ready = async {
        loop {
            let status = serve::client::get::<AgentStatus>(&node.agent_socket(), "/v1/status").await;
            if status.is_ok_and(|status| status.ready) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, ready).await {
        Ok(()) => format!("node {name} started"),
        Err(_) => format!("node {name} started; its agent is not ready yet: see `causeway lab status`"),
    }
}

fn pod_entrance(cluster: &ClusterHost, name: &str) -> Result<Entrance> {
    let name = name.parse()?;
    let pods = cluster.pods()?;
    let pod = pods.get(&name).context("the candidates come from these pods")?;
    let target = format!("pod {}/{name}", cluster.name());
    let node = cluster.node_of(pod).with_context(|| format!("{target} is placed on no node yet"))?;
    if !node.is_up() {
        bail!("{target} is on node {0}, which is down: `causeway lab start {0}` brings it back", node.name());
    }
    node.place(&name)
        .with_context(|| format!("{target} has not been started yet; see `causeway lab status`"))?;
    let ips: Vec<std::net::IpAddr> = super::objects::pod_ips(pod);
    let bin =
        std::env::current_exe()?.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let facts = Facts { pod, node: &node.plan, ips: &ips, bin: &bin };
    Ok(Entrance {
        target,
        netns: pod_netns(cluster.name(), &name),
        cgroup: kernel::cgroup::Cgroup::at(pod_cgroup(&node.plan.cgroup, &name))?
            .path()
            .display()
            .to_string(),
        mount: None,
        resolv: Some(pod_resolv(cluster.name(), &name))
            .filter(|p| p.exists())
            .map(|p| p.display().to_string()),
        env: base_environment(&facts).into_iter().filter(|(name, _)| name != "PATH").collect(),
    })
}

fn machine_entrance(target: String, netns: &str, sandbox: &Sandbox) -> Result<Entrance> {
    use std::os::fd::AsRawFd;
    let mount =
        sandbox.mount.as_ref().map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
    let cgroup = sandbox.cgroup.as_ref().context("machines have a control group")?;
    Ok(Entrance {
        target,
        netns: netns.into(),
        cgroup: cgroup.display().to_string(),
        mount,
        resolv: None,
        env: Vec::new(),
    })
}

/// The node or cluster that is meant.
fn machines<'a>(lab: &'a Lab, text: &str) -> Result<Machines<'a>> {
    let mut candidates = Vec::new();
    for cluster in &lab.clusters {
        candidates.push(Candidate { what: What::Cluster, name: cluster.name().to_string() });
        candidates.extend(
            cluster.nodes.iter().map(|node| Candidate { what: What::Node, name: node.name().to_string() }),
        );
    }
    let found = resolve("node or cluster", text, candidates)?;
    let (cluster, node) = match found.what {
        What::Node => {
            let name = NodeName::try_from(found.name)?;
            (name.cluster.to_string(), Some(name.node))
        }
        _ => (found.name, None),
    };
    let cluster = lab.clusters.iter().find(|c| c.name().as_str() == cluster);
    let cluster = cluster.context("the candidates come from these clusters")?;
    match node {
        None => Ok(Machines::All(cluster)),
        Some(node) => {
            Ok(Machines::One(cluster, cluster.node(&node).context("the candidates come from these nodes")?))
        }
    }
}
