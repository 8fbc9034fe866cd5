//! Programs inside namespaces and a control group.
//!
//! A sandbox is where a program runs, not a wall around it: it keeps root's powers. The program's view of the
//! network, of the file system and its control group are each replaced or left alone.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use crate::netns::Netns;

/// Where a program runs. The default is: where its parent does.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// The network namespace.
    pub netns: Option<Arc<Netns>>,
    /// The mount namespace, as [`crate::mount::namespace`] gives it. The working directory stays the same path if
    /// there is one in the new view, else it is `/`.
    pub mount: Option<Arc<OwnedFd>>,
    /// The control group's directory.
    pub cgroup: Option<PathBuf>,
    /// A session of its own, away from the terminal: signals from the keyboard do not reach it, and what whoever
    /// started us had open (a lock, say) is not held open by it.
    pub new_session: bool,
    /// Killed when the thread that spawned it ends. Never from a thread pool: its threads come and go.
    pub die_with_parent: bool,
}

/// Starts a program in a sandbox. The error of a step inside (a control group that is gone, say) is the spawn's.
pub fn spawn(mut command: Command, sandbox: &Sandbox) -> io::Result<Child> {
    enter_before_exec(&mut command, sandbox)?;
    command.spawn()
}

/// Becomes a program in a sandbox: returns only when that fails. Works from any thread of any process.
pub fn exec(mut command: Command, sandbox: &Sandbox) -> io::Error {
    match enter_before_exec(&mut command, sandbox) {
        Ok(()) => command.exec(),
        Err(e) => e,
    }
}

/// Has `command` enter the sandbox between fork and exec. For callers with a spawn of their own, such as tokio's:
/// `enter_before_exec(command.as_std_mut(), &sandbox)`.
pub fn enter_before_exec(command: &mut Command, sandbox: &Sandbox) -> io::Result<()> {
    // Everything that allocates or looks up a path happens here, before the fork.
    let cgroup = match &sandbox.cgroup {
        Some(path) => {
            let file = path.join("cgroup.procs");
            let opened = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(&file);
            Some(opened.map_err(|e| told("open", &file.display().to_string(), &e))?)
        }
        None => None,
    };
    let directory = match (&sandbox.mount, command.get_current_dir()) {
        (None, _) => None,
        (Some(_), Some(path)) => CString::new(path.as_os_str().as_bytes()).ok(),
        (Some(_), None) => {
            std::env::current_dir().ok().and_then(|path| CString::new(path.into_os_string().as_bytes()).ok())
        }
    };
    let sandbox = sandbox.clone();
    let enter = move || {
        if let Some(procs) = &cgroup {
            // SAFETY: the descriptor is open, the bytes are ours; "0" means the writer itself. write(2) is
            // async-signal-safe.
            check(unsafe { libc::write(procs.as_raw_fd(), b"0".as_ptr().cast(), 1) } as libc::c_int)?;
        }
        if let Some(netns) = &sandbox.netns {
            // SAFETY: a plain system call on an open descriptor.
            check(unsafe { libc::setns(netns.as_fd().as_raw_fd(), libc::CLONE_NEWNET) })?;
        }
        if let Some(mount) = &sandbox.mount {
            // A thread that shares its root and working directory with others may not change its mount namespace.
            // SAFETY: plain system calls; the descriptor is open.
            check(unsafe { libc::unshare(libc::CLONE_FS) })?;
            // SAFETY: as above.
            check(unsafe { libc::setns(mount.as_raw_fd(), libc::CLONE_NEWNS) })?;
            if let Some(directory) = &directory {
                // Not there in the new view: "/", where setns has put us.
                // SAFETY: the path is a C string that lives in this closure.
                let _ = unsafe { libc::chdir(directory.as_ptr()) };
            }
        }
        if sandbox.new_session {
            // SAFETY: a plain system call. It fails only in a process that leads a group, which has what it wants.
            let _ = unsafe { libc::setsid() };
            // SAFETY: a plain system call without pointers. Where the kernel is too old for it, descriptors stay open.
            let _ = unsafe {
                libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
            };
        }
        if sandbox.die_with_parent {
            // SAFETY: a plain system call without pointers.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor locks, and
    // everything it points to is owned by it.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn told(attempt: &str, what: &str, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot {attempt} {what}: {e}"))
}
