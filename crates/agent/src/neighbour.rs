//! Whether kube-proxy is at work beside us. Nothing depends on it: sockets are balanced before any packet is made.
//! But whoever switches from one to the other wants to see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::kube_proxy::{self, Sighting};
use link::NodeReport;
use tokio::sync::watch;
use tracing::info;

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What was seen last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbour(Arc<Mutex<Sighting>>);

impl Neighbour {
    /// Begins to look, and tells the controller what there is.
    pub(crate) fn watch(report: watch::Sender<NodeReport>) -> Self {
        let neighbour = Self::default();
        let seen = neighbour.clone();
        tokio::spawn(async move {
            loop {
                let sighting =
                    tokio::task::spawn_blocking(kube_proxy::look).await.expect("looking does not panic");
                seen.take(&sighting, &report);
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = report.closed() => return,
                }
            }
        });
        neighbour
    }

    fn take(&self, sighting: &Sighting, report: &watch::Sender<NodeReport>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.state != sighting.state {
            info!(state = %sighting.state, seen = sighting.seen.join(", "), "kube-proxy on this node");
        }
        last.clone_from(sighting);
        report.send_if_modified(|report| {
            let changed = report.kube_proxy != sighting.state;
            report.kube_proxy = sighting.state;
            changed
        });
    }

    pub(crate) fn last(&self) -> Sighting {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
