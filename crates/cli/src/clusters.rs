//! `causeway clusters`: the clusterset as one cluster sees it.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Result, bail};
use model::ClusterName;
use serde::Serialize;
use wire::local::{BudgetUse, ControllerStatus, LinkStatus};

use crate::seat::Seat;
use crate::status::{Output, duration, milliseconds, table};

/// What `causeway clusters` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In a lab it is the first cluster that answers who is asked; another one with --cluster.
Examples:
  causeway clusters
  causeway clusters --cluster aws
  causeway clusters -o json | jq '.clusters[] | {name, state, lagMs, lastError}'")]
pub(crate) struct Args {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

/// What is printed with `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    /// The cluster that was asked.
    from: ClusterName,
    clusters: Vec<Row>,
}

/// A cluster. The names of the fields are a contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: ClusterName,
    id: u16,
    /// `self`, or who keeps the stream up: `outgoing` or `incoming`.
    link: String,
    /// `connected`, `connecting`, `frozen` or `removed`.
    state: String,
    /// For how long, in seconds; none if that is not known.
    since_seconds: Option<f64>,
    lag_ms: Option<f64>,
    rtt_ms: Option<f64>,
    nodes: usize,
    services: usize,
    endpoints: usize,
    refused: u64,
    address: Option<SocketAddr>,
    /// Bytes of what it has brought.
    bytes: u64,
    /// What it takes of what it may.
    budget: Vec<BudgetUse>,
    /// Whether what is known of it was not confirmed since the controller started.
    stale: bool,
    last_error: Option<String>,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let status: ControllerStatus = match args.seat.is_any_of_lab() {
        true => first_of_lab().await?,
        false => args.seat.get("/v1/status").await?,
    };
    let report = report(&status);
    match args.output {
        Output::Text => print!("{}", render(&report)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The first cluster of the lab whose controller answers.
async fn first_of_lab() -> Result<ControllerStatus> {
    let lab = lab::client::status(None).await?;
    let mut last = None;
    for cluster in &lab.clusters {
        match Seat::of_lab(cluster.name.clone()).get("/v1/status").await {
            Ok(status) => return Ok(status),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.context("no controller of the lab answers")),
        None => bail!("the lab has no cluster yet; see: causeway lab status"),
    }
}

fn report(status: &ControllerStatus) -> Report {
    let count = |kind: &str, of_links: fn(&LinkStatus) -> usize| {
        let all = status.objects.get(kind).copied().unwrap_or_default();
        all.saturating_sub(status.links.iter().map(of_links).sum())
    };
    let own = Row {
        name: status.cluster.clone(),
        id: status.id,
        link: "self".into(),
        state: if status.ready { "connected" } else { "starting" }.into(),
        since_seconds: status.source.synced_seconds,
        lag_ms: Some(0.0),
        rtt_ms: Some(0.0),
        nodes: count("nodes", |link| link.nodes),
        services: count("services", |link| link.services),
        endpoints: count("endpoints", |link| link.endpoints),
        refused: 0,
        address: None,
        bytes: 0,
        budget: Vec::new(),
        stale: status.source.stale,
        last_error: None,
    };
    let clusters = std::iter::once(own).chain(status.links.iter().map(row)).collect();
    Report { from: status.cluster.clone(), clusters }
}

fn row(link: &LinkStatus) -> Row {
    Row {
        name: link.cluster.clone(),
        id: link.id,
        link: if link.dials { "outgoing" } else { "incoming" }.into(),
        state: link.state.as_str().into(),
        since_seconds: Some(link.since_seconds),
        lag_ms: link.flow.lag_ms,
        rtt_ms: link.flow.rtt_ms,
        nodes: link.nodes,
        services: link.services,
        endpoints: link.endpoints,
        refused: link.refused,
        address: link.stream.address.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port())),
        bytes: link.flow.bytes,
        budget: link.flow.budget.clone(),
        stale: link.stream.stale,
        last_error: link.stream.last_error.clone(),
    }
}

/// The part of a budget that is nearest to its end: `12 % of objects`.
fn fullest(budget: &[BudgetUse]) -> Option<String> {
    let part = |of: &BudgetUse| of.used / of.limit.max(1) as f64;
    let fullest = budget.iter().max_by(|a, b| part(a).total_cmp(&part(b)))?;
    Some(format!("{:.0} % of {}", part(fullest) * 100.0, fullest.measure))
}

fn render(report: &Report) -> String {
    let dash = || "-".to_string();
    let cells = |row: &Row| {
        let state = match row.since_seconds {
            Some(since) => format!("{} for {}", row.state, duration(since)),
            None => row.state.clone(),
        };
        let stale = if row.stale { ", from disk" } else { "" };
        let measured = |ms: Option<f64>| ms.filter(|_| row.link != "self").map_or_else(dash, milliseconds);
        vec![
            row.name.to_string(),
            row.id.to_string(),
            row.link.clone(),
            format!("{state}{stale}"),
            measured(row.lag_ms),
            measured(row.rtt_ms),
            row.nodes.to_string(),
            row.services.to_string(),
            row.endpoints.to_string(),
            row.refused.to_string(),
            fullest(&row.budget).unwrap_or_else(dash),
        ]
    };
    let head =
        ["NAME", "ID", "LINK", "STATE", "LAG", "RTT", "NODES", "SERVICES", "ENDPOINTS", "REFUSED", "BUDGET"];
    let mut text = table(&head, report.clusters.iter().map(cells), &[1, 4, 5, 6, 7, 8, 9]);
    for row in &report.clusters {
        if let Some(error) = &row.last_error {
            text += &format!(
                "\n  {}: {error}\n  causeway link doctor {} looks for the cause\n",
                row.name, row.name
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::local::{LinkFlow, LinkState, StreamStatus};

    fn link(cluster: &str, state: LinkState, error: Option<&str>) -> LinkStatus {
        let used = |measure: &str, used, limit| BudgetUse { measure: measure.into(), used, limit };
        LinkStatus {
            cluster: cluster.parse().unwrap(),
            id: 2,
            dials: true,
            declared_by: None,
            stream: StreamStatus {
                connected: state == LinkState::Connected,
                address: Some("[::ffff:192.0.2.1]:9640".parse().unwrap()),
                last_error: error.map(Into::into),
                ..StreamStatus::default()
            },
            nodes: 2,
            services: 3,
            endpoints: 4,
            refused: 5,
            state,
            since_seconds: 61.0,
            flow: LinkFlow {
                lag_ms: Some(12.34),
                rtt_ms: Some(20.0),
                bytes: 4_000,
                wanted: None,
                budget: vec![used("objects", 9.0, 1000), used("bytesPerSecond", 50.0, 100)],
            },
        }
    }

    #[test]
    fn rows() {
        let mut status = crate::status::render::tests::a_controller_status();
        status.links = vec![
            link("azure", LinkState::Frozen, Some("more than 1000 objects: raise the budget")),
            link("gcp", LinkState::Connected, None),
        ];
        status.objects =
            [("nodes".to_string(), 6), ("services".to_string(), 9), ("endpoints".to_string(), 20)].into();
        let report = report(&status);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["clusters"][0]["nodes"], 2, "its own alone");
        assert_eq!(json["clusters"][1]["lastError"], "more than 1000 objects: raise the budget");
        assert_eq!(json["clusters"][2]["address"], "192.0.2.1:9640");
        assert_eq!(
            (&json["clusters"][2]["lagMs"], &json["clusters"][2]["state"]),
            (&12.34.into(), &"connected".into())
        );
        let text = render(&report);
        let line =
            |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_string();
        assert!(line("gcp").contains("connected for 61 s") && line("gcp").contains("12.3 ms"), "{text}");
        assert!(
            line("azure").contains("frozen for 61 s") && line("azure").contains("50 % of bytesPerSecond"),
            "{text}"
        );
        assert!(
            text.contains("azure: more than 1000 objects") && text.contains("causeway link doctor azure"),
            "{text}"
        );
    }
}
