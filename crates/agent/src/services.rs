//! Every service as this node sees it, or as another node of its cluster would, in the local API's words.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::plan::{self, State};
use engine::services::{self, Ejected, Explained, FromOutside, Kind, Sees, Step, View};
use model::{ClusterName, NodeName, Prefer};
use serve::local::Refusal;
use wire::local::{
    ClusterDistance, Otherwise, PortStatus, ServiceFrontend, ServiceOutside, ServiceReport, ServiceTier,
    ServicesReport,
};

use crate::outlook::Outlook;

/// What the data path ought to hold and what it holds: only of this node.
pub(crate) struct Held<'a> {
    pub(crate) desired: &'a State,
    pub(crate) observed: &'a State,
    /// Services for which it has no room.
    pub(crate) full: &'a [services::Problem],
}

/// Every service and import. `from` names a node of this cluster, or a pod that is behind one of its services.
pub(crate) fn report(
    outlook: &Outlook,
    held: &Held<'_>,
    from: Option<&str>,
) -> Result<ServicesReport, Refusal> {
    let me = match from {
        None => outlook.me.clone(),
        Some(name) => standpoint(outlook, name)?,
    };
    // Each node judges by what its own clients meet.
    let ejected = if me == outlook.me { &outlook.ejected } else { Ejected::NONE };
    let view = View { me: &me, ejected, ..outlook.view() };
    let services = services::explain(&view).into_iter();
    let services = services.map(|mut explained| {
        let full = held.full.iter().filter(|_| me == outlook.me);
        let its = |problem: &&services::Problem| {
            (&problem.loser().key, problem.loser().import) == (&explained.service, explained.import)
        };
        explained.problems.extend(full.filter(its).cloned());
        let differences = match me == outlook.me {
            true => {
                services::differences(&explained.frontends, &explained.outside, held.desired, held.observed)
            }
            false => Vec::new(),
        };
        service(outlook, explained, &me, differences.iter().map(ToString::to_string).collect())
    });
    Ok(ServicesReport { services: services.collect(), from: me.clone() })
}

/// The node that a name means: itself, or that of the pod.
fn standpoint(outlook: &Outlook, name: &str) -> Result<NodeName, Refusal> {
    let own = &outlook.me.cluster;
    let wrong = |why: String| Err(Refusal::Wrong(why));
    let node = name.strip_prefix(&format!("{own}/")).unwrap_or(name);
    if let Ok(node) = NodeName::new(own.clone(), node)
        && outlook.world.nodes.contains_key(&node)
    {
        return Ok(node);
    }
    let of_cluster = outlook.world.endpoints.iter().filter(|(service, _)| service.cluster == *own);
    let named = of_cluster.flat_map(|(service, endpoints)| {
        let is = |pod: &str| pod == node || format!("{}/{pod}", service.name.namespace) == node;
        endpoints.values().filter(move |endpoint| is(&endpoint.key.name)).filter_map(|e| e.node.clone())
    });
    let nodes: BTreeSet<NodeName> = named.collect();
    let mut nodes = nodes.into_iter();
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => {
            wrong(format!("{name} is on several nodes: write NAMESPACE/NAME, or name the node"))
        }
        (None, _) => wrong(format!(
            "cluster {own} has no node {name}, and no pod of this name is behind one of its services: name the node \
             that it runs on"
        )),
    }
}

fn service(
    outlook: &Outlook,
    explained: Explained,
    from: &NodeName,
    differences: Vec<String>,
) -> ServiceReport {
    let name = explained.service.name;
    let mut clusters: Vec<ClusterName> = Vec::new();
    for backend in &explained.backends {
        let cluster = &backend.endpoint.service.cluster;
        if !clusters.contains(cluster) {
            clusters.push(cluster.clone());
        }
    }
    let ports = explained.ports.iter();
    let frontends: Vec<_> = explained.frontends.iter().zip(explained.rungs).map(frontend).collect();
    // Those that nothing is known of yet come last, as in the plan.
    let ranked = outlook.ranking.order();
    let unranked = clusters.iter().filter(|name| **name != outlook.me.cluster && !ranked.contains(name));
    let others = ranked.iter().chain(unranked).enumerate().filter(|(_, name)| clusters.contains(name));
    let distances = others.map(|(place, name)| distance(outlook, place, name)).collect();
    ServiceReport {
        cluster: explained.service.cluster,
        namespace: name.namespace,
        name: name.name,
        kind: kind(explained.kind).into(),
        from: from.node.clone(),
        vips: explained.vips,
        ports: ports
            .map(|p| PortStatus { name: p.name.clone(), protocol: p.protocol, port: p.port.get() })
            .collect(),
        global: explained.global,
        shared: explained.shared,
        exported: explained.exported,
        // The controller's to know.
        export_conditions: Vec::new(),
        imported: explained.import,
        prefer: prefer(&explained.traffic.prefer),
        cluster_weights: explained.traffic.cluster_weights,
        capacities: explained.traffic.capacities,
        clusters,
        healthy: explained.backends.iter().filter(|backend| backend.healthy).count(),
        total: explained.backends.len(),
        backends: explained.backends.into_iter().map(crate::status::backend).collect(),
        distances,
        tiers: frontends.first().map(|first| first.tiers.clone()).unwrap_or_default(),
        frontends,
        outside: explained.outside.iter().filter(|to| is_told(to)).map(outside).collect(),
        problems: explained.problems.iter().map(ToString::to_string).collect(),
        doubts: explained.doubts.iter().map(ToString::to_string).collect(),
        differences,
    }
}

/// How far another cluster is, and how that came about. What was measured was measured from here.
fn distance(outlook: &Outlook, place: usize, cluster: &ClusterName) -> ClusterDistance {
    let way = outlook.ways.get(cluster).copied().unwrap_or_default();
    let rtt = outlook.times.get(cluster).copied().flatten();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    ClusterDistance {
        cluster: cluster.clone(),
        place: place + 1,
        rtt_ms: rtt.map(ms),
        egress_cost_ms: ms(way.egress_cost),
        weight: way.weight,
        score_ms: rtt.map(|rtt| ms(way.score(rtt))),
    }
}

/// A node port that leads where sockets are led needs no words.
fn is_told(to: &FromOutside) -> bool {
    !to.masquerade || to.sources.is_some() || to.sees != Sees::Node || to.agreed
}

fn outside(to: &FromOutside) -> ServiceOutside {
    let FromOutside { frontend, backends, masquerade, sees, agreed, otherwise, sources } = to;
    ServiceOutside {
        address: frontend.ip,
        port: frontend.port.get(),
        protocol: frontend.protocol,
        backends: backends.iter().map(crate::status::pod).collect(),
        masquerade: *masquerade,
        sees: match sees {
            Sees::Node => wire::local::Sees::Node,
            Sees::Client => wire::local::Sees::Client,
            Sees::Either => wire::local::Sees::Either,
        },
        agreed: *agreed,
        otherwise: match otherwise {
            plan::Otherwise::Refuse => Otherwise::Refuse,
            plan::Otherwise::Drop => Otherwise::Drop,
        },
        sources: sources.as_ref().map(|ranges| ranges.iter().copied().collect()),
    }
}

fn frontend((dialled, rungs): (&plan::Frontend, Vec<Step>)) -> ServiceFrontend {
    ServiceFrontend {
        address: dialled.ip,
        port: dialled.port.get(),
        protocol: dialled.protocol,
        tiers: rungs.into_iter().map(tier).collect(),
    }
}

fn tier(step: Step) -> ServiceTier {
    let Step { tier, clusters, ready, capacity, passes, share } = step;
    ServiceTier { tier, clusters, ready, capacity, passes, share }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::ClusterIp => "ClusterIP",
        Kind::NodePort => "NodePort",
        Kind::LoadBalancer => "LoadBalancer",
        Kind::ClusterSetIp => "ClusterSetIP",
        Kind::Headless => "Headless",
    }
}

fn prefer(prefer: &Prefer) -> String {
    match prefer {
        Prefer::Ladder => "ladder".into(),
        Prefer::Even => "even".into(),
        Prefer::Local => "affinity-local".into(),
        Prefer::Remote => "affinity-remote".into(),
        Prefer::LadderLocal => "local".into(),
        Prefer::LadderRemote => "remote".into(),
        Prefer::Clusters(clusters) => clusters.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests;
