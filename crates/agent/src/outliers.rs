//! Backends that fail connects: what the data path counts of this node's clients, looked at several times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use engine::services::{self, Connects, Ejected, Outliers};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::outlook::Outlook;

/// How often the counts are looked at. What a client meets until then is what an ejection comes late by.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks after them, and knows when to look again.
pub(crate) struct Watch {
    outliers: Outliers,
    at: Instant,
}

impl Watch {
    /// Nobody has failed anybody yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { outliers: Outliers::default(), at: now }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Instant {
        self.at
    }

    /// Whether that is now; if so, puts the next time off.
    pub(crate) fn poll_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.at;
        if due {
            self.at = now + LOOK_EVERY;
        }
        due
    }

    /// Takes in what was counted; says who was ejected and who is back.
    pub(crate) fn look(
        &mut self,
        counts: &BTreeMap<SocketAddr, Connects>,
        outlook: &Outlook,
        now: Duration,
    ) -> BTreeSet<SocketAddr> {
        let view = outlook.view();
        let excused = |failing: &BTreeSet<SocketAddr>| services::on_dead_nodes(&view, failing);
        let changed = self.outliers.handle_counts(counts, now, excused);
        if !changed.is_empty() {
            let ejected = self.outliers.ejected(now);
            for backend in &changed {
                match ejected.get(backend) {
                    Some(ejection) => warn!(%backend, "{ejection}"),
                    None => info!(%backend, "takes connections again, on trial"),
                }
            }
        }
        changed
    }

    /// Who is ejected now.
    pub(crate) fn ejected(&self, now: Duration) -> Ejected {
        self.outliers.ejected(now)
    }

    /// How often a backend was ejected so far.
    pub(crate) fn ejections(&self) -> u64 {
        self.outliers.ejections()
    }
}
