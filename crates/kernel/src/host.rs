//! The machine itself, where this process may live in a container on it: the machine's files, its BPF file system,
//! its settings.
//!
//! A container sees the machine through `/proc/PID/root` of a process outside. A path looked up there follows the
//! machine's symbolic links as the machine does: an absolute one (`/var/run`) would otherwise lead back into the
//! container.

mod devices;
pub mod forwarding;
pub(crate) mod outside;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};

pub use devices::{addresses, device_with, source_towards};

use crate::cgroup::{self, CgroupError};
use crate::netns::on_thread;

/// Where the BPF file system belongs, as the machine sees it.
const BPFFS: &str = "/sys/fs/bpf";

/// Where the kernel's settings are.
const SETTINGS: &str = "/proc/sys";

/// As many symbolic links as the kernel follows in one path (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// Why the machine cannot be reached, or does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The root is not one that leads to the machine's namespaces, too.
    #[error(
        "{0} is not the root of a process: write /proc/1/root (with hostPID), or nothing for this process's own view"
    )]
    Root(PathBuf),
    /// The system refused.
    #[error(
        "cannot {attempt} {path}: {source}; root on the machine (a privileged container with hostPID) is needed"
    )]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The machine's files, from where this process stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// `/proc/PID`; none where this process's own view is the machine's.
    process: Option<PathBuf>,
}

impl Host {
    /// The machine whose root is at this path: `/proc/PID/root`, or nothing for the process's own.
    pub fn new(root: &Path) -> Result<Self, HostError> {
        if root.as_os_str().is_empty() || root == Path::new("/") {
            return Ok(Self::default());
        }
        let process = root.parent().filter(|_| root.file_name().is_some_and(|name| name == "root"));
        let is_process = |path: &&Path| {
            let number = path.file_name().and_then(|name| name.to_str());
            path.parent() == Some(Path::new("/proc")) && number.is_some_and(|n| n.parse::<u32>().is_ok())
        };
        match process.filter(is_process) {
            Some(process) => Ok(Self { process: Some(process.into()) }),
            None => Err(HostError::Root(root.into())),
        }
    }

    /// Whether the machine's view is this process's own.
    pub fn is_here(&self) -> bool {
        self.process.is_none()
    }

    /// Where this process finds what the machine has at an absolute path. What is missing is where it would be.
    pub fn path(&self, path: &Path) -> PathBuf {
        match &self.process {
            None => path.to_path_buf(),
            Some(process) => below(&process.join("root"), path),
        }
    }

    /// The root of the machine's cgroup2 hierarchy, as this process finds it.
    pub fn cgroup_root(&self) -> Result<PathBuf, CgroupError> {
        Ok(self.path(&cgroup::root_in(&self.mountinfo())?))
    }

    /// The roots of the machine's hierarchies of the first version, as this process finds them.
    pub(crate) fn old_cgroup_roots(&self) -> Vec<PathBuf> {
        let roots = cgroup::old_roots_in(&self.mountinfo()).unwrap_or_default();
        roots.iter().map(|root| self.path(root)).collect()
    }

    /// The machine's mount namespace; none where it is this process's own.
    pub(crate) fn mount_namespace(&self) -> Result<Option<OwnedFd>, HostError> {
        self.namespace("mnt")
    }

    /// The machine's cgroup namespace; none where it is this process's own.
    pub(crate) fn cgroup_namespace(&self) -> Result<Option<OwnedFd>, HostError> {
        self.namespace("cgroup")
    }

    fn namespace(&self, kind: &str) -> Result<Option<OwnedFd>, HostError> {
        let Some(process) = &self.process else { return Ok(None) };
        let path = process.join("ns").join(kind);
        match File::open(&path) {
            Ok(file) => Ok(Some(file.into())),
            Err(source) => Err(HostError::System { attempt: "open", path, source }),
        }
    }

    fn mountinfo(&self) -> PathBuf {
        self.process.as_deref().unwrap_or(Path::new("/proc/self")).join("mountinfo")
    }

    /// Sees to it that the machine has a BPF file system in its usual place, visible to the machine and to whoever
    /// comes after this process.
    pub fn ensure_bpffs(&self) -> Result<(), HostError> {
        let seen = self.path(Path::new(BPFFS));
        let is_there = || statfs(&seen).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
        if is_there() {
            return Ok(());
        }
        let namespace = self.mount_namespace()?;
        let mounted = on_thread(|| {
            if let Some(namespace) = &namespace {
                // A thread that shares its root directory with others may not change its mount namespace.
                unshare(CloneFlags::CLONE_FS)?;
                setns(namespace, CloneFlags::CLONE_NEWNS)?;
            }
            Ok(mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?)
        });
        mounted.map_err(|source| HostError::System {
            attempt: "mount a BPF file system on",
            path: seen,
            source,
        })
    }

    /// Container runtimes show the kernel's settings read-only. Those of the network are this agent's to set, in pods'
    /// namespaces, too: they become writable in this process's own view.
    pub fn open_settings(&self) -> Result<(), HostError> {
        let path = Path::new(SETTINGS);
        let read_only = statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
        if self.is_here() || !read_only {
            return Ok(());
        }
        let flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC;
        let remounted = mount(None::<&str>, path, None::<&str>, flags, None::<&str>);
        remounted.map_err(|e| HostError::System {
            attempt: "make writable the settings in",
            path: path.into(),
            source: e.into(),
        })
    }

    /// Removes the control group of the programs that outlived their container, once they are gone. Blocks, for at
    /// most ten seconds.
    pub fn remove_group(&self) -> Result<(), HostError> {
        let group = outside::group(self)?;
        if !group.exists() {
            return Ok(());
        }
        let path = group.path().to_path_buf();
        group.remove_tree().map_err(|e| HostError::System {
            attempt: "remove the control group",
            path,
            source: io::Error::other(e),
        })
    }
}

/// Where `path` leads when `root` is the root directory. `/proc` is taken as it is: its links are not paths.
fn below(root: &Path, path: &Path) -> PathBuf {
    let parts = |path: &Path| -> Vec<OsString> {
        path.components()
            .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let mut rest = VecDeque::from(parts(path));
    let mut found = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            found.pop();
            continue;
        }
        let next = found.join(part);
        let link = if next.starts_with("proc") { None } else { fs::read_link(root.join(&next)).ok() };
        match link.filter(|_| links < LINKS) {
            None => found = next,
            Some(target) => {
                links += 1;
                if target.is_absolute() {
                    found = PathBuf::new();
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
        }
    }
    root.join(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for dir in ["run/netns", "usr/lib", "proc/1"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (target, link) in [
            ("/run", "var"),
            ("usr/lib", "lib"),
            ("../../../run", "run/up"),
            ("/loop", "loop"),
            ("net:[4026531840]", "proc/1/net"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        for (path, expected) in [
            ("/run/netns/cni-1", "run/netns/cni-1"),
            ("/var/netns/cni-1", "run/netns/cni-1"),
            ("/lib/x", "usr/lib/x"),
            ("/run/up/netns", "run/netns"),
            ("/../../etc/x", "etc/x"),
            ("/proc/1/net", "proc/1/net"),
            ("/not/there", "not/there"),
        ] {
            assert_eq!(below(root, Path::new(path)), root.join(expected), "{path}");
        }
        assert!(below(root, Path::new("/loop/x")).starts_with(root), "it ends");
    }

    #[test]
    fn roots() {
        for here in ["", "/"] {
            assert!(Host::new(Path::new(here)).unwrap().is_here(), "{here}");
        }
        assert!(!Host::new(Path::new("/proc/1/root")).unwrap().is_here());
        for bad in ["/host", "/proc/1", "/proc/self/root", "proc/1/root", "/proc/1/root/x"] {
            assert!(matches!(Host::new(Path::new(bad)), Err(HostError::Root(_))), "{bad}");
        }
    }

    #[test]
    fn this_process_as_the_machine() {
        let own = format!("/proc/{}/root", std::process::id());
        let host = Host::new(Path::new(&own)).unwrap();
        let here = cgroup::root().unwrap_or_else(|e| panic!("this test needs cgroup2: {e}"));
        assert_eq!(host.cgroup_root().unwrap(), Path::new(&own).join(here.strip_prefix("/").unwrap()));
        assert!(host.mount_namespace().unwrap().is_some());
    }
}
