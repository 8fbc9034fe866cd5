//! The daemons: read the configuration whole, then run until asked to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging::{self, LogArgs};

/// `causeway agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// The configuration.
    #[arg(long, default_value = "/run/causeway/agent.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The node's own name, where the configuration is the same for all nodes.
    #[arg(long, env = "CAUSEWAY_NODE", value_name = "NAME")]
    node: Option<String>,
    /// Take everything of ours off this node instead: the container runtime's files, tunnel, routes, packet path and
    /// state. In a container it then stays, ready, until it is stopped, so that whoever rolls it out sees it done.
    #[arg(long)]
    cleanup: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// `causeway controller`.
#[derive(Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// The configuration.
    #[arg(long, default_value = "/run/causeway/controller.yaml", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

/// `causeway wireguard`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: causeway wireguard wg0 &   wg setconf wg0 wg0.conf   ip link set wg0 up")]
pub(crate) struct WireguardArgs {
    /// The device to make.
    interface: String,
    /// Where its control socket goes.
    #[arg(long = "socket-dir", default_value = "/run/wireguard", value_name = "DIR")]
    uapi_dir: PathBuf,
    /// Stay in the session of the caller rather than outlive it.
    #[arg(long)]
    foreground: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) async fn agent(args: AgentArgs) -> Result<ExitCode> {
    logging::start(&args.log)?;
    let config = agent::config::load(&args.config, args.node.as_deref().filter(|node| !node.is_empty()))?;
    if args.cleanup {
        agent::cleanup(&config).await?;
        if !config.host().is_here() {
            agent::rest(&config, asked_to_stop()?).await?;
        }
    } else {
        agent::run(config, asked_to_stop()?).await?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn controller(args: ControllerArgs) -> Result<ExitCode> {
    logging::start(&args.log)?;
    let config = controller::config::load(&args.config)?;
    controller::run(config, asked_to_stop()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves at SIGTERM or SIGINT.
fn asked_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The device's life. Not asynchronous: its data path is threads of its own.
pub(crate) fn wireguard(args: &WireguardArgs) -> Result<ExitCode> {
    // Before any thread starts: the signals are blocked in all of them, and read from a descriptor.
    let stop = kernel::wireguard::stop_signals().context("listening for SIGTERM")?;
    logging::start(&args.log)?;
    let options = kernel::wireguard::Options {
        interface: args.interface.clone(),
        uapi_dir: args.uapi_dir.clone(),
        foreground: args.foreground,
    };
    kernel::wireguard::run(&options, stop)?;
    Ok(ExitCode::SUCCESS)
}
