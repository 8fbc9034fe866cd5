//! `causeway link doctor`: what is wrong with a link, in the order in which things depend on each other.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use model::ClusterName;
use serde::Serialize;
use wire::local::{AgentStatus, Check, CheckState, Examination, Examine, MtuAsk, MtuStatus};

use crate::seat::Seat;
use crate::status::{Output, milliseconds};

const PATH: &str = "data path";
const MTU: &str = "MTU";

/// Where this machine's agent answers.
const AGENT: &str = "/run/causeway/agent.sock";

/// What `causeway link doctor` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It looks at DNS, TCP, TLS identity, clocks, ranges, versions, the data path and the MTU, in this order, and stops at the
first that is wrong. The data path is what the agent on this machine sees; where none runs, it is skipped.
Exit status: 0 nothing is wrong, 1 something is.
Examples: causeway link doctor    causeway link doctor gcp -o json")]
pub(crate) struct Args {
    /// The other cluster; all of them when none is named.
    cluster: Option<ClusterName>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The agent's socket, for the data path [default: this machine's, in a lab that of the cluster's first node].
    #[arg(long, value_name = "PATH")]
    agent_socket: Option<std::path::PathBuf>,
    #[command(flatten)]
    seat: Seat,
}

/// What is printed with `-o json`.
#[derive(Debug, Serialize)]
struct Report {
    links: Vec<Examination>,
}

/// Examines and prints.
pub(super) async fn run(args: Args) -> Result<ExitCode> {
    let examine = Examine { cluster: args.cluster };
    let mut links: Vec<Examination> = args.seat.post("/v1/links/doctor", &examine).await?;
    let socket = match args.agent_socket {
        Some(socket) => socket,
        None => args.seat.an_agent().unwrap_or_else(|| AGENT.into()),
    };
    let agent = agent(&socket).await;
    for link in &mut links {
        if link.checks.iter().all(|check| check.state != CheckState::Failed) {
            link.checks.extend(see(&agent, &link.cluster));
        }
        if link.checks.last().is_some_and(|check| check.name == PATH && check.state == CheckState::Ok) {
            link.checks.push(size(&socket, &link.cluster).await);
        }
    }
    let failed = links.iter().any(|link| link.checks.iter().any(|check| check.state == CheckState::Failed));
    match args.output {
        Output::Text if links.is_empty() => {
            println!("no cluster is linked: causeway link token, then causeway link join")
        }
        Output::Text => links.iter().for_each(|link| print!("{}", render(link))),
        Output::Json => println!("{}", serde_json::to_string_pretty(&Report { links })?),
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn agent(socket: &Path) -> Result<AgentStatus, String> {
    if !socket.exists() {
        return Err("no agent runs on this machine; run this on a node to see it".into());
    }
    serve::client::get(socket, "/v1/status").await.map_err(|e| e.to_string())
}

/// What this machine's agent sees of the other cluster's nodes: whether they answer.
fn see(agent: &Result<AgentStatus, String>, cluster: &ClusterName) -> Vec<Check> {
    let status = match agent {
        Ok(status) => status,
        Err(why) => return vec![Check::skipped(PATH, why.clone()), Check::skipped(MTU, why.clone())],
    };
    let tunnels: Vec<_> = status.tunnels.iter().filter(|t| t.peer.cluster == *cluster).collect();
    if tunnels.is_empty() {
        let none = format!("{} has no tunnel to a node of {cluster}", status.node);
        let advice = format!(
            "check with `causeway clusters` that nodes of {cluster} are known, and with `causeway status` that this \
             node has confirmed them"
        );
        return vec![Check::failed(PATH, none, advice)];
    }
    let silent: Vec<_> = tunnels.iter().filter(|t| !t.alive).collect();
    if !silent.is_empty() {
        let where_to = |t: &&&wire::local::TunnelStatus| match t.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", t.peer.node),
            None => format!("{}, which has no address to send to", t.peer.node),
        };
        let names: Vec<_> = silent.iter().map(where_to).collect();
        let detail = format!(
            "{} of {} nodes of {cluster} do not answer {} through their tunnel: {}",
            silent.len(),
            tunnels.len(),
            status.node.node,
            names.join("; ")
        );
        let advice = "let UDP through to those addresses (firewalls, security groups), and check that the agents there \
                      are ready";
        return vec![Check::failed(PATH, detail, advice.into())];
    }
    let slowest = tunnels.iter().filter_map(|t| t.rtt_ms).fold(0.0, f64::max);
    let detail = format!(
        "{} nodes of {cluster} answer {}, within {}",
        tunnels.len(),
        status.node.node,
        milliseconds(slowest)
    );
    vec![Check::ok(PATH, detail)]
}

/// Whether packets as large as pods may send arrive.
async fn size(socket: &Path, cluster: &ClusterName) -> Check {
    let ask = MtuAsk { cluster: cluster.clone() };
    match serve::client::post::<_, MtuStatus>(socket, "/v1/mtu", &ask).await {
        Ok(measured) => judge(&measured),
        Err(error) => Check::skipped(MTU, error.to_string()),
    }
}

fn judge(measured: &MtuStatus) -> Check {
    let small: Vec<_> = measured.peers.iter().filter(|peer| peer.largest < measured.mtu).collect();
    if small.is_empty() {
        return Check::ok(MTU, format!("packets of {} bytes arrive", measured.mtu));
    }
    let sizes: Vec<_> = small
        .iter()
        .map(|peer| match peer.largest {
            0 => format!("{}: none of any size", peer.peer.node),
            largest => format!("{}: at most {largest}", peer.peer.node),
        })
        .collect();
    let detail =
        format!("packets of {} bytes, as pods send them, do not arrive: {}", measured.mtu, sizes.join(", "));
    let advice = "something on the way carries less than this node's underlay device says: lower that device's MTU by the \
                  difference, on all nodes of the cluster, or let ICMP \"fragmentation needed\" and fragments through";
    Check::failed(MTU, detail, advice.into())
}

fn render(link: &Examination) -> String {
    let mut text = format!("link with {}\n", link.cluster);
    for check in &link.checks {
        let word = match check.state {
            CheckState::Ok => "ok",
            CheckState::Failed => "FAILED",
            CheckState::Skipped => "skipped",
        };
        text += &format!("  {:<13}{word:<9}{}\n", check.name, check.detail);
        if !check.advice.is_empty() {
            text += &format!("  {:<22}{}\n", "", check.advice);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::local::MtuPeer;

    #[test]
    fn sizes() {
        let measured = |largest: &[u32]| MtuStatus {
            mtu: 1420,
            peers: largest
                .iter()
                .map(|largest| MtuPeer {
                    peer: "gcp/gcp-1".to_string().try_into().unwrap(),
                    largest: *largest,
                })
                .collect(),
        };
        assert_eq!(judge(&measured(&[1420, 1420])).state, CheckState::Ok);
        let bad = judge(&measured(&[1420, 1372, 0]));
        assert_eq!(bad.state, CheckState::Failed);
        assert!(bad.detail.contains("gcp-1: at most 1372, gcp-1: none of any size"), "{bad:?}");
    }

    #[test]
    fn one_line_for_each_check() {
        let link = Examination {
            cluster: "gcp".parse().unwrap(),
            checks: vec![
                Check::skipped("DNS", "no names".into()),
                Check::failed("TCP", "192.0.2.1:9640: refused".into(), "look there".into()),
            ],
        };
        assert_eq!(
            render(&link),
            "link with gcp\n  DNS          skipped  no names\n  TCP          FAILED   192.0.2.1:9640: refused\n                        look there\n"
        );
    }
}
