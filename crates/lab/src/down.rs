//! Takes a lab away, whatever state it is in: running, half built, or left by a daemon that crashed. Needs no daemon
//! and no lab file, only [`state`]'s names. Doing it twice does nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernel::cgroup::{Cgroup, CgroupError};
use kernel::netns::{self, Netns, NetnsError};
use kernel::process;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use serde::Serialize;

use crate::state::{self, CGROUP, FOLDER, NETNS_PREFIXES, Record};

/// How many namespaces are removed at a time: each waits for the kernel.
const HANDS: usize = 8;

/// How long the dead may lie about.
const COLLECTED: Duration = Duration::from_secs(2);

/// What was there and is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Processes that were killed.
    pub processes: usize,
    /// Network namespaces.
    pub namespaces: usize,
    /// Whether there was a folder.
    pub folder: bool,
}

impl Removed {
    /// Whether there was nothing.
    pub fn nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// Asked from inside.
    #[error("this command runs inside the lab (process {0} is in its control group): run it from outside")]
    Inside(i32),
    /// A control group.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A file or mount.
    #[error("cannot remove {path}: {source}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Whether anything of a lab is there.
pub fn remains() -> Result<bool, DownError> {
    let cgroup = Cgroup::at(CGROUP)?.exists();
    Ok(cgroup || Path::new(FOLDER).exists() || !namespaces()?.is_empty())
}

/// Kills every process of the lab and removes everything it made. Blocks.
pub fn down() -> Result<Removed, DownError> {
    let cgroup = Cgroup::at(CGROUP)?;
    let mut removed = Removed { folder: Path::new(FOLDER).exists(), ..Removed::default() };
    if cgroup.exists() {
        let pids = cgroup.pids()?;
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        if pids.contains(&own) {
            return Err(DownError::Inside(own));
        }
        removed.processes = pids.len();
        cgroup.kill()?;
        cgroup.remove_tree()?;
        wait_for_the_dead(&pids);
    }
    let names = namespaces()?;
    removed.namespaces = names.len();
    delete_all(&names)?;
    let record = Record::load().map_err(failed(FOLDER))?;
    record.remove_folders();
    if record.netns_mount && Netns::list()?.is_empty() {
        unmount_netns()?;
    }
    unmount(&state::bpf())?;
    match std::fs::remove_dir_all(FOLDER) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(FOLDER)(e)),
        _ => Ok(removed),
    }
}

/// Waits until the dead have been collected by whoever has to, so that nobody who looks for them finds any. Not for
/// long: some machines' first process takes its time.
fn wait_for_the_dead(pids: &[i32]) {
    let deadline = Instant::now() + COLLECTED;
    let there = |pid: &&i32| process::start_time(**pid).is_ok_and(|started| started.is_some());
    while pids.iter().any(|pid| there(&pid)) && Instant::now() < deadline {
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no event for the end of somebody else's zombie"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn namespaces() -> Result<Vec<String>, DownError> {
    let ours = |name: &String| NETNS_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    Ok(Netns::list()?.into_iter().filter(ours).collect())
}

fn delete_all(names: &[String]) -> Result<(), DownError> {
    let share = names.len().div_ceil(HANDS).max(1);
    std::thread::scope(|scope| {
        let hands: Vec<_> = names
            .chunks(share)
            .map(|names| scope.spawn(move || names.iter().try_for_each(|name| Netns::delete(name))))
            .collect();
        hands.into_iter().try_for_each(|hand| match hand.join() {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Undoes what the first `ip netns add` on a machine does, where the lab was the first.
fn unmount_netns() -> Result<(), DownError> {
    unmount(Path::new(netns::DIRECTORY))?;
    // Somebody else's file in it keeps it there, rightly.
    let _ = std::fs::remove_dir(netns::DIRECTORY);
    Ok(())
}

/// Unmounts what is mounted there, if anything is.
fn unmount(path: &Path) -> Result<(), DownError> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(failed(path)(e.into())),
    }
}

fn failed(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DownError {
    let path = path.into();
    move |source| DownError::Path { path, source }
}
