//! Something between the two ends: counts bytes, cuts, goes silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it does with what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Forward,
    /// Takes everything and passes nothing on.
    Silent,
}

/// A TCP proxy to one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Bytes towards whoever dialled.
    pub(crate) received: Arc<AtomicU64>,
    mood: watch::Sender<Mood>,
    cut: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let (mood, cut) = (watch::Sender::new(Mood::Forward), watch::Sender::new(()));
        let task = tokio::spawn({
            let (received, mood, cut) = (received.clone(), mood.clone(), cut.clone());
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(target).await else { continue };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    let (received, sent) = (received.clone(), Arc::default());
                    let moods = (mood.subscribe(), mood.subscribe());
                    let mut cut = cut.subscribe();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = pump(near_in, far_out, sent, moods.0) => {}
                            () = pump(far_in, near_out, received, moods.1) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Self { address, received, mood, cut, task }
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }

    /// Passes nothing on any more, without ending anything.
    pub(crate) fn silence(&self) {
        self.mood.send_replace(Mood::Silent);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    count: Arc<AtomicU64>,
    mood: watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if *mood.borrow() == Mood::Silent {
            continue;
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
