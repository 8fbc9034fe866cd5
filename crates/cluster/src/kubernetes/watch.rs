//! Everything there is in the cluster, then what changes.
//!
//! Each kind is listed and watched by a task of its own; another keeps the index of all they say. A consumer that is
//! slow makes neither wait nor grow: what it has not taken yet is kept once an object, as it is last.
//!
//! What is read is pruned on arrival to what the index needs. Nothing depends on any clock but our own, and on that only
//! for how long to wait.

mod arrival;
mod failure;
mod joint;
mod pace;
mod pending;
mod reader;
mod target;
mod trouble;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use model::Cluster;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Event;
use crate::index::{Endpoints, Index, Unsaid};
use joint::Joint;
use reader::Reader;
use target::{TARGETS, What};

/// How many events may wait to be taken.
const QUEUE: usize = 16;
/// How many objects may wait to be taken into the index.
const ARRIVALS: usize = 512;

/// How the API server is watched. The defaults are right for real ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// How many objects are listed at a time, where the server cannot send them as a stream.
    pub page: u32,
    /// How long a watch may be silent: servers send something every minute.
    pub quiet: Duration,
    /// How long a list may take to go on.
    pub slow: Duration,
    /// How long a watch lasts at most before it is renewed; at least two thirds of that.
    pub renewal: Duration,
    /// The wait after the first failure; it doubles with each further one.
    pub retry: Duration,
    /// The longest wait after a failure.
    pub retry_at_most: Duration,
    /// How often kinds that the server does not have are asked for again.
    pub absent: Duration,
    /// What holds where objects do not say.
    pub unsaid: Unsaid,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            page: 500,
            quiet: Duration::from_secs(75),
            slow: Duration::from_secs(30),
            renewal: Duration::from_secs(290),
            retry: Duration::from_millis(200),
            retry_at_most: Duration::from_secs(5),
            absent: Duration::from_secs(60),
            unsaid: Unsaid::default(),
        }
    }
}

/// Watches an API server as the objects of `cluster`: everything there is, [`Event::Synced`], then what changes.
///
/// It ends when the receiver is dropped, and not before: what goes wrong is tried again, said in [`Event::Notes`] for as
/// long as it lasts, and what was read stays in force. Kinds of which the server has no definition are asked for from
/// time to time, and keep nobody waiting.
pub fn watch(client: Client, cluster: &Cluster, options: WatchOptions) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(QUEUE);
    let (say, heard) = mpsc::channel(ARRIVALS);
    let index = Index::new(cluster.clone(), Endpoints::FromSlices).with_unsaid(options.unsaid.clone());
    let options = Arc::new(options);
    let mut readers = JoinSet::new();
    // Slices are joined with pods: those that came first would be said twice.
    let (pods_are_here, mut after_pods) = oneshot::channel();
    for target in &TARGETS {
        let reader = Reader::new(client.clone(), target, options.clone(), say.clone());
        let slices = target.what == What::Object(crate::manifest::Kind::EndpointSlice);
        let after = slices.then(|| std::mem::replace(&mut after_pods, oneshot::channel().1));
        readers.spawn(reader.run(after));
    }
    tokio::spawn(Joint::new(index, events, pods_are_here).run(heard, readers));
    receiver
}

#[cfg(test)]
mod tests;
