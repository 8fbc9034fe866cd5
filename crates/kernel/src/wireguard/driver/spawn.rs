//! Starting the user-space device as a process that outlives its starter.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::DeviceError;
use crate::process::Process;
use crate::wireguard::process::Options;

/// A device that does not answer within this is not going to.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(2);

/// Runs `binary wireguard …` and waits until its control socket answers. It logs where the caller logs.
pub(super) fn start(options: &Options, binary: &Path) -> Result<(), DeviceError> {
    let mut command = Command::new(binary);
    command.arg("wireguard").arg("--socket-dir").arg(&options.uapi_dir).arg(&options.interface);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: setsid is async-signal-safe, and the closure touches nothing else.
    unsafe {
        command.pre_exec(|| {
            // A session of its own: no terminal and no group through which a signal for the agent could reach it.
            if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    let said = format!("{} wireguard {}", binary.display(), options.interface);
    let failed = |source| DeviceError::Start { command: said.clone(), source };
    let mut child = command.spawn().map_err(failed)?;
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
