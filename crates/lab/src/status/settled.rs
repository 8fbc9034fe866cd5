//! When a lab is up: every controller, agent and pod is ready, and every node knows the backends that there are.

use std::net::IpAddr;

use model::ServiceKey;
use wire::local;

use super::{ControllerReport, NodeReport, PodStatus};
use crate::plan::Plan;

/// A service as its own cluster's objects have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which.
    pub service: ServiceKey,
    /// Whether it is one with its namesakes in other clusters.
    pub global: bool,
    /// The addresses of each of its ready endpoints in its own cluster.
    pub ready: Vec<Vec<IpAddr>>,
}

/// What is still missing, in words; nothing when the lab is up. Nodes that were taken down are left out.
pub fn unsettled(
    plan: &Plan,
    controllers: &[ControllerReport],
    nodes: &[NodeReport],
    pods: &[PodStatus],
    expected: &[Expected],
) -> Vec<String> {
    let mut missing = Vec::new();
    for (cluster, report) in plan.clusters.iter().zip(controllers) {
        let name = &cluster.cluster.name;
        match &report.controller {
            Err(error) => missing.push(format!("controller of {name}: {error}")),
            Ok(status) if !status.ready => missing.push(format!("controller of {name} is not ready")),
            Ok(status) => missing.extend(
                status
                    .links
                    .iter()
                    .filter(|link| !link.stream.connected)
                    .map(|link| link_words(name.as_str(), link)),
            ),
        }
        let linked = report.controller.as_ref().map_or(0, |status| status.links.len());
        if report.controller.is_ok() && linked + 1 < plan.clusters.len() {
            missing.push(format!("cluster {name} has {linked} of {} links", plan.clusters.len() - 1));
        }
    }
    for report in nodes.iter().filter(|report| report.up) {
        match &report.agent {
            Err(error) => missing.push(format!("agent of {}: {error}", report.name)),
            Ok(status) if !status.ready => {
                missing.push(format!("agent of {} waits for {}", report.name, status.waiting_for.join(", ")));
            }
            Ok(status) => missing.extend(stale_services(plan, report, status, expected)),
        }
    }
    let waiting = pods.iter().filter(|pod| !pod.ready && pod.phase != "Succeeded");
    missing.extend(waiting.map(|pod| {
        let why = if pod.message.is_empty() { "not ready" } else { &pod.message };
        format!("pod {}/{}/{}: {why}", pod.cluster, pod.namespace, pod.name)
    }));
    missing
}

fn link_words(cluster: &str, link: &local::LinkStatus) -> String {
    let why = link.stream.last_error.as_deref().unwrap_or("not connected yet");
    format!("link from {cluster} to {}: {why}", link.cluster)
}

/// The services that a node sees with fewer or more healthy backends than there are for it: those that have an address
/// of a family that its own cluster has.
fn stale_services<'a>(
    plan: &'a Plan,
    report: &'a NodeReport,
    status: &'a local::AgentStatus,
    expected: &'a [Expected],
) -> impl Iterator<Item = String> + 'a {
    let own_ranges = plan.clusters.iter().find(|c| c.cluster.name == report.name.cluster);
    let own_ranges = own_ranges.map_or(&[][..], |c| &c.cluster.pod_cidrs);
    let reached = move |ips: &&Vec<IpAddr>| {
        ips.iter().any(|ip| own_ranges.iter().any(|range| range.addr().is_ipv4() == ip.is_ipv4()))
    };
    let own = expected.iter().filter(|e| e.service.cluster == report.name.cluster);
    own.filter_map(move |service| {
        let elsewhere = expected.iter().filter(|other| {
            service.global
                && other.global
                && other.service.cluster != service.service.cluster
                && other.service.name == service.service.name
        });
        let all = std::iter::once(service).chain(elsewhere);
        let wanted = all.flat_map(|known| &known.ready).filter(reached).count();
        let seen = status.services.iter().find(|seen| seen.service == service.service);
        let healthy = seen.map(|seen| seen.backends.iter().filter(|backend| backend.healthy).count());
        match healthy {
            Some(count) if count == wanted => None,
            Some(count) => {
                Some(format!("{} sees {count} of {wanted} backends of {}", report.name, service.service))
            }
            None => Some(format!("{} does not know {} yet", report.name, service.service)),
        }
    })
}
