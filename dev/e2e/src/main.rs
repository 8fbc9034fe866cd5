//! Causeway against a real API server: first the suite that keeps the double honest, then the real thing end to end.
//! Run by `./x test kubernetes`.
//!
//! An API server of our own stands in a network namespace, `cwt_e2e`, together with the controllers; each node is
//! another namespace, joined to it by a bridge. This program therefore runs twice: the outer one makes the namespace
//! and clears everything away, whatever happens; the inner one lives in it.

mod api;
mod audit;
mod cluster;
mod flow;
mod node;
mod server;
mod story;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::server::Server;
use crate::world::World;

/// Runs the fidelity suite and the end-to-end pass against a real API server.
#[derive(Parser, Clone)]
#[command(name = "e2e")]
struct Args {
    /// A folder with kube-apiserver, etcd and kubectl.
    #[arg(long, env = "KUBEBUILDER_ASSETS")]
    assets: Option<PathBuf>,
    /// A cluster that is there already. Used if there is no such folder; only throw-away namespaces are touched.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The binary to test.
    #[arg(long)]
    causeway: PathBuf,
    /// Seconds for which the API server is away while pods come and go.
    #[arg(long, env = "CAUSEWAY_TEST_OUTAGE", default_value_t = 15)]
    outage: u64,
    /// Only the fidelity suite (`suite`), or only the end-to-end pass (`story`).
    #[arg(long)]
    only: Option<String>,
    /// Set by the outer run: this is the inner one.
    #[arg(long, hide = true)]
    inside: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let wanted = |part: &str| args.only.as_deref().is_none_or(|only| only == part);
    match (&args.assets, &args.kubeconfig) {
        (Some(assets), _) if !args.inside => {
            check_assets(assets)?;
            let world = World::make().await?;
            let ran = world.run_inside();
            world.clear();
            ran
        }
        (Some(assets), _) => {
            if wanted("suite") {
                for streaming_lists in [true, false] {
                    let server = Server::start(assets, streaming_lists).await?;
                    suite(&server.kubeconfig(), streaming_lists, server.has_controllers())?;
                }
            }
            if wanted("story") {
                let server = Server::start(assets, false).await?;
                story::tell(server, &args.causeway, assets, Duration::from_secs(args.outage)).await?;
            }
            Ok(())
        }
        (None, Some(kubeconfig)) => {
            const ALONE: &str = "the end-to-end pass needs an API server of its own, which it stops and starts: set \
                                 KUBEBUILDER_ASSETS for it";
            if !wanted("suite") {
                bail!("{ALONE}");
            }
            println!("e2e: KUBECONFIG alone: the suite runs on that cluster. {ALONE}");
            suite(kubeconfig, false, true)
        }
        (None, None) => bail!(
            "no API server to test against. Either set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and \
             kubectl (`setup-envtest use -p path 1.33` prints one), or KUBECONFIG to the kubeconfig of a cluster that \
             may be used for tests (k3s, kind): only namespaces of the test's own are touched"
        ),
    }
}

fn check_assets(assets: &Path) -> Result<()> {
    for name in ["kube-apiserver", "etcd", "kubectl"] {
        let path = assets.join(name);
        if !path.exists() {
            bail!(
                "{} is not there: KUBEBUILDER_ASSETS must hold kube-apiserver, etcd and kubectl",
                path.display()
            );
        }
    }
    Ok(())
}

/// The cases of `dev/apiserver`, against the real server.
fn suite(kubeconfig: &Path, streaming_lists: bool, controllers: bool) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "-p", "causeway-apiserver", "--test", "fidelity", "--", "--ignored", "real::"]);
    if !controllers {
        println!(
            "e2e: no kube-controller-manager in KUBEBUILDER_ASSETS: two cases that need it are left out"
        );
        command.args(["--skip", "a_namespace_takes_its_contents", "--skip", "pods_become_endpoints"]);
    }
    let status = command
        .env("CAUSEWAY_TEST_KUBECONFIG", kubeconfig)
        .env("CAUSEWAY_TEST_STREAMING_LISTS", if streaming_lists { "1" } else { "0" })
        .status()
        .context("running the fidelity suite")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the fidelity suite failed against the real server: {status}")
    }
}
