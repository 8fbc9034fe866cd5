//! One request over a connection of its own.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Outcome, Target};
use crate::echo::Answer;

/// The longest answer that is read.
const MAX_ANSWER: u64 = 64 << 10;

/// Asks, and reads who answered.
pub(super) async fn ask(target: &Target) -> Result<Answer, Outcome> {
    let text = exchange(target).await.map_err(|e| outcome(&e))?;
    let text = String::from_utf8(text).map_err(|_| Outcome::Strange)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(Outcome::Strange)?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(Outcome::Strange);
    }
    serde_json::from_str(body).map_err(|_| Outcome::Strange)
}

async fn exchange(target: &Target) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    let Target { address, path } = target;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut text).await?;
    if text.is_empty() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(text) }
}

fn outcome(error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Outcome::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Outcome::Reset,
        Kind::TimedOut => Outcome::Timeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable => Outcome::Unreachable,
        _ => Outcome::Other,
    }
}
