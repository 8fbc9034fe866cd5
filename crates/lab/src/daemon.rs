//! The lab's daemon: holds the clouds together while they are up. `causeway lab up` starts it, the other verbs ask it.

mod build;
mod cluster;
mod cuts;
mod objects;
mod progress;
mod report;
mod verbs;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use kernel::cgroup::Cgroup;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::error;

use self::cluster::ClusterHost;
use self::cuts::{Cuts, Pairs};
use self::progress::Journal;
use crate::api::{self, Phase, Progress};
use crate::file::{self, default_lab};
use crate::node::Node;
use crate::plan::Plan;
use crate::state;
use crate::supervise::{Supervisor, log};

/// How often logs are looked at, whether they have grown too long.
const TRIM: Duration = Duration::from_secs(10);

/// A lab that is being built, or up.
pub struct Daemon {
    plan: Plan,
    causeway: PathBuf,
    journal: Journal,
    lab: OnceLock<Lab>,
}

/// What was built.
struct Lab {
    clusters: Vec<ClusterHost>,
    /// Held by a verb that changes the lab, so that two never meet.
    cuts: tokio::sync::Mutex<Cuts>,
    /// What the last of them left, for whoever only looks.
    cut_pairs: Mutex<Pairs>,
    /// Kept running by being here.
    #[expect(dead_code, reason = "it stops what it keeps running when it is dropped")]
    underlay: Supervisor,
}

/// Runs the daemon: builds the lab of this file, or the default one, and serves until it is killed.
pub async fn run(file: Option<&Path>) -> Result<()> {
    let lab = match file {
        Some(file) => file::load(file)?,
        None => default_lab()?,
    };
    let causeway = std::env::current_exe().context("finding the causeway binary")?;
    let daemon =
        Arc::new(Daemon { plan: Plan::new(&lab), causeway, journal: Journal::new(), lab: OnceLock::new() });
    raise_limits()?;
    let socket = state::socket();
    let serving = serve::local::serve(&socket, serve::local::Access::Owner, api::router(Arc::clone(&daemon)));
    tokio::spawn(serving.await?);
    tokio::spawn(trim_logs());
    if let Err(e) = daemon.build().await {
        error!(error = format!("{e:#}"), "the lab does not come up");
        daemon.journal.set(Phase::Failed { reason: format!("{e:#}") });
    }
    // From here on everything happens because somebody asks or something dies.
    std::future::pending().await
}

/// Every machine and pod is a handful of open files; the usual 1024 are soon used up.
fn raise_limits() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("asking how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the number of files that may be open")
}

async fn trim_logs() {
    loop {
        tokio::time::sleep(TRIM).await;
        if let Err(error) = log::trim_all(&state::logs()) {
            error!(%error, "cannot look after the logs");
        }
    }
}

/// Where the daemon itself runs, and the underlay.
fn own_cgroup() -> Result<Cgroup> {
    Ok(Cgroup::create(state::own_cgroup())?)
}

impl Daemon {
    /// How far it has come; lines from number `after` on.
    pub fn progress(&self, after: usize) -> Progress {
        self.journal.read(after)
    }

    fn lab(&self) -> Result<&Lab> {
        self.lab.get().ok_or_else(|| anyhow!("the lab is still being built: wait for `causeway lab up`"))
    }

    fn clusters(&self) -> &[ClusterHost] {
        self.lab.get().map(|lab| lab.clusters.as_slice()).unwrap_or_default()
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.clusters().iter().flat_map(|cluster| &cluster.nodes)
    }
}
