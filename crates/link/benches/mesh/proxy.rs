//! Something between two ends that counts bytes: what TCP carries, TLS included, its own headers not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Bytes towards whoever dialled, and towards whom it dialled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
}

impl Count {
    /// Both ways.
    pub(crate) fn total(&self) -> u64 {
        self.received.load(Ordering::Relaxed) + self.sent.load(Ordering::Relaxed)
    }
}

/// A place to listen that is free, and the listener that holds it.
pub(crate) async fn place() -> Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("binding a port of loopback")?;
    Ok((listener.local_addr()?, listener))
}

/// Forwards what comes to the listener, and counts it. Ends with the runtime.
pub(crate) fn forward(listener: TcpListener, target: SocketAddr, count: Count) {
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(target).await else { return };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::select! {
                    () = pump(near_in, far_out, count.sent) => {}
                    () = pump(far_in, near_out, count.received) => {}
                }
            });
        }
    });
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: Arc<AtomicU64>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
