//! Services for eyes.

use std::fmt::Write as _;

use wire::local::{
    BackendStatus, ClusterDistance, Otherwise, Sees, ServiceFrontend, ServiceOutside, ServiceReport,
    ServiceTier,
};

use super::exports;
use crate::status::table;

/// One row for each service.
pub(super) fn list(services: &[ServiceReport]) -> String {
    if services.is_empty() {
        return "no service here\n".into();
    }
    let row = |service: &ServiceReport| {
        let joined: Vec<&str> = [
            (service.global && service.shared, "global"),
            (service.global && !service.shared, "global, not shared"),
            (service.exported && exports::is_valid(service), "exported"),
            (service.exported && !exports::is_valid(service), "exported in vain"),
            (service.imported, "imported"),
        ]
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word))
        .collect();
        vec![
            format!("{}/{}", service.namespace, service.name),
            service.cluster.to_string(),
            service.kind.clone(),
            words(&service.vips),
            ports(service),
            joined.join(", "),
            words(&service.clusters),
            format!("{}/{}", service.healthy, service.total),
        ]
    };
    let head = ["SERVICE", "CLUSTER", "TYPE", "ADDRESS", "PORTS", "JOINED", "ANSWERED BY", "HEALTHY"];
    let mut text = table(&head, services.iter().map(row), &[7]);
    for service in services {
        trouble(&mut text, service);
    }
    text
}

/// One table for each service.
pub(super) fn show(services: &[ServiceReport]) -> String {
    services.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(service: &ServiceReport) -> String {
    let what = if service.imported { "import" } else { "service" };
    let mut text = format!("{what} {}/{}/{}\n", service.cluster, service.namespace, service.name);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    line("type", &service.kind);
    let addresses = words(&service.vips);
    line(
        "dialled at",
        &format!("{} port {}", if addresses.is_empty() { "no address," } else { &addresses }, ports(service)),
    );
    line("joined", &joined(service));
    line("prefers", &prefers(service));
    line("seen from", &format!("{}/{}", service.cluster, service.from));
    let shares: f64 = service.backends.iter().map(|backend| backend.share).sum();
    let fate = match service.kind.as_str() {
        "Headless" => "clients choose by DNS".to_string(),
        _ if shares > 0.0 => format!("{} of {} backends fit", service.healthy, service.total),
        _ => "refused: nobody answers".to_string(),
    };
    line("new ones", &fate);
    text.push('\n');
    tiers(&mut text, service);
    if !service.distances.is_empty() {
        let head = ["CLUSTER", "PLACE", "RTT", "COST", "WEIGHT", "SCORE"];
        text += &table(&head, service.distances.iter().map(distance), &[1, 2, 3, 4, 5]);
        text.push('\n');
    }
    if !service.backends.is_empty() {
        let head = ["BACKEND", "NODE", "ZONE", "TIER", "WEIGHT", "SHARE", "IN", "WHY"];
        text += &table(&head, service.backends.iter().map(backend), &[4, 5]);
    }
    if !service.outside.is_empty() {
        text.push('\n');
        let head = ["FROM OUTSIDE", "BACKENDS", "CHOSEN BY", "SEEN AS", "WHO MAY"];
        text += &table(&head, service.outside.iter().map(outside), &[]);
    }
    trouble(&mut text, service);
    text
}

/// The rungs behind what is dialled: those of the first address and port, and of all others behind which others stand.
fn tiers(text: &mut String, service: &ServiceReport) {
    let mut others: Vec<(&[ServiceTier], Vec<String>)> = Vec::new();
    for ServiceFrontend { address, port, protocol, tiers } in &service.frontends {
        let at = match address.is_unspecified() {
            true if address.is_ipv4() => format!("node port {port}/{protocol}"),
            true => format!("node port {port}/{protocol} (IPv6)"),
            false => format!("{address} port {port}/{protocol}"),
        };
        match others.iter_mut().find(|(same, _)| *same == tiers.as_slice()) {
            Some((_, dialled)) => dialled.push(at),
            None if *tiers != service.tiers => others.push((tiers, vec![at])),
            None => {}
        }
    }
    if !service.tiers.is_empty() {
        *text += &rungs(&service.tiers);
    }
    for (tiers, dialled) in others {
        let (at, below) = match tiers {
            [] => (": nobody", "\n".into()),
            tiers => ("", rungs(tiers)),
        };
        let _ = write!(text, "  at {}{at}\n{below}", dialled.join(", "));
    }
}

fn rungs(tiers: &[ServiceTier]) -> String {
    let head = ["TIER", "OF", "READY", "GOES ON", "SHARE"];
    table(&head, tiers.iter().map(tier), &[2, 3, 4]) + "\n"
}

fn tier(tier: &ServiceTier) -> Vec<String> {
    vec![
        tier.tier.to_string(),
        words(&tier.clusters),
        format!("{}/{}", tier.ready, tier.capacity),
        format!("{:.1} %", tier.passes * 100.0),
        format!("{:.1} %", tier.share * 100.0),
    ]
}

fn distance(distance: &ClusterDistance) -> Vec<String> {
    let ms = |time: Option<f64>| time.map_or_else(|| "unknown".into(), |time| format!("{time:.1} ms"));
    vec![
        distance.cluster.to_string(),
        distance.place.to_string(),
        ms(distance.rtt_ms),
        ms(Some(distance.egress_cost_ms)),
        distance.weight.to_string(),
        ms(distance.score_ms),
    ]
}

fn backend(backend: &BackendStatus) -> Vec<String> {
    vec![
        backend.pod.clone(),
        format!("{}/{}", backend.cluster, backend.node.as_deref().unwrap_or("-")),
        if backend.zone.is_empty() { "-".into() } else { backend.zone.clone() },
        backend.tier.to_string(),
        backend.weight.to_string(),
        format!("{:.1} %", backend.share * 100.0),
        if backend.takes { "in" } else { "out" }.into(),
        backend.why.clone(),
    ]
}

fn outside(to: &ServiceOutside) -> Vec<String> {
    let at = std::net::SocketAddr::new(to.address, to.port);
    let nobody = match to.otherwise {
        Otherwise::Refuse => "none: refused",
        Otherwise::Drop => "none here: dropped",
    };
    vec![
        format!("{at}/{}", to.protocol),
        if to.backends.is_empty() { nobody.into() } else { to.backends.join(", ") },
        if to.agreed { "all nodes alike (Maglev)" } else { "each node" }.into(),
        match to.sees {
            _ if !to.masquerade => "themselves",
            Sees::Client => "themselves",
            Sees::Either => "themselves or the node",
            Sees::Node => "the node",
        }
        .into(),
        match to.sources.as_deref() {
            None => "everybody".into(),
            Some([]) => "nobody".into(),
            Some(ranges) => ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        },
    ]
}

fn joined(service: &ServiceReport) -> String {
    let words = [
        (service.imported, "imports what other clusters export under this name"),
        (service.global && service.shared, "global: one with its namesakes in other clusters"),
        (
            service.global && !service.shared,
            "global, not shared: takes backends of other clusters, lends none",
        ),
        (service.exported && exports::is_valid(service), "exported to other clusters"),
        (service.exported && !exports::is_valid(service), "exported in vain: nobody hears of it"),
    ];
    let words: Vec<&str> = words.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
    if words.is_empty() { "this cluster alone".into() } else { words.join("; ") }
}

fn prefers(service: &ServiceReport) -> String {
    let mut text = match service.prefer.as_str() {
        "ladder" => "the nearest (ladder)".to_string(),
        "even" => "nobody: all alike (even)".to_string(),
        "affinity-local" => "the own cluster, all alike (affinity: local)".to_string(),
        "affinity-remote" => "other clusters, all alike (affinity: remote)".to_string(),
        "local" => "the own cluster (local)".to_string(),
        "remote" => "other clusters (remote)".to_string(),
        clusters => format!("{} in this order", clusters.replace(',', ", ")),
    };
    for (cluster, weight) in &service.cluster_weights {
        let _ = write!(text, "; {cluster} weighs {weight}");
    }
    for (cluster, capacity) in &service.capacities {
        let _ = write!(text, "; {cluster} is to carry {capacity}");
    }
    text
}

/// What is wrong with it, each on a line of its own.
fn trouble(text: &mut String, service: &ServiceReport) {
    let wrong = service.problems.iter().chain(&service.doubts).chain(&service.differences).cloned();
    for problem in wrong.chain(exports::troubles(service)) {
        let _ = writeln!(text, "  ! {}/{}: {problem}", service.namespace, service.name);
    }
}

fn ports(service: &ServiceReport) -> String {
    let ports: Vec<_> = service.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
    ports.join(" ")
}

fn words(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
