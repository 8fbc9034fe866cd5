//! Brings a lab up: everything is checked before anything starts, then the daemon builds and this follows it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::cgroup::{Cgroup, CgroupError};
use kernel::features;
use kernel::sandbox::{self, Sandbox};
use nix::fcntl::{Flock, FlockArg};
use tokio::time::sleep;

use crate::api::Phase;
use crate::client::{self, AskError};
use crate::down::{self, DownError};
use crate::file::{self, Lab, default_lab};
use crate::plan::Plan;
use crate::state;
use crate::supervise::log;

/// How often the daemon is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// How long nothing may happen before we say what we wait for.
const QUIET: Duration = Duration::from_secs(4);

/// How many lines of a log an error shows.
const LOG_LINES: usize = 12;

/// Why a lab is not up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The lab file is wrong. Nothing was started.
    #[error(transparent)]
    File(#[from] file::Error),
    /// Not root. Nothing was started.
    #[error("a lab needs root, for network namespaces and eBPF: run this with sudo, or as root")]
    NotRoot,
    /// The kernel lacks something. Nothing was started.
    #[error("this kernel lacks what a lab needs:\n{0}")]
    Kernel(String),
    /// There is one already. Nothing was started.
    #[error("a lab is up already: `causeway lab status` shows it, `causeway lab down` takes it down")]
    AlreadyUp,
    /// Another one is being brought up. Nothing was started.
    #[error("another `causeway lab up` is under way: wait for it, or interrupt it")]
    Busy,
    /// What an earlier lab left could not be cleared away.
    #[error(transparent)]
    Remains(#[from] DownError),
    /// The control group could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The daemon could not be started.
    #[error("cannot start the lab's daemon: {0}")]
    Spawn(std::io::Error),
    /// The daemon ended.
    #[error("the lab's daemon ended ({end}); its log ends:\n{log}")]
    Died {
        /// How.
        end: String,
        /// The last lines of its log.
        log: String,
    },
    /// The daemon says that it cannot be done.
    #[error(
        "the lab does not come up: {0}\nIt is left as it is, to be looked at; `causeway lab down` removes it."
    )]
    Failed(String),
    /// It takes too long.
    #[error(
        "the lab is not up after {waited:?}; still missing:\n  {}\nIt is left as it is, to be looked at (`causeway lab status`, `causeway lab logs`); `causeway lab down` removes it.",
        missing.join("\n  ")
    )]
    Late {
        /// So long.
        waited: Duration,
        /// What is not there.
        missing: Vec<String>,
    },
    /// The daemon does not answer as it should.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// What came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Clusters.
    pub clusters: usize,
    /// Nodes.
    pub nodes: usize,
    /// How long it took.
    pub took: Duration,
}

/// Checks everything that can be checked without starting anything, and clears away what a crashed lab left.
pub fn check(file: Option<&Path>) -> Result<Lab, UpError> {
    let lab = match file {
        Some(file) => file::load(file)?,
        None => default_lab()?,
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(UpError::NotRoot);
    }
    let found = features::probe();
    let missing: Vec<String> = features::missing(&found)
        .into_iter()
        .map(|feature| format!("  {} (for {}): {}", feature.name, feature.purpose, feature.advice))
        .collect();
    if missing.is_empty() { Ok(lab) } else { Err(UpError::Kernel(missing.join("\n"))) }
}

/// Starts the lab that [`check`] has approved, and follows it until it is up. `tell` is given each line of progress.
pub async fn up(
    lab: &Lab,
    file: Option<&Path>,
    patience: Duration,
    mut tell: impl FnMut(&str),
) -> Result<Summary, UpError> {
    let start = Instant::now();
    // Held to the end: of two that come at once, the second finds the first's lab or this.
    let _alone = Flock::lock(File::open("/run").map_err(UpError::Spawn)?, FlockArg::LockExclusiveNonblock)
        .map_err(|_| UpError::Busy)?;
    if client::progress(0).await.is_ok() {
        return Err(UpError::AlreadyUp);
    }
    if down::remains()? {
        tell("clearing away what an earlier lab left");
        down::down()?;
    }
    let mut daemon = spawn_daemon(file)?;
    follow(&mut daemon, start, patience, &mut tell).await?;
    let plan = Plan::new(lab);
    Ok(Summary { clusters: plan.clusters.len(), nodes: plan.nodes().count(), took: start.elapsed() })
}

/// The daemon lives on when the terminal is closed and when we end.
fn spawn_daemon(file: Option<&Path>) -> Result<Child, UpError> {
    let cgroup = Cgroup::create(state::own_cgroup())?;
    let spawn = || {
        let log = log::open(&state::daemon_log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab", "daemon"]).current_dir("/").stdin(Stdio::null());
        command.stdout(File::try_clone(&log)?).stderr(log).arg0("causeway");
        if let Some(file) = file {
            command.arg("--file").arg(std::path::absolute(file)?);
        }
        let place = Sandbox { cgroup: Some(cgroup.path().into()), new_session: true, ..Sandbox::default() };
        sandbox::spawn(command, &place)
    };
    spawn().map_err(UpError::Spawn)
}

async fn follow(
    daemon: &mut Child,
    start: Instant,
    patience: Duration,
    tell: &mut impl FnMut(&str),
) -> Result<(), UpError> {
    let mut seen = 0;
    let mut missing = vec!["the daemon's answer".to_string()];
    let mut quiet = Instant::now();
    loop {
        if let Some(end) = daemon.try_wait().map_err(UpError::Spawn)? {
            let log = log::tail(&state::daemon_log(), LOG_LINES);
            return Err(UpError::Died { end: end.to_string(), log });
        }
        match client::progress(seen).await {
            Ok(progress) => {
                if progress.count > seen {
                    quiet = Instant::now();
                }
                progress.lines.iter().for_each(|line| tell(line));
                seen = progress.count;
                match progress.phase {
                    Phase::Up => return Ok(()),
                    Phase::Failed { reason } => return Err(UpError::Failed(reason)),
                    Phase::Starting { missing: now } => missing = now,
                }
            }
            // It has not opened its socket yet.
            Err(AskError::NoLab) => {}
            Err(e) => return Err(e.into()),
        }
        if quiet.elapsed() > QUIET {
            quiet = Instant::now();
            let first = missing.first().map_or("", String::as_str);
            tell(&format!(
                "{:5.1} s  waiting, {} still missing: {first}",
                start.elapsed().as_secs_f64(),
                missing.len()
            ));
        }
        if start.elapsed() > patience {
            missing.extend(logs_of(&missing));
            return Err(UpError::Late { waited: patience, missing });
        }
        sleep(LOOK).await;
    }
}

/// The ends of the logs of the first agents and controllers that are missing.
fn logs_of(missing: &[String]) -> Vec<String> {
    let log = |line: &String| -> Option<PathBuf> {
        let (kind, rest) = line.split_once(" of ")?;
        let name = rest.split([':', ' ']).next()?;
        match kind {
            "agent" => Some(state::node_log(&name.to_string().try_into().ok()?)),
            "controller" => Some(state::controller_log(&name.parse().ok()?)),
            _ => None,
        }
    };
    let logs = missing.iter().filter_map(log).take(2);
    logs.map(|path| format!("{} ends:\n{}", path.display(), log::tail(&path, LOG_LINES))).collect()
}
