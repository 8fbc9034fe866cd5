//! Network namespaces with names, kept the way iproute2 keeps them, so that `ip netns` knows ours and we know its.
//!
//! A name is a file in [`DIRECTORY`] that the namespace is bind-mounted on. The directory is a shared mount point: a
//! mount namespace that is its slave sees names come and go. No thread is left in another namespace than it was in:
//! [`Netns::run`] works on a thread of its own, because `setns(2)` is per thread and an async worker must never carry a
//! foreign namespace into its next task; [`Netns::visit`] comes back, or ends the process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Where named namespaces live: iproute2's place.
pub const DIRECTORY: &str = "/run/netns";

/// The longest name: what a file may be called.
const NAME_MAX: usize = 255;

/// Why a namespace could not be made, opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The name cannot be a file's.
    #[error("network namespace name {0:?} is not usable: 1 to 255 bytes, without '/', not '.' or '..'")]
    Name(String),
    /// There is one of that name.
    #[error("network namespace {0} exists already: delete it first, or choose another name")]
    Exists(String),
    /// There is none of that name.
    #[error("network namespace {0} does not exist: `ip netns` lists those that do")]
    Missing(String),
    /// The path leads to something else.
    #[error("{0} is not a network namespace: the file exists, but nothing of the kind is mounted on it")]
    NotANamespace(PathBuf),
    /// The kernel refused.
    #[error("cannot {attempt} network namespace {target}: {source}; root (CAP_SYS_ADMIN) is needed")]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// On which name or path.
        target: String,
        /// Why not.
        source: io::Error,
    },
}

/// The number of the calling thread's network namespace that never is another's (Linux 5.14, `SO_NETNS_COOKIE`).
///
/// # Errors
/// The kernel does not say it.
pub fn cookie() -> io::Result<u64> {
    let asking = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has as many and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            asking.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

fn kernel(attempt: &'static str, target: impl Into<String>) -> impl FnOnce(io::Error) -> NetnsError {
    let target = target.into();
    move |source| NetnsError::Kernel { attempt, target, source }
}

/// An open network namespace. It lives while this value does, whatever happens to its name.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// Makes a namespace and gives it a name; its loopback device is up.
    pub fn create(name: &str) -> Result<Self, NetnsError> {
        let path = path_of(name)?;
        ensure_directory().map_err(kernel("prepare /run/netns for", name))?;
        let placeholder = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path);
        match placeholder {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NetnsError::Exists(name.into()));
            }
            Err(e) => return Err(kernel("name", name)(e)),
        }
        let target = path.clone();
        let made = on_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            loopback(true)?;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(OwnedFd::from(File::open(own)?))
        });
        match made {
            Ok(fd) => Ok(Self { fd }),
            Err(e) => {
                // The name must not outlive the attempt; the first error is the one worth telling.
                let _ = fs::remove_file(&path);
                Err(kernel("create", name)(e))
            }
        }
    }

    /// Opens a namespace by name.
    pub fn open(name: &str) -> Result<Self, NetnsError> {
        let path = path_of(name)?;
        match Self::open_path(&path) {
            Err(NetnsError::Missing(_)) => Err(NetnsError::Missing(name.into())),
            other => other,
        }
    }

    /// Opens a namespace by path: a name's file, or `/proc/PID/ns/net`.
    pub fn open_path(path: &Path) -> Result<Self, NetnsError> {
        let shown = || path.display().to_string();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(NetnsError::Missing(shown())),
            Err(e) => return Err(kernel("open", shown())(e)),
        };
        let fd = OwnedFd::from(file);
        match namespace_type(fd.as_fd()) {
            Some(kind) if kind == CloneFlags::CLONE_NEWNET => Ok(Self { fd }),
            _ => Err(NetnsError::NotANamespace(path.into())),
        }
    }

    /// Opens a namespace by a path that somebody else said, as a machine whose root directory is `root` sees it: a
    /// name's file, or `/proc/PID/ns/net`. Symbolic links, absolute ones as well, stay below `root`.
    pub fn open_below(root: &Path, path: &Path) -> Result<Self, NetnsError> {
        // Never a wait: whatever else lies there (a FIFO, a terminal) is found out below.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = if is_of_process(path) {
            // The last step is no link to a path, and openat2(2) with a root refuses it; those before are no links.
            let inside = root.join(path.strip_prefix("/").unwrap_or(path));
            OpenOptions::new().read(true).custom_flags(flags.bits()).open(inside).map(OwnedFd::from)
        } else {
            let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
            File::open(root).and_then(|root| Ok(openat2(root, path, how)?))
        };
        let fd = match opened {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(NetnsError::Missing(path.display().to_string()));
            }
            Err(e) => return Err(kernel("open", path.display().to_string())(e)),
        };
        match namespace_type(fd.as_fd()) {
            Some(kind) if kind == CloneFlags::CLONE_NEWNET => Ok(Self { fd }),
            _ => Err(NetnsError::NotANamespace(path.into())),
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"))
    }

    /// Takes a name away. The namespace itself goes with its last user. A name that is not there is no error.
    pub fn delete(name: &str) -> Result<(), NetnsError> {
        let path = path_of(name)?;
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: a file that nothing is mounted on, left by a creation that was interrupted.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(kernel("unmount", name)(e.into())),
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(kernel("delete", name)(e)),
        }
    }

    /// All names, sorted; whether something is mounted on each is for [`Netns::open`] to find out.
    pub fn list() -> Result<Vec<String>, NetnsError> {
        let entries = match fs::read_dir(DIRECTORY) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(kernel("list", DIRECTORY)(e)),
        };
        let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Runs `f` inside the namespace, on a thread of its own, and waits for it. Blocks. A panic of `f` goes on in the
    /// caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_thread(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(f())
        })
        .map_err(kernel("enter", "(open)"))
    }

    /// Runs `f` inside the namespace, on the calling thread, and comes back: for threads that may block, and are not
    /// worth a new one each time.
    pub(crate) fn visit<T>(&self, f: impl FnOnce() -> T) -> Result<T, NetnsError> {
        struct Home(Netns);
        impl Drop for Home {
            fn drop(&mut self) {
                if let Err(e) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
                    // Whatever this thread does next would be done to a pod.
                    eprintln!("a thread cannot come back from a pod's network namespace: {e}");
                    std::process::abort();
                }
            }
        }
        let home = Self::current()?;
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|e| kernel("enter", "(open)")(e.into()))?;
        let _home = Home(home);
        Ok(f())
    }

    /// Sets its loopback device up.
    pub fn set_loopback_up(&self) -> Result<(), NetnsError> {
        self.run(|| loopback(true))?.map(drop).map_err(kernel("set lo up in", "(open)"))
    }

    /// Whether its loopback device is up.
    pub fn loopback_is_up(&self) -> Result<bool, NetnsError> {
        self.run(|| loopback(false))?.map_err(kernel("look at lo in", "(open)"))
    }

    /// Another handle on the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// The namespace's number, as `/proc/PID/ns/net` shows it: equal for equal namespaces while they live.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(File::from(self.fd.try_clone()?).metadata()?.ino())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

/// Whether a path is `/proc/PID/ns/net` or `/proc/PID/task/TID/ns/net`.
fn is_of_process(path: &Path) -> bool {
    let parts: Option<Vec<&str>> = path.components().map(|part| part.as_os_str().to_str()).collect();
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match parts.unwrap_or_default()[..] {
        ["/", "proc", process, "ns", "net"] => is_number(process),
        ["/", "proc", process, "task", thread, "ns", "net"] => is_number(process) && is_number(thread),
        _ => false,
    }
}

/// The file a name stands for. Whether it exists is another question.
pub fn path_of(name: &str) -> Result<PathBuf, NetnsError> {
    let good = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(['/', '\0']);
    if good && name != "." && name != ".." {
        Ok(Path::new(DIRECTORY).join(name))
    } else {
        Err(NetnsError::Name(name.chars().take(80).collect()))
    }
}

/// Runs `f` on a thread that is thrown away afterwards, together with whatever namespaces it moved to.
pub(crate) fn on_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".into()).spawn_scoped(scope, f)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes [`DIRECTORY`] a shared mount point, once, as `ip netns add` does, under its lock.
fn ensure_directory() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
    let lock = Flock::lock(File::open(DIRECTORY)?, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let share =
        || mount(None::<&str>, DIRECTORY, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        // Not a mount point yet: mount it on itself to make it one.
        Err(Errno::EINVAL) => {
            let onto_itself = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(DIRECTORY), DIRECTORY, None::<&str>, onto_itself, None::<&str>)?;
            share()?;
        }
        other => other?,
    }
    drop(lock);
    Ok(())
}

/// What kind of namespace `fd` is; none when it is no namespace.
fn namespace_type(fd: BorrowedFd<'_>) -> Option<CloneFlags> {
    // linux/nsfs.h: NS_GET_NSTYPE = _IO(0xb7, 0x3). Harmless on any other file: ENOTTY.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and writes nothing; the descriptor is open for the call.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    (kind >= 0).then(|| CloneFlags::from_bits_retain(kind))
}

/// Whether the loopback device of the calling thread's namespace is up; sets it up first if asked to.
fn loopback(set_up: bool) -> io::Result<bool> {
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *to = from as libc::c_char;
    }
    let command = if set_up { libc::SIOCSIFFLAGS } else { libc::SIOCGIFFLAGS };
    if set_up {
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    }
    // SAFETY: the calls read or write one ifreq, which lives through them and names its device with a final zero.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), command as libc::Ioctl, &mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: after either call the union holds the flags.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "cwn_aws_aws-1", "with space", &"x".repeat(255)] {
            assert!(path_of(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
            assert!(matches!(path_of(bad), Err(NetnsError::Name(_))), "{bad}");
        }
    }

    #[test]
    fn namespaces_of_processes() {
        for (path, expected) in [
            ("/proc/1/ns/net", true),
            ("/proc/1/task/2/ns/net", true),
            ("/proc/self/ns/net", false),
            ("/proc/1/root/ns/net", false),
            ("/proc/1/../ns/net", false),
            ("/proc/1/cwd/x", false),
            ("proc/1/ns/net", false),
            ("/run/netns/a", false),
            ("", false),
        ] {
            assert_eq!(is_of_process(Path::new(path)), expected, "{path}");
        }
    }
}
