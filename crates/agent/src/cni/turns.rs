//! One request at a time for each container's interface; those of others go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::request::Attachment;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    locks: Mutex<HashMap<Attachment, Lock>>,
}

/// Held as long as a request takes.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    attachment: Attachment,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until everybody who came before is done with this interface.
    pub(super) async fn take(&self, attachment: &Attachment) -> Turn<'_> {
        let lock = self.locks().entry(attachment.clone()).or_default().clone();
        let mut turn = Turn { turns: self, attachment: attachment.clone(), held: None };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<Attachment, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut locks = self.turns.locks();
        drop(self.held.take());
        // Whoever waits has a handle beside the table's.
        if locks.get(&self.attachment).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.attachment);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_after_the_other_and_nothing_is_left() {
        let turns = Turns::default();
        let [a, b] = ["a", "b"].map(|id| Attachment::new(id, "eth0").unwrap());
        let first = turns.take(&a).await;
        let mut second = Box::pin(turns.take(&a));
        let mut given_up = Box::pin(turns.take(&a));
        assert!((&mut second).now_or_never().is_none() && (&mut given_up).now_or_never().is_none());
        drop(turns.take(&b).await);
        drop(given_up);
        assert_eq!(turns.locks().len(), 1);
        drop(first);
        let second = second.await;
        assert!(turns.take(&a).now_or_never().is_none());
        drop(second);
        assert_eq!(turns.locks().len(), 0);
    }
}
