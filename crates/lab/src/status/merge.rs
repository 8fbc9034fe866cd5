//! Puts what agents, controllers and kubelets report side by side.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeName, Tier};
use wire::local;

use super::{
    AgentStatus, BackendStatus, ClusterStatus, ControllerStatus, HostStatus, LabStatus, LinkStatus,
    NodeStatus, PodStatus, ServiceStatus, WireStatus,
};
use crate::plan::{ClusterPlan, HostPlan, Location, NodePlan, Plan, Wire};

/// What an agent or controller answered: its status, or why there is none.
pub type Asked<T> = Result<T, String>;

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// Which.
    pub name: NodeName,
    /// False from `lab kill` to `lab start`.
    pub up: bool,
    /// Times its agent was started again.
    pub restarts: u32,
    /// Its agent's answer.
    pub agent: Asked<local::AgentStatus>,
}

/// What is known of a controller.
#[derive(Debug, Clone)]
pub struct ControllerReport {
    /// Times it was started again.
    pub restarts: u32,
    /// Its answer.
    pub controller: Asked<local::ControllerStatus>,
}

/// The lab's status. `controllers` and `nodes` are in the order of the plan; services are shown as the first node of
/// their cluster that answers sees them, or as `from` does where that is a node of the same cluster.
pub fn merge(
    plan: &Plan,
    cuts: &BTreeSet<(String, String)>,
    controllers: &[ControllerReport],
    nodes: &[NodeReport],
    pods: Vec<PodStatus>,
    from: Option<&NodeName>,
) -> LabStatus {
    let of = |name: &NodeName| nodes.iter().find(|report| report.name == *name);
    let mut status = LabStatus { pods, ..LabStatus::default() };
    for (cluster, report) in plan.clusters.iter().zip(controllers) {
        status.clusters.push(cluster_status(cluster, report));
        if let Ok(controller) = &report.controller {
            status.links.extend(controller.links.iter().map(|link| link_status(controller, link)));
        }
        let reports: Vec<(&NodePlan, &NodeReport)> =
            cluster.nodes.iter().filter_map(|node| Some((node, of(&node.name)?))).collect();
        status.nodes.extend(reports.iter().map(|(node, report)| node_status(plan, node, report)));
        status.hosts.extend(cluster.hosts.iter().map(|host| host_status(plan, host)));
        status.services.extend(services(&reports, from));
    }
    status.wires = plan.wires.iter().filter_map(|wire| wire_status(plan, wire, cuts)).collect();
    status.cuts = cuts.iter().map(|(a, b)| [machine_name(plan, a), machine_name(plan, b)]).collect();
    status
}

fn cluster_status(cluster: &ClusterPlan, report: &ControllerReport) -> ClusterStatus {
    let netns = cluster.controller.netns.clone();
    let restarts = report.restarts;
    let controller = match &report.controller {
        Ok(answer) => ControllerStatus {
            ready: answer.ready,
            netns,
            pid: Some(answer.pid),
            rss_bytes: Some(answer.rss_bytes),
            agents: answer.agents.len(),
            revision: answer.revision,
            restarts,
            error: String::new(),
            problems: answer.problems.clone(),
        },
        Err(error) => {
            ControllerStatus { netns, restarts, error: error.clone(), ..ControllerStatus::default() }
        }
    };
    ClusterStatus {
        name: cluster.cluster.name.clone(),
        id: cluster.cluster.id.get(),
        pod_cidrs: cluster.cluster.pod_cidrs.clone(),
        service_cidrs: cluster.cluster.service_cidrs.clone(),
        controller,
    }
}

fn node_status(plan: &Plan, node: &NodePlan, report: &NodeReport) -> NodeStatus {
    let (agent, tunnels, peers, features) = match &report.agent {
        Ok(answer) => (
            AgentStatus {
                ready: answer.ready,
                pid: Some(answer.pid),
                rss_bytes: Some(answer.rss_bytes),
                uptime_seconds: Some(answer.uptime_seconds),
                restarts: report.restarts,
                connected: answer.controller.connected,
                wireguard: answer.wireguard.clone(),
                waiting_for: answer.waiting_for.clone(),
                error: String::new(),
            },
            answer.tunnels.clone(),
            answer.peers.clone(),
            answer.features.clone(),
        ),
        Err(error) => {
            let agent =
                AgentStatus { restarts: report.restarts, error: error.clone(), ..AgentStatus::default() };
            (agent, Vec::new(), Vec::new(), Vec::new())
        }
    };
    NodeStatus {
        cluster: node.name.cluster.clone(),
        name: node.name.node.clone(),
        netns: node.host.netns.clone(),
        region: node.topology.region.clone(),
        zone: node.topology.zone.clone(),
        location: location(plan, node.host.location).map_or_else(String::new, |l| l.name.clone()),
        up: report.up,
        private_ips: node.host.private_ips(),
        public_ips: node.host.public_ips(),
        pod_cidrs: node.pod_cidrs.clone(),
        agent,
        tunnels,
        peers,
        features,
    }
}

fn host_status(plan: &Plan, HostPlan { name, host }: &HostPlan) -> HostStatus {
    HostStatus {
        cluster: name.cluster.clone(),
        name: name.node.clone(),
        netns: host.netns.clone(),
        location: location(plan, host.location).map_or_else(String::new, |l| l.name.clone()),
        private_ips: host.private_ips(),
        public_ips: host.public_ips(),
    }
}

fn location(plan: &Plan, number: u8) -> Option<&Location> {
    plan.locations.iter().find(|location| location.number == number)
}

/// How far each backend, by cluster, pod and addresses, is from each node that answers.
type Views = BTreeMap<String, BTreeMap<String, Tier>>;

fn services(reports: &[(&NodePlan, &NodeReport)], from: Option<&NodeName>) -> Vec<ServiceStatus> {
    let views: Vec<(&NodeName, &local::AgentStatus)> =
        reports.iter().filter_map(|(node, report)| Some((&node.name, report.agent.as_ref().ok()?))).collect();
    let chosen = views.iter().find(|(name, _)| Some(*name) == from).or(views.first());
    let Some((viewer, agent)) = chosen else { return Vec::new() };
    agent.services.iter().map(|service| service_status(viewer, service, &tiers(&views, service))).collect()
}

fn tiers(views: &[(&NodeName, &local::AgentStatus)], service: &local::ServiceStatus) -> Views {
    let mut tiers = Views::new();
    for (name, agent) in views {
        let same = agent.services.iter().filter(|other| other.service == service.service);
        for backend in same.flat_map(|other| &other.backends) {
            tiers.entry(key(backend)).or_default().insert(name.node.clone(), backend.tier);
        }
    }
    tiers
}

fn key(backend: &local::BackendStatus) -> String {
    format!("{}/{}/{:?}", backend.cluster, backend.pod, backend.ips)
}

fn service_status(viewer: &NodeName, service: &local::ServiceStatus, tiers: &Views) -> ServiceStatus {
    let backend = |backend: &local::BackendStatus| BackendStatus {
        // A backend shares its service's namespace, so the pod's own name says all.
        pod: backend.pod.rsplit('/').next().unwrap_or_default().to_string(),
        ips: backend.ips.clone(),
        node: backend.node.clone(),
        zone: backend.zone.clone(),
        region: backend.region.clone(),
        cluster: backend.cluster.clone(),
        tier: backend.tier,
        healthy: backend.healthy,
        share: backend.share,
        why: backend.why.clone(),
        tiers: tiers.get(&key(backend)).cloned().unwrap_or_default(),
    };
    ServiceStatus {
        cluster: service.service.cluster.clone(),
        namespace: service.service.name.namespace.clone(),
        name: service.service.name.name.clone(),
        vips: service.vips.clone(),
        ports: service.ports.clone(),
        global: service.global,
        from: viewer.node.clone(),
        backends: service.backends.iter().map(backend).collect(),
    }
}

fn link_status(controller: &local::ControllerStatus, link: &local::LinkStatus) -> LinkStatus {
    LinkStatus {
        cluster: controller.cluster.clone(),
        peer: link.cluster.clone(),
        connected: link.stream.connected,
        stale: link.stream.stale,
        nodes: link.nodes,
        services: link.services,
        endpoints: link.endpoints,
        refused: link.refused,
        last_error: link.stream.last_error.clone(),
    }
}

/// The name of the machine with this namespace.
fn machine_name(plan: &Plan, netns: &str) -> String {
    let node = plan.nodes().find(|node| node.host.netns == netns).map(|node| node.name.to_string());
    let controller = || {
        let cluster = plan.clusters.iter().find(|cluster| cluster.controller.netns == netns);
        cluster.map(|cluster| format!("{}/_controller", cluster.cluster.name))
    };
    node.or_else(controller).unwrap_or_else(|| netns.to_string())
}

/// Whether everybody in one location is cut off from everybody in the other.
fn severed(plan: &Plan, [a, b]: [u8; 2], cuts: &BTreeSet<(String, String)>) -> bool {
    let hosts = || {
        let controllers = plan.clusters.iter().map(|cluster| &cluster.controller);
        plan.nodes().map(|node| &node.host).chain(controllers)
    };
    let at = |number| hosts().filter(move |host| host.location == number);
    let cut = |x: &str, y: &str| cuts.contains(&(x.min(y).to_string(), x.max(y).to_string()));
    at(a).all(|x| at(b).all(|y| cut(&x.netns, &y.netns)))
}

fn wire_status(plan: &Plan, wire: &Wire, cuts: &BTreeSet<(String, String)>) -> Option<WireStatus> {
    let name =
        |number| location(plan, number).map(|location| format!("{}/{}", location.cluster, location.name));
    Some(WireStatus {
        between: [name(wire.between[0])?, name(wire.between[1])?],
        rtt_ms: wire.shape.rtt.as_secs_f64() * 1000.0,
        loss: wire.shape.loss,
        rate: wire.shape.rate,
        mtu: wire.shape.mtu,
        up: wire.up && !severed(plan, wire.between, cuts),
    })
}
