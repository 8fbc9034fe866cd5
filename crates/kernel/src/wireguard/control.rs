//! The control socket's serving end: `wg`, the agent, and whoever else may open it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use wireguard::DropReason;
use zeroize::Zeroizing;

use super::core::Core;
use super::uapi::{SetRequest, Status};

/// A request may be so long: some ten thousand peers.
const MAX_REQUEST: u64 = 16 << 20;
/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// The control socket's listening end; its file goes with it.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at this path, in place of a process that died.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        remove_stale(&path)?;
        // Whoever can write to it has the keys, so it is private from its first moment.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&path);
        umask(before);
        Ok(Self { listener: listener?, path })
    }

    /// Serves the client that waits, on a thread of its own.
    pub(super) fn accept(&self, core: &Arc<Core>) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        let core = core.clone();
        thread::Builder::new().name("control".into()).spawn(move || serve(&core, &stream)).map(drop)
    }
}

impl AsFd for Control {
    /// Readable when a client waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the socket of a process that died; one that answers is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path),
    }
}

/// Serves one client until it leaves.
fn serve(core: &Arc<Core>, stream: &UnixStream) {
    if let Err(error) = conversation(core, stream) {
        tracing::debug!(%error, "a control client left in the middle");
    }
}

fn conversation(core: &Arc<Core>, stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    while let Some(request) = read_request(stream)? {
        let (mut answer, errno) = match request {
            Ok(request) => answer(core, &request),
            Err(Unreadable(errno)) => (String::new(), errno),
        };
        if matches!(errno, libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE) {
            core.device().count(DropReason::BadRequest, 1);
        }
        // Negative, as the other implementations have it.
        answer.push_str(&format!("errno={}\n\n", -errno));
        let mut stream = stream;
        stream.write_all(Zeroizing::new(answer).as_bytes())?;
        if errno == libc::EMSGSIZE {
            // What follows is the rest of it.
            return Ok(());
        }
    }
    Ok(())
}

/// The answer, and what went wrong; 0 if nothing did.
fn answer(core: &Arc<Core>, request: &str) -> (String, i32) {
    let mut lines = request.lines();
    match lines.next() {
        Some("get=1") => (status(core), 0),
        Some("set=1") => (String::new(), set(core, lines)),
        Some("counters=1") => (counters(core), 0),
        // What there is beyond the protocol: requests with keys that are not known are refused.
        Some("extensions=1") => ("other_key=1\nother_preshared_keys=1\ngroup=1\n".into(), 0),
        _ => (String::new(), libc::EOPNOTSUPP),
    }
}

/// What cannot be a request, and what to answer.
struct Unreadable(i32);

/// The lines up to an empty one; none at the end. One that is cut off inside a line is refused: half an address is an
/// address, too.
fn read_request(stream: impl Read) -> io::Result<Option<Result<Zeroizing<String>, Unreadable>>> {
    // Nobody sends a second request before the first is answered, so nothing is lost in the buffer.
    let mut reader = BufReader::new(stream).take(MAX_REQUEST);
    let mut request = Zeroizing::new(Vec::new());
    loop {
        let before = request.len();
        match reader.read_until(b'\n', &mut request)? {
            0 if before == 0 => return Ok(None),
            // The end of the input ends the request too, but the end of our patience does not.
            0 if reader.limit() == 0 => return Ok(Some(Err(Unreadable(libc::EMSGSIZE)))),
            0 if !request.ends_with(b"\n") => return Ok(Some(Err(Unreadable(libc::EINVAL)))),
            0 => break,
            1 if request.ends_with(b"\n") => break,
            _ => {}
        }
    }
    let text = String::from_utf8(std::mem::take(&mut *request));
    Ok(Some(match text {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(Unreadable(libc::EINVAL))
        }
    }))
}

fn status(core: &Core) -> String {
    let (listen_port, fwmark) = core.underlay_settings();
    let device = core.device();
    let private_key = device.key().map(|key| Zeroizing::new(*key.secret()));
    let other_private_key = device.other_key().map(|key| Zeroizing::new(*key.secret()));
    let peers = device.peers().collect();
    drop(device);
    Status { private_key, other_private_key, listen_port, fwmark, peers }.to_string()
}

fn counters(core: &Core) -> String {
    let device = core.device();
    let (counters, relayed) = (device.counters().clone(), device.relayed());
    drop(device);
    let drops = counters.iter().map(|(reason, count)| format!("drop_{}={count}\n", reason.name()));
    let passed = format!("relayed_messages={}\nrelayed_bytes={}\n", relayed.messages, relayed.bytes);
    drops.chain([passed]).collect()
}

fn set<'a>(core: &Arc<Core>, lines: impl Iterator<Item = &'a str>) -> i32 {
    let lines = lines.take_while(|line| !line.is_empty());
    let request = match SetRequest::parse(lines) {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(%error, "refused");
            return libc::EINVAL;
        }
    };
    let code = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    if let Some(mark) = request.fwmark
        && let Err(error) = core.set_mark(mark)
    {
        tracing::warn!(%error, mark, "cannot set the mark");
        return code(&error);
    }
    if let Some(port) = request.listen_port
        && let Err(error) = core.set_port(port)
    {
        tracing::warn!(%error, port, "cannot listen on the port");
        return code(&error);
    }
    let now = core.now();
    let mut device = core.device();
    let given = |secret: &Zeroizing<[u8; 32]>| Some(**secret).filter(|secret| *secret != [0; 32]);
    match (&request.private_key, &request.other_private_key) {
        (Some(first), None) => device.set_key(given(first)),
        (first, Some(other)) => {
            let current = || device.key().map(|key| *key.secret());
            let first = first.as_ref().map_or_else(current, given);
            device.set_keys(first, given(other), now);
        }
        (None, None) => {}
    }
    if request.replace_peers {
        device.remove_peers();
    }
    for change in &request.peers {
        device.change_peer(change, now);
    }
    drop(device);
    core.nudge();
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_they_end() {
        let read = |bytes: &[u8]| {
            let request = read_request(bytes).expect("bytes can be read");
            request.map(|request| request.map(|text| text.to_string()).map_err(|Unreadable(errno)| errno))
        };
        let whole = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(read(b""), None);
        assert_eq!(read(b"get=1\n\nget=1\n\n"), whole("get=1\n\n"));
        assert_eq!(read(b"get=1\n"), whole("get=1\n"), "the end is an end");
        assert_eq!(read(b"\n"), whole("\n"));
        assert_eq!(read(b"set=1\nallowed_ip=10.0.0.0/2"), Some(Err(libc::EINVAL)), "of 24 perhaps");
        assert_eq!(read(b"set=1\n\xff\n\n"), Some(Err(libc::EINVAL)));
        let long = [b"set=1\n".to_vec(), b"fwmark=1\n".repeat(MAX_REQUEST as usize / 9 + 1)].concat();
        assert_eq!(read(&long), Some(Err(libc::EMSGSIZE)));
    }
}
