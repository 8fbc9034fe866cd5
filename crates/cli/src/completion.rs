//! Completion scripts, from the same definition as the parser.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: causeway completion bash > /etc/bash_completion.d/causeway")]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, &mut crate::Args::command(), "causeway", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}
