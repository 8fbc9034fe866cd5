//! Letting go of what clusters said that were not heard for long. The links themselves stay.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::ControllerEvent;
use super::shared::Shared;
use crate::clock::seconds;

/// How often it is looked, at most and at least.
const EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// Seconds since 1970.
pub(crate) fn today() -> u64 {
    seconds(SystemTime::now())
}

/// Lets go until everything ends.
pub(crate) async fn forget(shared: Arc<Shared>, after: Duration) {
    let began = today();
    loop {
        tokio::select! {
            () = shared.stopped() => return,
            () = tokio::time::sleep((after / 10).clamp(EVERY.0, EVERY.1)) => {}
        }
        let clusters: Vec<_> = shared.links().iter().map(|link| link.record.cluster.name.clone()).collect();
        for cluster in clusters {
            // Room first: from the moment it is let go of, a stream may bring it anew.
            let Ok(room) = shared.events.reserve().await else { return };
            let is_over = |heard: Option<u64>| {
                // Without a date: it has not been heard since this process began.
                today().saturating_sub(heard.unwrap_or(began)) >= after.as_secs()
            };
            let Some(held) = shared.links().let_go(&cluster, is_over) else { continue };
            tracing::warn!(%cluster, "a linked cluster has not been heard for so long that it is forgotten");
            room.send(ControllerEvent::PeerChanges { cluster, changes: held.deletions(), position: None });
        }
    }
}
