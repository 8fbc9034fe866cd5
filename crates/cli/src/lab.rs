//! `causeway lab`: several clouds on this machine.

mod exec;
mod matrix;
mod objects;
mod show;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use lab::{client, daemon, down, underlay};
use serde::Serialize;

use crate::logging::{self, LogArgs};
use crate::status::Output;
use crate::{demo, load};

/// `causeway lab`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway lab up                                          three clouds, two nodes each
  causeway lab demo                                        watch a service fail over, from node to zone to cloud
  causeway lab status                                      who is up, who balances to whom
  causeway lab exec client-aws-1 -- curl -s ADDRESS        a program in a pod
  causeway lab exec aws-1 -- wg show cw0                   a program on a node
  causeway lab apply -f echo.yaml --cluster aws            Kubernetes objects into a cloud
  causeway lab kill gcp; causeway lab start gcp            a cloud goes dark, and comes back
  causeway lab matrix -n demo                              which pod reaches which, and whether policy says so
  causeway lab down                                        nothing is left

A pod is called CLUSTER/NAMESPACE/NAME, a node CLUSTER/NODE; any end of it that only one has will do.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the clouds and wait until every agent and pod is ready.
    Up(up::Args),
    /// Take everything down: running, half built or crashed. Doing it twice is no error.
    Down {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Clusters, nodes with their tunnels, services with their backends, pods.
    Status(show::Args),
    /// Run a program of this machine inside a pod, or on a node; its exit status becomes ours.
    Exec(exec::Args),
    /// Put Kubernetes objects into a cluster: all of them or none.
    Apply(objects::Apply),
    /// Take a Kubernetes object out of a cluster, and wait until a pod is gone.
    Delete(objects::Delete),
    /// Cut two nodes or clusters off from each other.
    Cut(Pair),
    /// Join what was cut.
    Heal(Pair),
    /// Kill a node, or a cluster with all its nodes and its controller, as a power cut does.
    Kill(One),
    /// Bring back what was killed, with what was on its disk.
    Start(One),
    /// The end of a log: of a pod, a node's agent, a controller (CLUSTER/_controller), `underlay` or `daemon`.
    Logs(show::Logs),
    /// Who reaches whom: every pod tries every other one, held against `causeway policy check`.
    Matrix(Box<matrix::Args>),
    /// Watch a service fail over from node to zone to cloud, and judge it.
    Demo(demo::Args),
    /// Send a steady load of new connections from here; the demo and the benchmarks run this in pods.
    #[command(hide = true)]
    Load(load::Args),
    /// Hold a lab together; `lab up` starts this.
    #[command(hide = true)]
    Daemon {
        /// The lab file.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Carry packets between the locations of a lab; `lab up` starts this.
    #[command(hide = true)]
    Underlay {
        /// Its configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        log: LogArgs,
    },
}

/// Two nodes or clusters.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: causeway lab cut aws gcp    causeway lab cut aws-1 aws-2    causeway lab heal aws gcp"
)]
struct Pair {
    /// A node or a cluster.
    a: String,
    /// Another one.
    b: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// One node or cluster.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: causeway lab kill gcp-2    causeway lab kill gcp    causeway lab start gcp"
)]
struct One {
    /// A node or a cluster.
    name: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(crate) use show::whole as status;

/// Does what was asked.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Up(args) => up::run(args).await,
        Verb::Down { output } => take_down(output).await,
        Verb::Status(args) => show::run(args).await,
        Verb::Exec(args) => exec::run(args).await,
        Verb::Apply(args) => objects::apply(args).await,
        Verb::Delete(args) => objects::delete(args).await,
        Verb::Cut(Pair { a, b, output }) => done(client::cut(&a, &b).await?.changes, output),
        Verb::Heal(Pair { a, b, output }) => done(client::heal(&a, &b).await?.changes, output),
        Verb::Kill(One { name, output }) => done(client::kill(&name).await?.changes, output),
        Verb::Start(One { name, output }) => done(client::start(&name).await?.changes, output),
        Verb::Logs(args) => show::logs(&args).await,
        Verb::Matrix(args) => matrix::run(*args).await,
        Verb::Demo(args) => demo::run(args).await,
        Verb::Load(args) => load::run(args).await,
        Verb::Daemon { file, log } => {
            logging::start(&log)?;
            daemon::run(file.as_deref()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Underlay { config, log } => {
            logging::start(&log)?;
            underlay::run(&config)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn take_down(output: Output) -> Result<ExitCode> {
    let removed = tokio::task::spawn_blocking(down::down).await??;
    let text = match removed.nothing() {
        true => "no lab was up".to_string(),
        false => format!(
            "the lab is down: {} processes ended, {} network namespaces removed",
            removed.processes, removed.namespaces
        ),
    };
    match output {
        Output::Text => println!("{text}"),
        Output::Json => print_json(&removed)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what was changed.
fn done(changes: Vec<String>, output: Output) -> Result<ExitCode> {
    match output {
        Output::Text => changes.iter().for_each(|change| println!("{change}")),
        Output::Json => print_json(&lab::api::Done { changes })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
