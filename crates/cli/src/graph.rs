//! `causeway graph`: the nodes by location and the tunnels between them, as a picture or as data.

mod dot;
mod layout;
mod sites;
mod svg;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use wire::local::AgentStatus;

pub(crate) use sites::{Graph, Site};

/// What `causeway graph` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: causeway graph -o svg > graph.svg")]
pub(crate) struct Args {
    /// An agent's socket; several are put together [default: this machine's agent, else all of its lab].
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,
    /// Every node of the lab on this machine.
    #[arg(long, conflicts_with = "socket")]
    lab: bool,
    /// What to write.
    #[arg(short, long, value_enum, default_value_t = Format::Svg)]
    output: Format,
}

/// What a graph is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For Graphviz.
    Dot,
    /// For a browser.
    Svg,
    /// For programs.
    Json,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let lab = args.lab || (args.socket.is_empty() && crate::status::only_a_lab());
    let sites = if lab { lab_sites().await? } else { agent_sites(args.socket).await? };
    println!("{}", write(&Graph::new(&sites), args.output)?);
    Ok(ExitCode::SUCCESS)
}

/// The graph as text.
pub(crate) fn write(graph: &Graph, format: Format) -> Result<String> {
    Ok(match format {
        Format::Dot => dot::write(graph),
        Format::Svg => svg::write(graph),
        Format::Json => serde_json::to_string_pretty(graph)?,
    })
}

async fn agent_sites(mut sockets: Vec<PathBuf>) -> Result<Vec<Site>> {
    if sockets.is_empty() {
        sockets.push(crate::status::this_machines()?);
    }
    let mut sites = Vec::new();
    for socket in sockets {
        let status: AgentStatus = serve::client::get(&socket, "/v1/status")
            .await
            .with_context(|| format!("asking an agent on {}", socket.display()))?;
        sites.push(Site::from(status));
    }
    Ok(sites)
}

async fn lab_sites() -> Result<Vec<Site>> {
    let status = lab::client::status(None).await?;
    status.nodes.into_iter().map(Site::try_from).collect()
}
