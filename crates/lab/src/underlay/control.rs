//! Wires changed and counters read while packets flow: one line of JSON each way on a Unix socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use super::run::Underlay;
use super::switch::Counters;
use crate::plan::Wire;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest line: every wire of the largest lab fits twice.
const MAX_LINE: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Request {
    SetWires(Vec<Wire>),
    Counters,
    ForgetMappings,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Reply {
    Done,
    Counters(Counters),
    Refused(String),
}

/// Why the underlay did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It does not answer.
    #[error("the underlay does not answer on {}: {source}; is the lab up?", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It says no.
    #[error("the underlay refused: {0}")]
    Refused(String),
}

/// Asks a running underlay. Every call is a short conversation that blocks.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// Of the underlay that listens at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Changes these wires and leaves the others.
    pub fn set_wires(&self, wires: &[Wire]) -> Result<(), ControlError> {
        self.ask(&Request::SetWires(wires.to_vec())).map(drop)
    }

    /// Switches all NATs off and on: what they had mapped is forgotten.
    pub fn forget_mappings(&self) -> Result<(), ControlError> {
        self.ask(&Request::ForgetMappings).map(drop)
    }

    /// Reads everything counted since the start.
    pub fn counters(&self) -> Result<Counters, ControlError> {
        match self.ask(&Request::Counters)? {
            Reply::Counters(counters) => Ok(counters),
            other => Err(ControlError::Refused(format!("unexpected answer {other:?}"))),
        }
    }

    fn ask(&self, request: &Request) -> Result<Reply, ControlError> {
        match self.converse(request) {
            Ok(Reply::Refused(reason)) => Err(ControlError::Refused(reason)),
            Ok(reply) => Ok(reply),
            Err(source) => Err(ControlError::Io { path: self.path.clone(), source }),
        }
    }

    fn converse(&self, request: &Request) -> io::Result<Reply> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write_line(&stream, request)?;
        read_line(&stream)
    }
}

/// Answers on `path`, on a thread of its own, for as long as the process lives.
pub(super) fn serve(path: &Path, underlay: Arc<Underlay>) -> Result<(), Error> {
    let failed = |source| Error::System { attempt: "listen on the underlay's control socket", source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let answer = move || {
        for stream in listener.incoming().flatten() {
            // One who asks and does not listen is no concern of the packets.
            if let Err(error) = answer(&stream, &underlay) {
                tracing::debug!(%error, "a question to the underlay was cut short");
            }
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(answer).map_err(failed)?;
    Ok(())
}

fn answer(stream: &UnixStream, underlay: &Underlay) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let reply = match read_line(stream) {
        Ok(Request::Counters) => Reply::Counters(underlay.counters()),
        Ok(Request::ForgetMappings) => {
            underlay.forget_mappings();
            Reply::Done
        }
        Ok(Request::SetWires(wires)) => match underlay.set_wires(&wires) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Refused(error.to_string()),
        },
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Reply::Refused(e.to_string()),
        Err(e) => return Err(e),
    };
    write_line(stream, &reply)
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
