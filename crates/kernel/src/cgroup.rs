//! Control groups, version 2: made, filled, emptied by force, removed.
//!
//! Used as handles on groups of processes (to kill all of a node, to attach BPF programs to a node), never to limit
//! resources: no controller is needed, so the hybrid layout of older systems serves as well.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long [`Cgroup::remove_tree`] waits for the last process to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a control group could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no cgroup2 mount.
    #[error(
        "no cgroup2 file system is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` (or boot with the unified hierarchy)"
    )]
    NotMounted,
    /// The path is not below the root.
    #[error("{0:?} cannot be a control group: write a relative path of plain names")]
    Path(PathBuf),
    /// Processes stayed.
    #[error(
        "control group {path} still has processes {pids:?} after {PATIENCE:?}: are they stuck in the kernel?"
    )]
    Busy {
        /// Which.
        path: PathBuf,
        /// Who.
        pids: Vec<i32>,
    },
    /// The kernel refused.
    #[error("cannot {attempt} control group {path}: {source}")]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// On which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Where cgroup2 is mounted, as this process sees it.
pub fn root() -> Result<PathBuf, CgroupError> {
    root_in(Path::new("/proc/self/mountinfo"))
}

/// Where cgroup2 is mounted, as the process with this mountinfo sees it.
pub(crate) fn root_in(mountinfo: &Path) -> Result<PathBuf, CgroupError> {
    mounts(&read_mounts(mountinfo)?, "cgroup2").pop().ok_or(CgroupError::NotMounted)
}

/// Where the hierarchies of the first version are mounted, as the process with this mountinfo sees them.
pub(crate) fn old_roots_in(mountinfo: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    Ok(mounts(&read_mounts(mountinfo)?, "cgroup"))
}

fn read_mounts(mountinfo: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(mountinfo).map_err(|source| CgroupError::Kernel {
        attempt: "read the mounts to find the root of every",
        path: mountinfo.into(),
        source,
    })
}

/// The mount points of a kind of file system in a mountinfo text (proc(5)), in the order they were mounted: the last
/// is the one seen. Only of whole hierarchies, not of a part that is shown elsewhere: seen from a cgroup namespace,
/// the root is some steps up.
fn mounts(mountinfo: &str, kind: &str) -> Vec<PathBuf> {
    let is_whole = |root: &str| Path::new(root).components().all(|c| !matches!(c, Component::Normal(_)));
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let wanted = after.split(' ').next()? == kind && is_whole(root);
        wanted.then(|| PathBuf::from(unescape(mount_point)))
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Undoes mountinfo's octal escapes (`\040` for a blank).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escaped = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// A control group, by its directory. Dropping it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the group, and those it lies in, below the root; one that exists is taken as it is.
    pub fn create(relative: impl AsRef<Path>) -> Result<Self, CgroupError> {
        let this = Self::at(relative)?;
        fs::create_dir_all(&this.path).map_err(this.failed("create"))?;
        Ok(this)
    }

    /// The group with this path below the root, whether it exists or not.
    pub fn at(relative: impl AsRef<Path>) -> Result<Self, CgroupError> {
        let relative = relative.as_ref();
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(CgroupError::Path(relative.into()));
        }
        Ok(Self { path: root()?.join(relative) })
    }

    /// The group with this path below a hierarchy's root, whether it exists or not.
    pub(crate) fn below(root: &Path, relative: &str) -> Self {
        Self { path: root.join(relative) }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.join("cgroup.procs").exists()
    }

    /// The number BPF knows it by (`bpf_get_current_cgroup_id`).
    pub fn id(&self) -> Result<u64, CgroupError> {
        Ok(fs::metadata(&self.path).map_err(self.failed("look at"))?.ino())
    }

    /// Moves a process, with all its threads, into the group.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).map_err(self.failed("add a process to"))
    }

    /// The processes in the group and in the groups below it.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        for group in self.tree()? {
            match fs::read_to_string(group.join("cgroup.procs")) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(e) if gone(&e) => {}
                Err(e) => return Err(self.failed("read the processes of")(e)),
            }
        }
        Ok(pids)
    }

    /// Kills every process in the group and below it. They may still be on their way out when this returns. A group
    /// that is not there is no error.
    pub fn kill(&self) -> Result<(), CgroupError> {
        if !self.exists() {
            return Ok(());
        }
        match fs::write(self.path.join("cgroup.kill"), "1") {
            // cgroup.kill came with 5.14.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.exists() => self.kill_one_by_one(),
            Err(e) if gone(&e) => Ok(()),
            other => other.map_err(self.failed("kill the processes of")),
        }
    }

    /// Waits until no process is left in it, then removes it and the groups below it. Blocks, for at most ten
    /// seconds. A group that is not there is no error.
    pub fn remove_tree(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.wait_until_empty(deadline)?;
            let mut groups = self.tree()?;
            // Children come after their parents in the list.
            groups.reverse();
            let blocked = groups.iter().find_map(|group| match fs::remove_dir(group) {
                Err(e) if !gone(&e) => Some(e),
                _ => None,
            });
            match blocked {
                None => return Ok(()),
                // Somebody moved in between the look and the removal: wait for that one, too.
                Some(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Some(e) => return Err(self.failed("remove")(e)),
            }
        }
    }

    /// Waits for the kernel to say that the group and all below it have no process.
    fn wait_until_empty(&self, deadline: Instant) -> Result<(), CgroupError> {
        let events = self.path.join("cgroup.events");
        loop {
            // The file that is read is the one that is polled: a change after the read wakes the poll.
            let file = match File::open(&events) {
                Ok(file) => file,
                Err(e) if gone(&e) => return Ok(()),
                Err(e) => return Err(self.failed("open the events of")(e)),
            };
            let text = match io::read_to_string(&file) {
                Ok(text) => text,
                Err(e) if gone(&e) => return Ok(()),
                Err(e) => return Err(self.failed("read the events of")(e)),
            };
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CgroupError::Busy { path: self.path.clone(), pids: self.pids()? });
            }
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(self.failed("wait for the processes of")(e.into())),
            }
        }
    }

    /// Freezes the group so that nobody forks away, and kills who is there.
    fn kill_one_by_one(&self) -> Result<(), CgroupError> {
        let freeze = self.path.join("cgroup.freeze");
        // Frozen processes die all the same; without the freezer (before 5.2) the loop catches up with forks.
        let frozen = fs::write(&freeze, "1").is_ok();
        for _ in 0..100 {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                // Gone already is as good as killed.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if frozen {
                break;
            }
        }
        if frozen {
            fs::write(&freeze, "0").map_err(self.failed("thaw"))?;
        }
        Ok(())
    }

    /// The group and all below it, parents before children. Those that vanish meanwhile are left out.
    fn tree(&self) -> Result<Vec<PathBuf>, CgroupError> {
        let mut found = Vec::new();
        let mut open = vec![self.path.clone()];
        while let Some(path) = open.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => {
                    let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
                    open.extend(directories.map(|e| e.path()));
                    found.push(path);
                }
                Err(e) if gone(&e) => {}
                Err(e) => return Err(self.failed("list")(e)),
            }
        }
        Ok(found)
    }

    fn failed(&self, attempt: &'static str) -> impl FnOnce(io::Error) -> CgroupError {
        let path = self.path.clone();
        move |source| CgroupError::Kernel { attempt, path, source }
    }
}

/// What the kernel says of a group that was removed under our hands.
fn gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points() {
        let cases = [
            ("", None),
            ("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw", None),
            (
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            ("41 31 0:38 / /sys/fs/cgroup rw shared:9 - cgroup2 none rw", Some("/sys/fs/cgroup")),
            ("41 31 0:38 / /with\\040blank rw - cgroup2 none rw", Some("/with blank")),
            ("41 31 0:38 / /back\\134slash\\9 rw - cgroup2 none rw", Some("/back\\slash\\9")),
            (
                "41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n42 31 0:38 /../pod /mnt rw - cgroup2 cgroup rw",
                Some("/sys/fs/cgroup"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(mounts(text, "cgroup2").pop(), expected.map(PathBuf::from), "{text}");
        }
        let hybrid = "1 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu\n2 0 0:2 / /c/unified rw - cgroup2 cgroup2 rw\n\
                      3 0 0:3 / /c/systemd rw - cgroup cgroup rw,name=systemd";
        assert_eq!(mounts(hybrid, "cgroup"), ["/c/cpu", "/c/systemd"].map(PathBuf::from));
    }

    #[test]
    fn only_plain_relative_paths() {
        for bad in ["", "/", "/a", "a/../b", "..", "./a"] {
            assert!(matches!(Cgroup::at(bad), Err(CgroupError::Path(_))), "{bad}");
        }
    }

    #[test]
    fn without_the_kernels_own_kill() {
        let group =
            Cgroup::create("cwt-kill-one-by-one").unwrap_or_else(|e| panic!("this test needs root: {e}"));
        let inner = Cgroup::create("cwt-kill-one-by-one/inner").unwrap();
        let mut children: Vec<_> =
            (0..3).map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap()).collect();
        for child in &children {
            inner.add(i32::try_from(child.id()).unwrap()).unwrap();
        }
        group.kill_one_by_one().unwrap();
        for child in &mut children {
            assert!(!child.wait().unwrap().success());
        }
        group.remove_tree().unwrap();
        assert!(!group.exists());
    }
}
