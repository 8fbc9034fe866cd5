//! `causeway services`: what clients dial, and where it leads.

mod ask;
mod exports;
mod render;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use model::ClusterName;
use wire::local::ServiceReport;

use crate::status::Output;

/// What `causeway services` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway services                                   every service and import, as this node sees them
  causeway services --imported                        what other clusters export
  causeway services show demo/echo                    each backend, and why it takes connections or not
  causeway services show demo/echo --from aws-2       the same, as clients on another node have it
  causeway services -o json | jq '.[] | {name, clusters, healthy, total}'

Where this machine has no agent but a lab, the first node of each cluster answers; with --cluster, of that one; with --from,
the node or pod named.
Exit status 1 when a service that is shown is not in the data path as planned.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Imports alone: what other clusters export.
    #[arg(long, conflicts_with = "exported")]
    imported: bool,
    /// What this cluster exports alone.
    #[arg(long)]
    exported: bool,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Each backend of one service: how near, how heavy, its part of new connections, and why.
    Show {
        /// The service, `NAMESPACE/NAME`; an import of the same name is shown too.
        #[arg(value_name = "NAMESPACE/NAME")]
        service: String,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose eyes to look with, and for whom to print.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Whose {
    /// As clients on this node have them, or in this pod.
    #[arg(long, value_name = "NODE|POD")]
    from: Option<String>,
    /// The agent's socket [default: this machine's agent, else its lab].
    #[arg(long, value_name = "PATH", conflicts_with = "of_lab")]
    socket: Option<PathBuf>,
    /// An agent of this cluster of the lab.
    #[arg(id = "of_lab", long = "cluster", value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Asks and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let (shown, whose, text): (_, _, fn(&[ServiceReport]) -> String) = match args.verb {
        None => {
            let mut services = ask::services(&args.whose).await?;
            services.retain(|service| {
                (!args.imported || service.imported) && (!args.exported || service.exported)
            });
            (services, args.whose, render::list)
        }
        Some(Verb::Show { service, whose }) => {
            // Either place of an option will do.
            let whose = whose.or(args.whose);
            let found = find(ask::services(&whose).await?, &service)?;
            (found, whose, render::show)
        }
    };
    match whose.output {
        Output::Text => print!("{}", text(&shown)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&shown)?),
    }
    let as_planned = shown.iter().all(|service| service.differences.is_empty());
    Ok(if as_planned { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Whose {
    fn or(self, other: Self) -> Self {
        let output = if self.output == Output::Text { other.output } else { self.output };
        let (socket, cluster) = (self.socket.or(other.socket), self.cluster.or(other.cluster));
        Self { from: self.from.or(other.from), socket, cluster, output }
    }
}

/// The service that is meant, and the import of its name.
fn find(services: Vec<ServiceReport>, wanted: &str) -> Result<Vec<ServiceReport>> {
    let Some((namespace, name)) = wanted.split_once('/') else {
        bail!("{wanted:?} names no service: write NAMESPACE/NAME, such as default/{wanted}");
    };
    let found: Vec<_> = services.into_iter().filter(|s| s.namespace == namespace && s.name == name).collect();
    if found.is_empty() {
        bail!("no service or import is called {wanted} here: `causeway services` lists those that are");
    }
    Ok(found)
}
