//! `causeway echo`: a server that says who answered.

use std::process::ExitCode;

use lab::echo::{Answer, Listen};

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Answers any HTTP request, and any UDP datagram to the same port, with JSON: \
                  cluster, region, zone, node, namespace and pod from the CAUSEWAY_… environment, and the client's \
                  address. /healthz is for probes; POST /fail makes it fail, POST /recover ends that.")]
pub(crate) struct Args {
    /// Where to listen: `:8080` (every address, IPv4 and IPv6), `10.0.0.1:8080` or `[fd00::1]:8080`; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    listen: Vec<Listen>,
}

/// Serves until the process is ended.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    lab::echo::run(Answer::of_this_process(), &args.listen).await?;
    Ok(ExitCode::SUCCESS)
}
