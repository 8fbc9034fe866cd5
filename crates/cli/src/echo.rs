//! `causeway echo`: a server that says who answered.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use lab::echo::{Answer, Listen};
use tokio::signal::unix::{SignalKind, signal};

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Answers any HTTP request (by TCP and, where the kernel has it, SCTP), and any UDP datagram to the same port, with JSON: \
                  cluster, region, zone, node, namespace and pod from the CAUSEWAY_… environment, and the client's \
                  address. /healthz is for probes; POST /fail makes it fail, POST /recover ends that. SIGTERM ends \
                  it in the manner of a server behind a balancer: it goes on for a while, then finishes what it has begun."
)]
pub(crate) struct Args {
    /// Where to listen: `:8080` (every address, IPv4 and IPv6), `10.0.0.1:8080` or `[fd00::1]:8080`; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    listen: Vec<Listen>,
    /// For how long new connections are still taken after SIGTERM: until everybody knows that this one ends.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::load::duration)]
    drain: Duration,
}

/// Serves until the process is ended.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let stop = async {
        terminate.recv().await;
        tokio::time::sleep(args.drain).await;
    };
    lab::echo::run(Answer::of_this_process(), &args.listen, stop).await?;
    Ok(ExitCode::SUCCESS)
}
