//! A status as text. Every part is a function of its own, so that whoever shows many nodes can use the parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use model::Tier;
use model::mesh::Transport;
use wire::local::{
    AgentStatus, AuthorityStatus, BackendStatus, ControllerStatus, FeatureStatus, LinkStatus, PortStatus,
    RoleStatus, ServiceStatus, SourceStatus, StreamStatus, TunnelPath, TunnelStatus,
};

use super::{bytes, date, duration, milliseconds, table};

/// An agent and its node.
pub(crate) fn agent(status: &AgentStatus) -> String {
    let mut text = heading(&format!("node {}", status.node), status.ready, &status.waiting_for);
    line(
        &mut text,
        "agent",
        &format!(
            "causeway {}, process {}, up {}, {} resident",
            status.version,
            status.pid,
            duration(status.uptime_seconds),
            bytes(status.rss_bytes)
        ),
    );
    let unknown = |name: &str| if name.is_empty() { "unknown".to_string() } else { name.to_string() };
    let place = format!(
        "region {}, zone {}, location {}",
        unknown(&status.topology.region),
        unknown(&status.topology.zone),
        unknown(&status.location)
    );
    line(&mut text, "place", &place);
    line(&mut text, "controller", &stream(&status.controller));
    let key = status.public_key.map_or("no key yet".to_string(), |key| format!("key {key}"));
    line(&mut text, "wireguard", &format!("{}, {key}", status.wireguard));
    let ranges: Vec<_> = status.pod_cidrs.iter().map(ToString::to_string).collect();
    let ranges = if ranges.is_empty() { "no range yet".to_string() } else { ranges.join(" ") };
    line(&mut text, "pods", &format!("{ranges}, other nodes by {}", unknown(&status.underlay)));
    let seen = match status.kube_proxy.seen.as_slice() {
        [] => String::new(),
        seen => format!(": {}", seen.join(", ")),
    };
    line(&mut text, "kube-proxy", &format!("{}{seen}", status.kube_proxy.state));
    let plan = match status.pending_operations {
        0 => "the kernel holds it".to_string(),
        n => format!("{n} operations to go"),
    };
    line(&mut text, "plan", &plan);

    let alive = status.tunnels.iter().filter(|tunnel| tunnel.alive).count();
    section(
        &mut text,
        &format!("tunnels, {alive} of {} answer", status.tunnels.len()),
        &tunnels(&status.tunnels),
    );
    section(&mut text, &format!("services, {}", status.services.len()), &services(&status.services));
    section(&mut text, "features of the kernel", &features(&status.features));
    if !status.problems.is_empty() {
        let problems: String = status.problems.iter().map(|problem| indented(problem)).collect();
        section(&mut text, &format!("problems, {}", status.problems.len()), &problems);
    }
    text
}

/// A controller and its cluster.
pub(crate) fn controller(status: &ControllerStatus) -> String {
    let waiting = if status.ready { vec![] } else { vec!["its source to be read in full".to_string()] };
    let mut text = heading(&format!("cluster {}", status.cluster), status.ready, &waiting);
    let process =
        format!("causeway {}, process {}, {} resident", status.version, status.pid, bytes(status.rss_bytes));
    line(&mut text, "controller", &process);
    line(&mut text, "revision", &status.revision.to_string());
    line(&mut text, "role", &role(&status.role));
    line(&mut text, "source", &source(&status.source));
    let objects: Vec<_> = status.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    line(&mut text, "objects", &objects.join(", "));
    line(&mut text, "CA", authority(&status.authority).trim_end());
    let agents: Vec<_> = status.agents.iter().map(|name| name.node.as_str()).collect();
    section(&mut text, &format!("agents connected, {}", agents.len()), &indented(&agents.join(" ")));
    section(&mut text, &format!("links, {}", status.links.len()), &links(&status.links));
    let problems: String = status.problems.iter().map(|problem| indented(problem)).collect();
    section(&mut text, &format!("problems, {}", status.problems.len()), &problems);
    text
}

fn role(role: &RoleStatus) -> String {
    match (role.leads, &role.leader) {
        (true, _) if role.identity.is_empty() => "the only controller".into(),
        (true, _) => format!("leader, as {}", role.identity),
        (false, Some(leader)) => format!("standby; {leader} leads"),
        (false, None) => "standby; nobody is known to lead".into(),
    }
}

fn source(source: &SourceStatus) -> String {
    let mut text = source.kind.clone();
    if let Some(version) = &source.server_version {
        let _ = write!(text, " {version}");
    }
    text += &match source.synced_seconds {
        Some(since) => format!(", read in full {} ago", duration(since)),
        None => ", not read in full yet".to_string(),
    };
    if source.stale {
        text += ", what agents are told is from disk";
    }
    if let Some(away) = source.away_seconds {
        let _ =
            write!(text, "; the API server does not answer since {}: {}", duration(away), source.away_why);
    }
    text
}

/// One row for each tunnel.
pub(crate) fn tunnels(tunnels: &[TunnelStatus]) -> String {
    let row = |tunnel: &TunnelStatus| {
        vec![
            tunnel.peer.to_string(),
            if tunnel.alive { "up" } else { "down" }.to_string(),
            tunnel.rtt_ms.map_or("-".to_string(), milliseconds),
            tunnel.last_handshake_seconds.map_or("never".to_string(), |age| format!("{} ago", duration(age))),
            bytes(tunnel.rx_bytes),
            bytes(tunnel.tx_bytes),
            place(tunnel),
        ]
    };
    let head = ["PEER", "STATE", "RTT", "HANDSHAKE", "RECEIVED", "SENT", "ENDPOINT"];
    let mut sorted: Vec<_> = tunnels.iter().collect();
    sorted.sort_by_key(|tunnel| &tunnel.peer);
    or_none(&sorted, |tunnels| table(&head, tunnels.iter().copied().map(row), &[2, 3, 4, 5]))
}

/// Where packets go, and over whom.
fn place(tunnel: &TunnelStatus) -> String {
    match tunnel.transport {
        Transport::Wireguard => {}
        Transport::Vxlan => return "not encrypted: VXLAN inside the location".into(),
        Transport::Plain => return "not encrypted: as it is inside the location".into(),
    }
    let Some(endpoint) = tunnel.endpoint else { return "waits to be called".into() };
    match (tunnel.path, &tunnel.relay) {
        (TunnelPath::Relay, Some(relay)) => format!("{endpoint}, passed on by {relay}"),
        (TunnelPath::Punched, _) => format!("{endpoint}, through both NATs"),
        _ => endpoint.to_string(),
    }
}

/// One row for each service, one column for each tier.
pub(crate) fn services(services: &[ServiceStatus]) -> String {
    let row = |service: &ServiceStatus| {
        let name = &service.service.name;
        let mut row = vec![
            if service.global { format!("{name} (global)") } else { name.to_string() },
            addresses(service),
            ports(&service.ports),
        ];
        row.extend(tier_cells(&service.backends));
        row
    };
    let head = ["SERVICE", "ADDRESS", "PORTS", "NODE", "ZONE", "REGION", "CLUSTER", "ELSEWHERE"];
    or_none(services, |services| {
        let table = table(&head, services.iter().map(row), &[]);
        format!(
            "{table}{}",
            indented("(healthy/all backends of each tier; who takes new connections, with its share)")
        )
    })
}

/// A cell for each tier, `healthy/all share`; clusters elsewhere are named.
pub(crate) fn tier_cells(backends: &[BackendStatus]) -> [String; 5] {
    [Tier::Node, Tier::Zone, Tier::Region, Tier::Cluster, Tier::Elsewhere].map(|tier| {
        let of_tier = backends.iter().filter(|backend| backend.tier == tier);
        if tier != Tier::Elsewhere {
            return tally(of_tier).unwrap_or_else(|| "-".into());
        }
        // In the order they come: the nearest cluster first.
        let mut clusters: Vec<&str> = Vec::new();
        let mut by_cluster: BTreeMap<&str, Vec<&BackendStatus>> = BTreeMap::new();
        for backend in of_tier {
            let of_cluster = by_cluster.entry(backend.cluster.as_str()).or_default();
            if of_cluster.is_empty() {
                clusters.push(backend.cluster.as_str());
            }
            of_cluster.push(backend);
        }
        let cells = clusters.into_iter().filter_map(|name| {
            let tally = tally(by_cluster[name].iter().copied())?;
            Some(format!("{name} {tally}"))
        });
        let cells: Vec<_> = cells.collect();
        if cells.is_empty() { "-".into() } else { cells.join(", ") }
    })
}

fn tally<'a>(backends: impl Iterator<Item = &'a BackendStatus>) -> Option<String> {
    let (mut all, mut healthy, mut share) = (0, 0, 0.0);
    for backend in backends {
        all += 1;
        healthy += u32::from(backend.healthy);
        share += backend.share;
    }
    match all {
        0 => None,
        _ if share > 0.0 => Some(format!("{healthy}/{all} {:.0}%", share * 100.0)),
        _ => Some(format!("{healthy}/{all}")),
    }
}

fn addresses(service: &ServiceStatus) -> String {
    let vips: Vec<_> = service.vips.iter().map(ToString::to_string).collect();
    if vips.is_empty() { "headless".into() } else { vips.join(" ") }
}

fn ports(ports: &[PortStatus]) -> String {
    let ports: Vec<_> = ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
    ports.join(" ")
}

/// One row for each feature, with what is used in the place of one that is missing.
pub(crate) fn features(features: &[FeatureStatus]) -> String {
    let row = |feature: &FeatureStatus| {
        let used = match (feature.present, &feature.fallback) {
            (true, _) => "yes".to_string(),
            (false, Some(fallback)) => format!("no: {fallback}"),
            (false, None) => "no".to_string(),
        };
        vec![feature.name.clone(), used, feature.purpose.clone()]
    };
    or_none(features, |features| table(&["FEATURE", "PRESENT", "FOR"], features.iter().map(row), &[]))
}

/// One row for each linked cluster.
pub(crate) fn links(links: &[LinkStatus]) -> String {
    let row = |link: &LinkStatus| {
        vec![
            link.cluster.to_string(),
            stream(&link.stream),
            link.nodes.to_string(),
            link.services.to_string(),
            link.endpoints.to_string(),
            link.refused.to_string(),
        ]
    };
    let head = ["CLUSTER", "STREAM", "NODES", "SERVICES", "ENDPOINTS", "REFUSED"];
    or_none(links, |links| table(&head, links.iter().map(row), &[2, 3, 4, 5]))
}

/// A cluster's CA, in one line.
pub(crate) fn authority(authority: &AuthorityStatus) -> String {
    let short = |root: &str| root.chars().take(16).collect::<String>();
    let mut text = format!(
        "root {}, until {} the next one takes its place",
        short(&authority.root),
        date(authority.rotate_at)
    );
    for old in &authority.old {
        let _ = write!(text, "; root {} counts until {}", short(&old.root), date(old.until));
    }
    text + "\n"
}

/// A stream of the exchange, in one line.
pub(crate) fn stream(stream: &StreamStatus) -> String {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let address = stream.address.map(|address| format!(" to {}", plain(address))).unwrap_or_default();
    let mut text = match stream.connected {
        true => format!("connected{address}, revision {}", stream.revision),
        false => format!("not connected{address}, last revision {}", stream.revision),
    };
    if stream.stale {
        text += ", what is known is from disk";
    }
    if let Some(error) = stream.last_error.as_ref().filter(|_| !stream.connected) {
        let _ = write!(text, ": {error}");
    }
    text
}

fn heading(who: &str, ready: bool, waiting_for: &[String]) -> String {
    let mut text = format!("{who}: {}\n", if ready { "ready" } else { "not ready" });
    for waited in waiting_for {
        line(&mut text, "waits for", waited);
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<11}{value}");
}

fn section(text: &mut String, title: &str, body: &str) {
    let _ = write!(text, "\n{title}\n{body}");
}

fn indented(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!("  {line}\n") }
}

fn or_none<T>(things: &[T], render: impl FnOnce(&[T]) -> String) -> String {
    if things.is_empty() { String::new() } else { render(things) }
}

#[cfg(test)]
pub(crate) mod tests;
