//! Starting the user-space device as a process that outlives its starter.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::DeviceError;
use crate::host::{Host, HostError, outside};
use crate::process::Process;
use crate::wireguard::process::Options;

/// A device that does not answer within this is not going to.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(2);

/// How the user-space device is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The path of `causeway`, on the machine.
    binary: PathBuf,
    /// Where it runs: not in the caller's container, if the caller has one.
    host: Host,
    /// Where its control socket goes, as it sees it; none: where the options say.
    socket_dir: Option<PathBuf>,
    /// Where it logs, as the caller sees it; none: where the caller logs.
    log: Option<PathBuf>,
}

impl Launch {
    /// Beside the caller, in its cgroup, logging where it logs.
    pub fn here(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), host: Host::default(), socket_dir: None, log: None }
    }

    /// On the machine, whatever becomes of the caller's container. `binary` and `socket_dir` are the machine's
    /// paths, `log` is the caller's.
    pub fn on(host: Host, binary: PathBuf, socket_dir: PathBuf, log: PathBuf) -> Self {
        Self { binary, host, socket_dir: Some(socket_dir), log: Some(log) }
    }

    fn spawn(&self, options: &Options) -> io::Result<Child> {
        let mut command = Command::new(&self.binary);
        let socket_dir = self.socket_dir.as_ref().unwrap_or(&options.uapi_dir);
        command.arg("wireguard").arg("--socket-dir").arg(socket_dir).arg(&options.interface);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(log) = &self.log {
            command.stderr(File::options().create(true).append(true).open(log)?);
        }
        if !self.host.is_here() {
            command.env_clear();
            return outside::spawn(command, &self.host).map_err(|e: HostError| io::Error::other(e));
        }
        // SAFETY: setsid is async-signal-safe, and the closure touches nothing else.
        unsafe {
            command.pre_exec(|| {
                // A session of its own: no terminal and no group through which a signal for the agent could reach it.
                if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        command.spawn()
    }
}

/// Runs `binary wireguard …` and waits until its control socket answers.
pub(super) fn start(options: &Options, launch: &Launch) -> Result<(), DeviceError> {
    let said = format!("{} wireguard {}", launch.binary.display(), options.interface);
    let failed = |source| DeviceError::Start { command: said.clone(), source };
    let mut child = launch.spawn(options).map_err(failed)?;
    let process = Process::open(child.id() as i32, None).map_err(failed)?;
    let begun = Instant::now();
    while UnixStream::connect(options.socket()).is_err() {
        // There is no event for a socket that begins to listen, but there is one for a process that ends.
        if process.as_ref().map_or(Ok(true), |process| process.wait(LOOK)).map_err(failed)? {
            let status = child.wait().map_err(failed)?;
            return Err(failed(io::Error::other(format!("it ended with {status}"))));
        }
        if begun.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
    }
    // Should it end while this process lives, it must not stay a zombie.
    thread::Builder::new()
        .name("wireguard-wait".into())
        .stack_size(64 << 10)
        .spawn(move || match child.wait() {
            Ok(status) => tracing::error!(%status, "the user-space WireGuard device ended"),
            Err(error) => tracing::error!(%error, "the user-space WireGuard device is out of reach"),
        })
        .map_err(failed)?;
    Ok(())
}

/// Who is the device, if a process of ours is.
pub fn process_of(options: &Options) -> io::Result<Option<Process>> {
    match UnixStream::connect(options.socket()) {
        Ok(stream) => Process::open(getsockopt(&stream, PeerCredentials)?.pid(), None),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) => Err(e),
    }
}
