//! Taking everything off a node that an agent put there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kernel::netlink::{Netlink, PROTOCOL_PLAN};
use kernel::{bpf, nft, pod, wireguard};
use serve::http::{Health, Vitals};
use tokio::net::UnixStream;
use tracing::info;

use crate::config::Config;
use crate::datapath;

/// Tables of the packet filter that are ours: the agent's and the pods' host ports.
const TABLES: [&str; 2] = [datapath::TABLE, "causeway-hostport"];

/// How long the tunnel's process may take to end with its device.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes off the node what agents of this configuration put there: the container runtime's files first, so that no
/// pod is begun any more; then packet path, tunnel, routes, wires of pods, packet filters; identity and memory last.
/// May be repeated; what is not there is as good as removed. Kernel settings stay as they are: somebody else may live
/// by them.
///
/// # Errors
/// An agent still answers, or the machine refuses. What was removed stays removed.
pub async fn cleanup(config: &Config) -> Result<()> {
    let socket = config.run_dir.join("agent.sock");
    if UnixStream::connect(&socket).await.is_ok() {
        bail!("an agent answers on {}: stop it first", socket.display());
    }
    let host = config.host();
    crate::install::remove(config)?;

    let pins = host.path(Path::new(bpf::PIN_DIR));
    bpf::Datapath::unload(&pins).context("ending the packet path")?;
    if let Some(parent) = pins.parent() {
        let removed = if_there(std::fs::remove_dir(parent));
        removed.with_context(|| format!("removing the folder {}", parent.display()))?;
    }

    let netlink = Netlink::open()?;
    let tunnel = datapath::tunnel_options(config);
    let process = wireguard::process_of(&tunnel)?;
    netlink.delete_link(&config.interface).await?;
    netlink.delete_link(datapath::VXLAN).await?;
    for device in pod::find(&netlink).await?.into_keys() {
        netlink.delete_link(&device).await?;
    }
    for route in netlink.routes(PROTOCOL_PLAN).await? {
        netlink.delete_route(route.to, route.metric, PROTOCOL_PLAN).await?;
    }
    for table in TABLES {
        // A kernel without packet filters has no table either.
        if matches!(nft::observe(table), Ok(Some(_))) {
            nft::remove(table)?;
        }
    }

    let on_machine = !host.is_here();
    let ended = tokio::task::spawn_blocking(move || -> Result<bool> {
        // It ends with its device.
        let ended = process.is_none_or(|process| process.wait(PATIENCE).unwrap_or(false));
        if ended && on_machine {
            host.remove_group()?;
        }
        Ok(ended)
    });
    if !ended.await?? {
        bail!("the process of the tunnel did not end within {PATIENCE:?} of its device");
    }
    remove_file(&tunnel.socket())?;
    for name in ["agent.sock".to_string(), format!("{}.log", config.interface)] {
        remove_file(&config.run_dir.join(name))?;
    }
    empty(&config.state_dir)?;
    info!("nothing of Causeway is left on this node");
    Ok(())
}

/// Answers that it is well until `stop` resolves, and does nothing else.
///
/// # Errors
/// The port cannot be had.
pub async fn rest(config: &Config, stop: impl Future<Output = ()>) -> Result<()> {
    let answering = serve::http::serve(config.http_listen, serve::http::router(Arc::new(Resting))).await?;
    tokio::select! {
        () = answering => {}
        () = stop => {}
    }
    Ok(())
}

/// Nothing to wait for, nothing to count.
struct Resting;

impl Vitals for Resting {
    fn health(&self) -> Health {
        Health::default()
    }

    fn metrics(&self) -> String {
        serve::metrics::AgentMetrics::new(env!("CARGO_PKG_VERSION")).encode()
    }
}

/// Empties a folder, and removes it where it is not a mount point.
fn empty(folder: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading the folder {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    // In a container it is a mount of the machine's.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    if_there(std::fs::remove_file(path)).with_context(|| format!("removing {}", path.display()))
}

fn if_there(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
