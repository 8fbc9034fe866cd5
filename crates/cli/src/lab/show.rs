//! `causeway lab status` and `causeway lab logs`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lab::state::{self, Candidate, What, resolve};
use lab::status::{LabStatus, NodeStatus, PodStatus, ServiceStatus};
use lab::supervise::log;
use lab::{client, status};

use super::print_json;
use crate::status::{Output, bytes, milliseconds, table};

/// `causeway lab status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  causeway lab status\n  causeway lab status --from aws-2\n  causeway lab status -o json | jq '.services[] | {name, vips}'"
)]
pub(crate) struct Args {
    /// Show services as this node sees them, instead of the first of each cluster.
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `causeway lab logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: causeway lab logs aws-1    causeway lab logs aws/_controller    causeway lab logs echo-gcp-1"
)]
pub(crate) struct Logs {
    /// A pod, a node, a controller (`CLUSTER/_controller`), `underlay` or `daemon`.
    name: String,
    /// How many lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let mut status = client::status(None).await?;
    if let Some(from) = &args.from {
        let nodes = status.nodes.iter().map(|node| candidate(What::Node, node_name(node))).collect();
        let from = resolve("node", from, nodes)?.name.try_into()?;
        status = client::status(Some(&from)).await?;
    }
    print(&status, args.output)
}

/// The whole lab, as each cluster's first node sees it.
pub(crate) async fn whole(output: Output) -> Result<ExitCode> {
    print(&client::status(None).await?, output)
}

fn print(status: &LabStatus, output: Output) -> Result<ExitCode> {
    match output {
        Output::Text => print!("{}", render(status)),
        Output::Json => print_json(status)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the end of a log.
pub(crate) async fn logs(args: &Logs) -> Result<ExitCode> {
    let path = match args.name.as_str() {
        "daemon" => state::daemon_log(),
        "underlay" => state::underlay_log(),
        name => log_of(name, &client::status(None).await?)?,
    };
    if !path.exists() {
        bail!("{} has no log yet ({})", args.name, path.display());
    }
    println!("{}", log::tail(&path, args.lines));
    Ok(ExitCode::SUCCESS)
}

fn log_of(name: &str, status: &LabStatus) -> Result<PathBuf> {
    let mut candidates = Vec::new();
    let pod_name = |pod: &PodStatus| format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name);
    candidates.extend(status.pods.iter().map(|pod| candidate(What::Pod, pod_name(pod))));
    candidates.extend(status.nodes.iter().map(|node| candidate(What::Node, node_name(node))));
    let controllers = status.clusters.iter().map(|cluster| format!("{}/_controller", cluster.name));
    candidates.extend(controllers.map(|name| candidate(What::Controller, name)));
    let found = resolve("pod, node or controller", name, candidates)?;
    let (cluster, rest) = found.name.split_once('/').unwrap_or((&found.name, ""));
    let cluster = cluster.parse()?;
    Ok(match found.what {
        What::Pod => state::pod_log(&cluster, &rest.parse()?),
        What::Node => state::node_log(&found.name.clone().try_into()?),
        What::Controller | What::Cluster | What::Host => state::controller_log(&cluster),
    })
}

fn candidate(what: What, name: String) -> Candidate {
    Candidate { what, name }
}

fn node_name(node: &NodeStatus) -> String {
    format!("{}/{}", node.cluster, node.name)
}

fn render(status: &LabStatus) -> String {
    let mut text = String::new();
    let mut part = |title: &str, body: String| {
        if !body.is_empty() {
            text += &format!("{title}\n{body}\n");
        }
    };
    part("CLUSTERS", clusters(status));
    part("NODES", nodes(status));
    part("HOSTS", hosts(status));
    part("TUNNELS", tunnels(status));
    for service in &status.services {
        part(&service_title(service), backends(service));
    }
    part("PODS", pods(status));
    let cuts = status.cuts.iter().map(|[a, b]| format!("  {a}  {b}\n")).collect();
    part("CUT OFF FROM EACH OTHER", cuts);
    text
}

fn clusters(status: &LabStatus) -> String {
    let rows = status.clusters.iter().map(|cluster| {
        let controller = &cluster.controller;
        let links: Vec<&status::LinkStatus> =
            status.links.iter().filter(|link| link.cluster == cluster.name).collect();
        let connected = links.iter().filter(|link| link.connected).count();
        vec![
            cluster.name.to_string(),
            cluster.id.to_string(),
            word(controller.ready, &controller.error),
            format!("{connected}/{}", links.len()),
            controller.agents.to_string(),
            controller.rss_bytes.map(bytes).unwrap_or_default(),
            list(&cluster.pod_cidrs),
            controller.problems.last().cloned().unwrap_or_default(),
        ]
    });
    table(
        &["NAME", "ID", "CONTROLLER", "LINKS", "AGENTS", "MEMORY", "POD RANGES", "PROBLEM"],
        rows,
        &[1, 4, 5],
    )
}

fn nodes(status: &LabStatus) -> String {
    let rows = status.nodes.iter().map(|node| {
        let agent = &node.agent;
        let why = if agent.error.is_empty() { agent.waiting_for.join(", ") } else { agent.error.clone() };
        let alive = node.tunnels.iter().filter(|tunnel| tunnel.alive).count();
        vec![
            node_name(node),
            node.region.clone(),
            node.zone.clone(),
            word(agent.ready, &why),
            format!("{alive}/{}", node.tunnels.len()),
            agent.rss_bytes.map(bytes).unwrap_or_default(),
            agent.restarts.to_string(),
            list(&node.public_ips),
        ]
    });
    table(&["NAME", "REGION", "ZONE", "AGENT", "TUNNELS", "MEMORY", "RESTARTS", "PUBLIC"], rows, &[5, 6])
}

/// Every tunnel once, from the end that comes first.
fn hosts(status: &LabStatus) -> String {
    let rows = status.hosts.iter().map(|host| {
        let name = format!("{}/{}", host.cluster, host.name);
        vec![name, host.location.clone(), list(&host.private_ips), list(&host.public_ips)]
    });
    match status.hosts.is_empty() {
        true => String::new(),
        false => table(&["NAME", "LOCATION", "PRIVATE", "PUBLIC"], rows, &[]),
    }
}

fn tunnels(status: &LabStatus) -> String {
    let rows = status.nodes.iter().flat_map(|node| {
        let from = node_name(node);
        node.tunnels.iter().filter_map(move |tunnel| {
            let to = tunnel.peer.to_string();
            (from < to || !tunnel.alive).then(|| {
                vec![
                    from.clone(),
                    to,
                    if tunnel.alive { "alive" } else { "dead" }.to_string(),
                    tunnel.rtt_ms.map(milliseconds).unwrap_or_default(),
                    tunnel.last_handshake_seconds.map(|s| format!("{s:.0} s ago")).unwrap_or_default(),
                    bytes(tunnel.rx_bytes),
                    bytes(tunnel.tx_bytes),
                ]
            })
        })
    });
    table(&["FROM", "TO", "STATE", "RTT", "HANDSHAKE", "IN", "OUT"], rows, &[3, 4, 5, 6])
}

fn service_title(service: &ServiceStatus) -> String {
    let ports: Vec<String> =
        service.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
    format!(
        "SERVICE {}/{}/{} at {} port {}{}, as {} sees it",
        service.cluster,
        service.namespace,
        service.name,
        list(&service.vips),
        ports.join(" "),
        if service.global { ", global" } else { "" },
        service.from
    )
}

fn backends(service: &ServiceStatus) -> String {
    let rows = service.backends.iter().map(|backend| {
        vec![
            backend.pod.clone(),
            format!("{}/{}", backend.cluster, backend.node.as_deref().unwrap_or("-")),
            backend.zone.clone(),
            backend.tier.to_string(),
            word(backend.healthy, &backend.why),
            format!("{:.0} %", backend.share * 100.0),
        ]
    });
    if service.backends.is_empty() {
        return "  no backend: connections are refused\n".into();
    }
    table(&["POD", "NODE", "ZONE", "TIER", "HEALTHY", "SHARE"], rows, &[5])
}

fn pods(status: &LabStatus) -> String {
    let rows = status.pods.iter().map(|pod| {
        vec![
            format!("{}/{}/{}", pod.cluster, pod.namespace, pod.name),
            pod.node.clone().unwrap_or_default(),
            pod.phase.clone(),
            word(pod.ready, &pod.message),
            pod.restarts.to_string(),
            list(&pod.ips),
        ]
    });
    table(&["NAME", "NODE", "PHASE", "READY", "RESTARTS", "ADDRESSES"], rows, &[4])
}

/// `yes`, or why not.
fn word(yes: bool, why: &str) -> String {
    match (yes, why) {
        (true, _) => "yes".into(),
        (false, "") => "no".into(),
        (false, why) => format!("no: {why}"),
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
