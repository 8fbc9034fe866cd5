//! Streams that can be ended from elsewhere: one for each agent, one for each link.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Held by whoever decides how long a stream lives: dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    _end: oneshot::Sender<()>,
}

impl Session {
    /// A session, and what its stream listens to.
    pub(crate) fn new() -> (Self, Ending) {
        let (end, ended) = oneshot::channel();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { id, _end: end }, Ending { id, ended })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// Held by the stream.
#[derive(Debug)]
pub(crate) struct Ending {
    id: u64,
    ended: oneshot::Receiver<()>,
}

impl Ending {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the stream has to end.
    pub(crate) async fn wait(&mut self) {
        let _ = (&mut self.ended).await;
    }
}
