//! `causeway lab up`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{down, up};
use tokio::signal::unix::{SignalKind, signal};

use super::print_json;
use crate::status::Output;

/// `causeway lab up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is checked before anything is started. Without --file the lab is three clouds of two nodes: aws, gcp and
azure, with a service `echo` in each and a pod `client` on every node.")]
pub(crate) struct Args {
    /// The lab file.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many seconds it may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
    /// How to print the end of it. Progress goes to standard error.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Brings a lab up. When interrupted it takes down what it has begun.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let lab = up::check(args.file.as_deref())?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let patience = Duration::from_secs(args.timeout);
    let up = up::up(&lab, args.file.as_deref(), patience, |line| eprintln!("{line}"));
    let summary = tokio::select! {
        up = up => up?,
        _ = interrupt.recv() => return interrupted().await,
        _ = terminate.recv() => return interrupted().await,
    };
    let took = summary.took.as_secs_f64();
    match args.output {
        Output::Text => {
            println!("{} clouds with {} nodes are up after {took:.1} s", summary.clusters, summary.nodes);
            println!("Next: causeway lab status, causeway lab demo, causeway lab exec POD -- COMMAND");
        }
        Output::Json => {
            let (clusters, nodes) = (summary.clusters, summary.nodes);
            print_json(&serde_json::json!({"clusters": clusters, "nodes": nodes, "seconds": took}))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() -> Result<ExitCode> {
    eprintln!("interrupted; taking down what was begun");
    tokio::task::spawn_blocking(down::down).await?.context("taking the lab down")?;
    bail!("interrupted; nothing is left of the lab");
}
