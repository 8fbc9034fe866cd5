//! Where everything that is read comes together: one index, one stream of events.

use std::collections::{BTreeMap, BTreeSet};

use model::Change;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::arrival::Arrival;
use super::pending::Pending;
use super::reader::Heard;
use super::target::{TARGETS, What};
use super::trouble::{self, Trouble};
use crate::Event;
use crate::index::Index;
use crate::manifest::{Id, Kind};

/// How much is taken in before something is said.
const DRAIN: usize = 512;

/// How far a kind has been read.
#[derive(Debug, Default)]
struct Progress {
    /// Whether everything of it has been said, or it is known that nothing will be.
    settled: bool,
    /// What was there before the list that is under way, and has not been said again yet.
    missing: Option<Missing>,
    /// Whether the server had no such kind when it was last asked.
    absent: bool,
}

#[derive(Debug)]
enum Missing {
    Objects(BTreeSet<Id>),
    Ranges(BTreeSet<String>),
}

/// Takes in what is read, and says what follows.
pub(super) struct Joint {
    index: Index,
    events: mpsc::Sender<Event>,
    pods_are_here: Option<oneshot::Sender<()>>,
    progress: BTreeMap<What, Progress>,
    troubles: BTreeMap<What, Trouble>,
    /// The nodes that have been given ranges.
    given: BTreeSet<String>,
    pending: Pending,
    notes: Vec<String>,
    synced: bool,
}

impl Joint {
    pub(super) fn new(index: Index, events: mpsc::Sender<Event>, pods_are_here: oneshot::Sender<()>) -> Self {
        Self {
            index,
            events,
            pods_are_here: Some(pods_are_here),
            progress: BTreeMap::new(),
            troubles: BTreeMap::new(),
            given: BTreeSet::new(),
            pending: Pending::default(),
            notes: Vec::new(),
            synced: false,
        }
    }

    /// Runs until nobody listens, and takes the readers along.
    pub(super) async fn run(mut self, mut heard: mpsc::Receiver<(What, Heard)>, _readers: JoinSet<()>) {
        loop {
            let events = self.events.clone();
            tokio::select! {
                biased;
                permit = events.reserve(), if self.has_something() => {
                    let Ok(permit) = permit else { return };
                    if let Some(event) = self.next() {
                        permit.send(event);
                    }
                }
                message = heard.recv() => {
                    let Some((what, message)) = message else { return };
                    self.take_in(what, message);
                    // What is there already goes into the same batch.
                    for _ in 0..DRAIN {
                        let Ok((what, message)) = heard.try_recv() else { break };
                        self.take_in(what, message);
                    }
                    self.settle();
                }
                () = events.closed() => return,
            }
        }
    }

    fn has_something(&self) -> bool {
        !self.pending.is_empty() || self.may_sync()
    }

    /// Whether everything there is has been taken in, and not been said to be.
    fn may_sync(&self) -> bool {
        !self.synced
            && TARGETS.iter().all(|target| {
                let settled = self.progress.get(&target.what).is_some_and(|progress| progress.settled);
                // What only some clusters have, and we may not read here, is not worth waiting for.
                let forbidden =
                    self.troubles.get(&target.what).is_some_and(|trouble| trouble.failure.lasting());
                settled || (!target.needed && forbidden)
            })
    }

    fn next(&mut self) -> Option<Event> {
        self.pending.take().or_else(|| {
            self.synced = self.may_sync();
            self.synced.then_some(Event::Synced)
        })
    }

    fn take_in(&mut self, what: What, heard: Heard) {
        let progress = self.progress.entry(what).or_default();
        match heard {
            Heard::Listing => {
                progress.absent = false;
                progress.missing = Some(match what {
                    What::Object(kind) => Missing::Objects(self.index.ids(kind)),
                    What::Ranges => Missing::Ranges(self.given.clone()),
                });
            }
            Heard::Object(arrival) => self.arrive(what, *arrival),
            Heard::Gone(id) => {
                let changes = self.index.delete(&id);
                self.say(changes);
            }
            Heard::RangesGone(node) => self.give(&node, Vec::new()),
            Heard::Listed => {
                progress.settled = true;
                let missing = progress.missing.take();
                self.drop_all(missing);
                if what == What::Object(Kind::Pod)
                    && let Some(pods_are_here) = self.pods_are_here.take()
                {
                    // A reader that is gone waits for nothing.
                    let _ = pods_are_here.send(());
                }
            }
            Heard::Absent => {
                progress.settled = true;
                // Once can be a server that is just starting; what was read is not dropped for that.
                let confirmed = std::mem::replace(&mut progress.absent, true);
                if confirmed {
                    let gone = match what {
                        What::Object(kind) => Missing::Objects(self.index.ids(kind)),
                        What::Ranges => Missing::Ranges(self.given.clone()),
                    };
                    self.drop_all(Some(gone));
                }
            }
            Heard::Trouble(trouble) => drop(self.troubles.insert(what, trouble)),
            Heard::Well => drop(self.troubles.remove(&what)),
        }
    }

    fn arrive(&mut self, what: What, arrival: Arrival) {
        let missing = self.progress.get_mut(&what).and_then(|progress| progress.missing.as_mut());
        match (missing, &arrival) {
            (Some(Missing::Objects(ids)), Arrival::Object(manifest)) => drop(ids.remove(&manifest.id())),
            (Some(Missing::Objects(ids)), Arrival::Unreadable(id, _)) => drop(ids.remove(id)),
            (Some(Missing::Ranges(nodes)), Arrival::Ranges { node, .. }) => drop(nodes.remove(node)),
            _ => {}
        }
        match arrival {
            Arrival::Object(manifest) => {
                let changes = self.index.apply(&manifest);
                self.say(changes);
            }
            Arrival::Ranges { node, ranges } => self.give(&node, ranges),
            Arrival::Unreadable(id, complaint) => self.index.refuse(&id, complaint),
        }
    }

    fn give(&mut self, node: &str, ranges: Vec<String>) {
        if ranges.is_empty() {
            self.given.remove(node);
        } else {
            self.given.insert(node.to_string());
        }
        let changes = self.index.give_ranges(node, ranges);
        self.say(changes);
    }

    fn drop_all(&mut self, missing: Option<Missing>) {
        match missing {
            None => {}
            Some(Missing::Objects(ids)) => {
                for id in ids {
                    let changes = self.index.delete(&id);
                    self.say(changes);
                }
            }
            Some(Missing::Ranges(nodes)) => nodes.iter().for_each(|node| self.give(node, Vec::new())),
        }
    }

    fn say(&mut self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.pending.change(change));
    }

    /// Says what else is different after a batch.
    fn settle(&mut self) {
        self.index.take_facts().into_iter().for_each(|fact| self.pending.fact(fact));
        for (id, complaints) in self.index.take_complaints() {
            self.pending.complain(id, complaints);
        }
        let mut notes = trouble::notes(&self.troubles);
        notes.extend(self.index.notes());
        if notes != self.notes {
            self.notes.clone_from(&notes);
            self.pending.note(notes);
        }
    }
}
