//! Streams that can be ended from elsewhere: one for each agent, one for each link.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Held by whoever decides how long a stream lives: dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    end: oneshot::Sender<String>,
}

impl Session {
    /// A session, and what its stream listens to.
    pub(crate) fn new() -> (Self, Ending) {
        let (end, ended) = oneshot::channel();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { id, end }, Ending { id, ended })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ends the stream, and says why to the other side.
    pub(crate) fn dismiss(self, why: String) {
        // A stream that is gone already needs no reason.
        let _ = self.end.send(why);
    }
}

/// Held by the stream.
#[derive(Debug)]
pub(crate) struct Ending {
    id: u64,
    ended: oneshot::Receiver<String>,
}

impl Ending {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the stream has to end. Returns why, if the other side is to be told.
    pub(crate) async fn wait(&mut self) -> Option<String> {
        (&mut self.ended).await.ok()
    }
}
