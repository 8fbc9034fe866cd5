//! The clusters whose pods some agent wants: nobody asks another cluster for pods that nobody here would hear of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use engine::exchange::Held;
use model::ClusterName;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long pods are kept after the last agent that wanted them has gone: it comes back, or the policy does.
const LINGER: Duration = Duration::from_secs(300);

/// What the agents' streams want.
#[derive(Debug)]
pub(crate) struct Wishes {
    state: Mutex<State>,
    /// All of it together.
    all: watch::Sender<BTreeSet<ClusterName>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    streams: BTreeMap<u64, BTreeSet<ClusterName>>,
    /// Until when a cluster's pods are kept that nobody wants.
    lingering: BTreeMap<ClusterName, Instant>,
}

impl Wishes {
    /// Nobody wants anything yet but what is held already.
    pub(crate) fn new(held: &BTreeMap<ClusterName, Held>) -> Self {
        let wishes = Self { state: Mutex::default(), all: watch::Sender::default() };
        wishes.remember(held);
        wishes
    }

    /// What somebody has wanted before, and is held, is wanted for a while: agents come back.
    pub(crate) fn remember(&self, held: &BTreeMap<ClusterName, Held>) {
        let until = Instant::now() + LINGER;
        let mut state = self.state();
        let clusters = held.values().flat_map(|held| &held.interest.topics.pods);
        state.lingering.extend(clusters.map(|cluster| (cluster.clone(), until)));
        self.publish(&state);
    }

    /// A stream begins.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// A stream wants the pods of these clusters.
    pub(crate) fn set(&self, stream: u64, clusters: BTreeSet<ClusterName>) {
        self.replace(stream, Some(clusters));
    }

    /// A stream is over.
    pub(crate) fn end(&self, stream: u64) {
        self.replace(stream, None);
    }

    /// Forgets what nobody has wanted for long. Returns when to look again.
    pub(crate) fn forget(&self) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        state.lingering.retain(|_, until| *until > now);
        self.publish(&state);
        state.lingering.values().min().copied().unwrap_or(now + LINGER)
    }

    /// The clusters whose pods are wanted.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeSet<ClusterName>> {
        self.all.subscribe()
    }

    fn replace(&self, stream: u64, clusters: Option<BTreeSet<ClusterName>>) {
        let mut state = self.state();
        let before = match clusters {
            Some(clusters) => state.streams.insert(stream, clusters),
            None => state.streams.remove(&stream),
        };
        let until = Instant::now() + LINGER;
        for cluster in before.into_iter().flatten() {
            if !state.streams.values().any(|clusters| clusters.contains(&cluster)) {
                state.lingering.insert(cluster, until);
            }
        }
        self.publish(&state);
    }

    fn publish(&self, state: &State) {
        let all: BTreeSet<ClusterName> =
            state.streams.values().flatten().chain(state.lingering.keys()).cloned().collect();
        self.all.send_if_modified(|before| {
            *before != all && {
                *before = all;
                true
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is locked")
    }
}

#[cfg(test)]
mod tests {
    use engine::exchange::{Interest, Topics};

    use super::*;

    fn names(all: &[&str]) -> BTreeSet<ClusterName> {
        all.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_any_more_stays_for_a_while() {
        let topics = Topics { pods: names(&["azure"]), ..Topics::default() };
        let held = Held::default().with_interest(Interest::only(topics));
        let wishes = Wishes::new(&BTreeMap::from([("azure".parse().unwrap(), held)]));
        let all = wishes.subscribe();
        let (one, other) = (wishes.begin(), wishes.begin());
        wishes.set(one, names(&["aws", "gcp"]));
        wishes.set(other, names(&["gcp"]));
        assert_eq!(*all.borrow(), names(&["aws", "azure", "gcp"]));
        wishes.end(one);
        tokio::time::advance(LINGER / 2).await;
        wishes.forget();
        assert_eq!(*all.borrow(), names(&["aws", "azure", "gcp"]), "it may come back");
        wishes.set(other, names(&[]));
        tokio::time::advance(LINGER / 2).await;
        assert_eq!(wishes.forget(), Instant::now() + LINGER / 2);
        assert_eq!(*all.borrow(), names(&["gcp"]));
        tokio::time::advance(LINGER).await;
        wishes.forget();
        assert_eq!(*all.borrow(), names(&[]));
    }
}
