//! `causeway check`: is what is installed at work; `causeway check --pre`: may it be installed here.

mod after;
mod before;
mod finding;
mod mesh;
mod node;
mod routes;

use std::process::ExitCode;

use anyhow::Result;
use install::Settings;
use serde_json::json;

use crate::install::{Access, Given};
use crate::status::Output;
use finding::{Finding, Level};

/// What `causeway check` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway check                       # a cluster, from where its kubeconfig is
  causeway check --pre                 # a node, on the node; and the cluster, where a kubeconfig is
  causeway check --pre --pod-cidr 10.1.0.0/16 --service-cidr 10.101.0.0/16 -o json
Exit status: 0 when nothing fails (warnings do not), 1 otherwise.")]
pub(crate) struct Args {
    /// Look whether Causeway could be installed, rather than how it is.
    #[arg(long)]
    pre: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    given: Given,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Looks, and prints what it saw.
///
/// # Errors
/// After installation: the API server cannot be asked. Before: settings that are none.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let findings = if args.pre { pre(&args).await? } else { after::look(&args.access).await? };
    match args.output {
        Output::Text => print!("{}", finding::render(&findings)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&json!({ "findings": findings }))?),
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The cluster if one can be asked, and this machine.
async fn pre(args: &Args) -> Result<Vec<Finding>> {
    let given = args.given.values(args.access.namespace.as_deref())?;
    let (mut findings, settings) = match before::look(&args.access, &given).await {
        Ok(found) => found,
        Err(error) => {
            let settings = Settings::default().with(&given)?;
            let advice = "give --kubeconfig to look at the cluster, too";
            (vec![Finding::warn("cluster", format!("not looked at: {error:#}"), advice)], settings)
        }
    };
    findings.extend(tokio::task::spawn_blocking(move || node::look(&settings)).await?);
    Ok(findings)
}
