//! Questions in streams (RFC 7766).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::answer::refuse;
use super::forward::Forwarder;
use super::message::{Action, code};
use super::{Reason, Shared, Transport, answer};

/// Connections at a time, an address.
const MOST: usize = 256;

/// How long a client may say nothing, or take to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers whoever connects, for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, forwarder: Arc<Forwarder>) {
    let places = Arc::new(Semaphore::new(MOST));
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accepting DNS over TCP; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.counters().count(Reason::TcpClosed);
            continue;
        };
        let (shared, forwarder) = (Arc::clone(&shared), Arc::clone(&forwarder));
        connections.spawn(async move {
            if !matches!(converse(stream, &shared, &forwarder).await, Ok(Ended::ByClient)) {
                shared.counters().count(Reason::TcpClosed);
            }
            drop(place);
        });
    }
}

enum Ended {
    ByClient,
    ByUs,
}

/// One connection: a question at a time, answered in order.
async fn converse(mut stream: TcpStream, shared: &Shared, forwarder: &Forwarder) -> std::io::Result<Ended> {
    stream.set_nodelay(true)?;
    let asker = stream.peer_addr()?.ip();
    let (mut question, mut out, mut turn) = (Vec::new(), Vec::new(), 0);
    loop {
        match timeout(PATIENCE, read_message(&mut stream, &mut question)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(Ended::ByClient),
            Ok(Err(e)) => return Err(e),
            Err(_) => return Ok(Ended::ByUs),
        }
        turn += 1;
        let action = {
            let known = shared.read();
            if known.serves(asker) {
                answer(&known.zone, &question, Transport::Tcp, turn, forwarder.asks(), &mut out)
            } else {
                refuse(&question, code::REFUSED, Reason::Stranger, &mut out)
            }
        };
        match action {
            Action::Reply(reason) => shared.counters().count(reason),
            Action::Drop(reason) => {
                shared.counters().count(reason);
                return Ok(Ended::ByUs);
            }
            Action::Forward => match forwarder.permit() {
                Some(_permit) => out = forwarder.ask(&question, Transport::Tcp).await,
                None => {
                    shared.counters().count(Reason::Busy);
                    refuse(&question, code::SERVFAIL, Reason::Busy, &mut out);
                }
            },
        }
        if timeout(PATIENCE, write_message(&mut stream, &out)).await.is_err() {
            return Ok(Ended::ByUs);
        }
    }
}

/// Reads one message; false at the end of the stream.
pub(super) async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut length[1..]).await?;
    message.resize(usize::from(u16::from_be_bytes(length)), 0);
    stream.read_exact(message).await?;
    Ok(true)
}

/// Writes one message, in one segment where it fits.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
