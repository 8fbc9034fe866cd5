//! Programs that outlive the container that started them.
//!
//! What ends with a container: its view of files, every process of its control groups, the pipe that its log goes
//! through. A program started here has none of these: the machine's mounts, a group of its own at the root of the
//! machine's hierarchy, no descriptor of ours but those it was given.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use super::{Host, HostError};
use crate::cgroup::Cgroup;

/// The group's name, below the root.
const GROUP: &str = "causeway";

/// How hard the kernel tries to spare the program when memory runs out: -1000 is never, and what a node cannot do
/// without gets about this (a kubelet's own is -999).
const OOM_SCORE: &str = "-998";

/// The group that such programs are in, whether it exists or not.
pub(super) fn group(host: &Host) -> Result<Cgroup, HostError> {
    let root = host.cgroup_root().map_err(|e| HostError::System {
        attempt: "find the control groups of",
        path: host.path(Path::new("/")),
        source: io::Error::other(e),
    })?;
    Ok(Cgroup::below(&root, GROUP))
}

/// Starts `command` on the machine. Its path is the machine's.
pub(crate) fn spawn(mut command: Command, host: &Host) -> Result<Child, HostError> {
    let group = group(host)?;
    let failed = |attempt, path: &Path| {
        let path = path.to_path_buf();
        move |source| HostError::System { attempt, path, source }
    };
    fs::create_dir_all(group.path()).map_err(failed("make the control group", group.path()))?;
    let (mounts, cgroups) = (host.mount_namespace()?, host.cgroup_namespace()?);
    let mut groups = vec![group.path().to_path_buf()];
    groups.extend(host.old_cgroup_roots());
    let lists: Vec<CString> = groups
        .iter()
        .filter_map(|group| CString::new(group.join("cgroup.procs").into_os_string().as_bytes()).ok())
        .collect();
    let leave = move || {
        if let Some(namespace) = &cgroups {
            // A process may be moved only between groups that its namespace shows (cgroups(7), nsdelegate).
            // SAFETY: a plain system call on an open descriptor.
            check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWCGROUP) })?;
        }
        lists.iter().try_for_each(join)?;
        if let Some(namespace) = &mounts {
            // A thread that shares its root directory with others may not change its mount namespace.
            // SAFETY: plain system calls on an open descriptor.
            check(unsafe { libc::unshare(libc::CLONE_FS) })?;
            // SAFETY: as above.
            check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) })?;
        }
        // SAFETY: plain system calls; the path is a literal. The working directory was the container's.
        check(unsafe { libc::chdir(c"/".as_ptr()) })?;
        // SAFETY: as above. It fails only in a process that leads a group, which has what it wants.
        let _ = unsafe { libc::setsid() };
        // SAFETY: as above; descriptors are only marked to be closed at the exec that follows.
        check(unsafe {
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) as libc::c_int
        })
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor locks, and
    // everything it points to is owned by it.
    unsafe { command.pre_exec(leave) };
    let program = Path::new(command.get_program()).to_path_buf();
    let child = command.spawn().map_err(failed("run on the machine", &program))?;
    // Without CAP_SYS_RESOURCE it keeps the score of its container.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
    Ok(child)
}

/// linux/close_range.h; not every C library has it.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Moves the calling process into the group with this list of processes.
fn join(list: &CString) -> io::Result<()> {
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::open(list.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(fd)?;
    // SAFETY: the descriptor was just opened; "0" means the writer itself.
    let written = check(unsafe { libc::write(fd, b"0".as_ptr().cast(), 1) } as libc::c_int);
    // SAFETY: the descriptor is ours, and is not used after this.
    unsafe { libc::close(fd) };
    written
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
