//! `causeway policy watch`: flows as agents deny them.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use lab::state::{Candidate, Folders, What, resolve};
use model::{ClusterName, NodeName};
use serve::client::{self, ClientError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::local::{DeniedFlow, DeniedFlows};

use super::render;
use crate::status::{AGENT, Output};

/// Between two attempts to reach an agent that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// `causeway policy watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each node says what it drops: as it leaves a pod (egress), or on its way into one (ingress). Flows alike within a second
are told together. With -o json: one JSON object a line.
Examples:
  causeway policy watch                                   this machine's agent, or every node of its lab
  causeway policy watch --node aws-1 --for 10s
  causeway policy watch -o json | jq 'select(.to.name == \"gcp/y/b\") | {from, reason, rule, count}'")]
pub(crate) struct Args {
    /// The agent's socket [default: this machine's agent, else every node of its lab].
    #[arg(long, value_name = "PATH", conflicts_with_all = ["node", "cluster"])]
    socket: Option<PathBuf>,
    /// This node of the lab.
    #[arg(long, value_name = "NODE", conflicts_with = "cluster")]
    node: Option<String>,
    /// The nodes of this cluster of the lab.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// For how long, such as 10s [default: until it is interrupted].
    #[arg(long = "for", value_name = "TIME", value_parser = crate::load::duration)]
    length: Option<Duration>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What comes from an agent.
enum News {
    Flow(Box<DeniedFlow>),
    /// Something to be said beside the flows.
    Note(String),
    /// There is nobody to go on with.
    End(anyhow::Error),
}

/// Prints until the time is over, or whoever reads is gone.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let agents = agents(&args).await?;
    let alone = agents.len() == 1 && args.socket.is_some();
    let (sender, mut news) = mpsc::channel(256);
    let mut watching = JoinSet::new();
    for (name, socket) in agents {
        watching.spawn(follow(name, socket, alone, sender.clone()));
    }
    drop(sender);
    let over = async {
        match args.length {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    let mut over = std::pin::pin!(over);
    loop {
        let news = tokio::select! {
            // What is there is told before the end.
            biased;
            news = news.recv() => news,
            () = &mut over => return Ok(ExitCode::SUCCESS),
        };
        match news {
            None => return Ok(ExitCode::SUCCESS),
            Some(News::End(error)) => return Err(error),
            Some(News::Note(note)) => eprintln!("{note}"),
            Some(News::Flow(flow)) => {
                let line = match args.output {
                    Output::Text => render::denied(&flow),
                    Output::Json => serde_json::to_string(&flow)? + "\n",
                };
                let mut out = std::io::stdout().lock();
                match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                    Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    written => written?,
                }
            }
        }
    }
}

/// Agents by name, with their sockets.
async fn agents(args: &Args) -> Result<Vec<(String, PathBuf)>> {
    if let Some(socket) = &args.socket {
        return Ok(vec![(socket.display().to_string(), socket.clone())]);
    }
    let of_lab = args.node.is_some() || args.cluster.is_some();
    if !of_lab && Path::new(AGENT).exists() {
        return Ok(vec![(AGENT.into(), AGENT.into())]);
    }
    if !of_lab && !lab::state::socket().exists() {
        bail!("no agent runs here ({AGENT} is not there) and no lab is up: give an agent's --socket");
    }
    let status = lab::client::status(None).await?;
    let mut nodes = Vec::new();
    for node in &status.nodes {
        nodes.push(NodeName::new(node.cluster.clone(), node.name.as_str())?);
    }
    if let Some(name) = &args.node {
        let candidate = |node: &NodeName| Candidate { what: What::Node, name: node.to_string() };
        nodes = vec![resolve("node", name, nodes.iter().map(candidate).collect())?.name.try_into()?];
    }
    if let Some(cluster) = &args.cluster {
        nodes.retain(|node| node.cluster == *cluster);
        if nodes.is_empty() {
            let names: Vec<_> = status.clusters.iter().map(|cluster| cluster.name.to_string()).collect();
            bail!("no cluster of the lab is called {cluster}: there is {}", names.join(", "));
        }
    }
    let socket = |node: NodeName| (node.to_string(), Folders::of_node(&node).run.join("agent.sock"));
    Ok(nodes.into_iter().map(socket).collect())
}

/// Asks an agent for more, again and again. One that is asked `alone` must be there; of several each may come and go.
async fn follow(name: String, socket: PathBuf, alone: bool, news: mpsc::Sender<News>) {
    // Whoever is told may be gone: then the process ends.
    let tell = async |what| drop(news.send(what).await);
    let mut after: Option<u64> = None;
    let mut silent = false;
    loop {
        let path = match after {
            Some(after) => format!("/v1/policy/denied?after={after}"),
            None => "/v1/policy/denied".into(),
        };
        match client::get::<DeniedFlows>(&socket, &path).await {
            Ok(found) => {
                if silent {
                    tell(News::Note(format!("{name} answers again"))).await;
                }
                silent = false;
                if found.lost > 0 {
                    tell(News::Note(format!("{name}: {} more were denied than it keeps", found.lost))).await;
                }
                after = Some(found.next);
                for flow in found.flows {
                    tell(News::Flow(Box::new(flow))).await;
                }
            }
            Err(
                error @ (ClientError::Refused { .. }
                | ClientError::NotAllowed(_)
                | ClientError::Nonsense { .. }),
            ) => {
                return tell(News::End(error.into())).await;
            }
            Err(error) if alone => return tell(News::End(error.into())).await,
            Err(error) => {
                if !silent {
                    tell(News::Note(format!("{name}: {error}"))).await;
                }
                silent = true;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
