//! `causeway`: every daemon and every verb of an operator, in one file to install.

mod check;
mod clusters;
mod cni;
mod completion;
mod connect;
mod daemon;
mod demo;
mod echo;
mod graph;
mod install;
mod keys;
mod lab;
mod link;
mod load;
mod logging;
mod peer;
mod policy;
mod seat;
mod services;
mod showconf;
mod status;
mod uninstall;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One network over many Kubernetes clusters, clouds and machines.
#[derive(Debug, Parser)]
#[command(
    name = "causeway",
    version,
    propagate_version = true,
    after_help = "Try it: `causeway lab up`, then `causeway lab demo`.\n\
                  Exit status: 0 done, 1 failed, 2 not understood; `lab exec` has the command's own."
)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the node daemon.
    Agent(daemon::AgentArgs),
    /// Run the cluster daemon.
    Controller(daemon::ControllerArgs),
    /// Run a WireGuard device in user space, driven through `/run/wireguard/INTERFACE.sock`.
    Wireguard(daemon::WireguardArgs),
    /// The CNI plugin: called by a container runtime, by the CNI specification.
    Cni,
    /// What a node or a controller says of itself.
    Status(status::Args),
    /// What clients dial: services and imports, who answers for them and why.
    Services(services::Args),
    /// Who may talk to whom, and which rule says so.
    Policy(policy::Args),
    /// Laptops, offices and other WireGuard clients that are no nodes.
    Peer(Box<peer::Args>),
    /// Nodes' WireGuard keys, and new ones.
    Keys(keys::Args),
    /// Make this machine a client of the mesh, for as long as the command runs.
    Connect(connect::Args),
    /// A node's or a client's WireGuard configuration.
    Showconf(showconf::Args),
    /// Nodes by location and the tunnels between them, as a picture or as data.
    Graph(graph::Args),
    /// Install into a Kubernetes cluster, or print the manifests.
    Install(Box<install::Args>),
    /// Another version or other settings for what is installed in a Kubernetes cluster.
    Upgrade(Box<upgrade::Args>),
    /// Take everything off a Kubernetes cluster and its nodes again.
    Uninstall(uninstall::Args),
    /// Whether all is well in a Kubernetes cluster, or whether Causeway can be installed.
    Check(Box<check::Args>),
    /// The clusters that are joined with each other, and how it stands with each link.
    Clusters(clusters::Args),
    /// Join clusters with each other.
    #[command(subcommand)]
    Link(link::Verb),
    /// Several clouds on this machine.
    Lab(Box<lab::Args>),
    /// A server that says who answered, over HTTP and UDP.
    Echo(echo::Args),
    /// Print a shell's completion script.
    Completion(completion::Args),
}

fn main() -> ExitCode {
    if cni::called_by_runtime() {
        return cni::run();
    }
    // One crypto provider for every TLS connection of the process. Fails only if there is one already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first thing that main does");
    let verb = Args::parse().verb;
    match verb {
        // The two that are started often, or live with least memory, go without a runtime.
        Verb::Cni => cni::run(),
        Verb::Wireguard(args) => finish(daemon::wireguard(&args)),
        Verb::Completion(args) => finish(completion::run(&args)),
        other => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => finish(runtime.block_on(run(other))),
                Err(e) => finish(Err(anyhow::Error::new(e).context("starting the runtime"))),
            }
        }
    }
}

async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Agent(args) => daemon::agent(args).await,
        Verb::Controller(args) => daemon::controller(args).await,
        Verb::Status(args) => status::run(args).await,
        Verb::Services(args) => services::run(args).await,
        Verb::Policy(args) => policy::run(args).await,
        Verb::Peer(args) => peer::run(*args).await,
        Verb::Keys(args) => keys::run(args).await,
        Verb::Connect(args) => connect::run(args).await,
        Verb::Showconf(args) => showconf::run(args).await,
        Verb::Graph(args) => graph::run(args).await,
        Verb::Install(args) => install::run(*args).await,
        Verb::Upgrade(args) => upgrade::run(*args).await,
        Verb::Uninstall(args) => uninstall::run(args).await,
        Verb::Check(args) => check::run(*args).await,
        Verb::Clusters(args) => clusters::run(args).await,
        Verb::Link(verb) => link::run(verb).await,
        Verb::Lab(args) => lab::run(*args).await,
        Verb::Echo(args) => echo::run(args).await,
        Verb::Cni | Verb::Wireguard(_) | Verb::Completion(_) => unreachable!("handled without a runtime"),
    }
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("causeway: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds() {
        super::Args::command().debug_assert();
    }
}
