//! Private mount namespaces: the whole machine's view, with a few places of one's own.
//!
//! Made on a thread that is thrown away; the namespace lives on in the descriptor that is handed back (and in the
//! processes that [`crate::sandbox`] puts into it). Everything in it is a slave of the original: what is mounted
//! outside later (a new name in `/run/netns`) appears inside, nothing goes the other way.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::netns::on_thread;

/// Why a mount namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {attempt} {path}: {source}; root (CAP_SYS_ADMIN) is needed, and both ends of a bind must exist"
)]
pub struct MountError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// One place of the view that differs from the machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `target` shows what is at `source` (file or directory, with the mounts below it). `source` is looked up in
    /// the machine's view, so a later bind may hide it.
    Bind {
        /// What is shown.
        source: PathBuf,
        /// Where.
        target: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs(PathBuf),
    /// A file system for pinned BPF objects, with nothing pinned yet.
    Bpffs(PathBuf),
}

impl Mount {
    /// Shows `source` at `target`.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::Bind { source: source.into(), target: target.into() }
    }

    fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs(target) | Self::Bpffs(target) => target,
        }
    }
}

/// Makes a mount namespace with these mounts, in this order. Targets that do not exist are made as directories first
/// where that touches nothing of the machine: below an earlier mount of the list, or anywhere in the machine's own
/// view otherwise.
pub fn namespace(mounts: &[Mount]) -> Result<OwnedFd, MountError> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("leave the mount namespace of", "/"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
            .map_err(failed("make slave mounts of", "/"))?;
        // Sources are opened first: what a later mount hides can still be shown elsewhere.
        let sources = mounts
            .iter()
            .map(|m| match m {
                Mount::Bind { source, .. } => {
                    File::open(source).map(Some).map_err(|e| error("open", source, e))
                }
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        for (m, source) in mounts.iter().zip(&sources) {
            make(m, source.as_ref())?;
        }
        let own = "/proc/thread-self/ns/mnt";
        let file = File::open(own).map_err(|e| error("open", Path::new(own), e))?;
        Ok(OwnedFd::from(file))
    };
    // The thread's own failure and the work's are told apart, then given as one.
    on_thread(|| Ok(inside())).map_err(|e| error("start a thread for", Path::new("/"), e))?
}

fn make(m: &Mount, source: Option<&File>) -> Result<(), MountError> {
    let target = m.target();
    if !target.exists() {
        fs::create_dir_all(target).map_err(|e| error("create directory", target, e))?;
    }
    let none = None::<&str>;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let (result, attempt) = match m {
        Mount::Bind { .. } => {
            let source = source.expect("a bind's source was opened before");
            let path = format!("/proc/thread-self/fd/{}", source.as_raw_fd());
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            (mount(Some(path.as_str()), target, none, flags, none), "bind on")
        }
        Mount::Tmpfs(_) => {
            (mount(Some("causeway"), target, Some("tmpfs"), plain, Some("mode=755")), "mount tmpfs on")
        }
        Mount::Bpffs(_) => {
            (mount(Some("causeway"), target, Some("bpf"), plain, Some("mode=700")), "mount bpffs on")
        }
    };
    result.map_err(failed(attempt, target))
}

fn error(attempt: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError { attempt, path: path.into(), source }
}

fn failed(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(nix::errno::Errno) -> MountError {
    let path = path.into();
    move |e| MountError { attempt, path, source: e.into() }
}
