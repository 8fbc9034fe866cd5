//! The control socket's asking end.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::DeviceError;
use crate::wireguard::uapi::{SetRequest, Status};

/// A device that does not answer for so long is not going to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a device can do beyond the protocol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extensions {
    /// Peers and the device itself may have two keys, while one is changed.
    pub(super) two_keys: bool,
    /// Peers may have several pre-shared keys.
    pub(super) other_preshared_keys: bool,
    /// Peers may stand in for each other, and send from ranges that are not theirs yet, or no more.
    pub(super) groups: bool,
}

/// Asks a device through its control socket, one connection per question.
#[derive(Debug)]
pub(super) struct Client {
    interface: String,
    path: PathBuf,
}

impl Client {
    pub(super) fn new(interface: &str, path: PathBuf) -> Self {
        Self { interface: interface.to_owned(), path }
    }

    pub(super) fn status(&self) -> Result<Status, DeviceError> {
        let answer = self.ask("get=1\n\n")?;
        Status::parse(answer.lines())
            .map_err(|source| DeviceError::Garbled { interface: self.interface.clone(), source })
    }

    pub(super) fn set(&self, request: &SetRequest) -> Result<(), DeviceError> {
        self.ask(&Zeroizing::new(request.to_string())).map(drop)
    }

    /// Our own addition to the protocol.
    pub(super) fn drops(&self) -> Result<BTreeMap<String, u64>, DeviceError> {
        let answer = self.ask("counters=1\n\n")?;
        let line = |line: &str| {
            let (reason, count) = line.strip_prefix("drop_")?.split_once('=')?;
            Some((reason.to_owned(), count.parse().ok()?))
        };
        Ok(answer.lines().filter_map(line).collect())
    }

    /// What the device can do beyond the protocol, by our own addition to it. A device of before knows nothing of it.
    pub(super) fn extensions(&self) -> Extensions {
        let answer = self.ask("extensions=1\n\n").unwrap_or_default();
        let knows = |name: &str| answer.lines().any(|line| line.strip_suffix("=1") == Some(name));
        Extensions {
            two_keys: knows("other_key"),
            other_preshared_keys: knows("other_preshared_keys"),
            groups: knows("group"),
        }
    }

    /// The answer without its `errno`.
    fn ask(&self, question: &str) -> Result<Zeroizing<String>, DeviceError> {
        let talk = || {
            let mut stream = UnixStream::connect(&self.path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(question.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = Zeroizing::new(String::new());
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let mut answer = talk().map_err(|source| DeviceError::Absent { path: self.path.clone(), source })?;
        let refused = |source| DeviceError::Refused { interface: self.interface.clone(), source };
        let body = answer.trim_end();
        let at = body.rfind("errno=").ok_or_else(|| refused(io::ErrorKind::UnexpectedEof.into()))?;
        match body[at + "errno=".len()..].parse::<i32>() {
            Ok(0) => {
                answer.truncate(at);
                Ok(answer)
            }
            Ok(code) => Err(refused(io::Error::from_raw_os_error(code.wrapping_abs()))),
            Err(_) => Err(refused(io::ErrorKind::InvalidData.into())),
        }
    }
}
