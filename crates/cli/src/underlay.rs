//! `causeway lab underlay`: the process between a lab's locations. `lab up` starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::logging::{self, LogArgs};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What lies between which locations; `lab up` writes it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs until the process is ended.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::start(&args.log)?;
    tokio::task::spawn_blocking(move || lab::underlay::run(&args.config)).await??;
    Ok(ExitCode::SUCCESS)
}
