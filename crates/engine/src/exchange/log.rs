//! The teller's side: objects in the order they last changed.
//!
//! There is no queue per receiver. Every object stands once, at the revision of its last change, and every deletion
//! once; a receiver that has everything up to revision *r* needs what stands after *r*. Only deletions are ever
//! forgotten, oldest first; a receiver that may have missed one starts over with a snapshot.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::{Change, Key, Object};
use serde::{Deserialize, Serialize};

use super::weight;

/// What a deletion is taken to weigh: three names at their longest.
const DELETION: usize = 640;

/// A place in a log: which log, and how far into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which log: chosen anew each time one begins, never 0.
    pub epoch: u64,
    /// How many changes it had seen.
    pub revision: u64,
}

/// How much is remembered, and how much is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Deletions remembered.
    pub deletions: usize,
    /// Objects in a batch.
    pub batch_objects: usize,
    /// Bytes in a batch, as [`weight`] counts them; a single object may exceed it.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deletions: 65_536, batch_objects: 1024, batch_bytes: 256 * 1024 }
    }
}

/// What is told of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// It is now so.
    Upsert(Arc<Object>),
    /// It is gone.
    Delete(Key),
}

impl Tell {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Upsert(object) => object.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

impl From<Tell> for Change {
    fn from(tell: Tell) -> Self {
        match tell {
            Tell::Upsert(object) => Self::Upsert(Arc::unwrap_or_clone(object)),
            Tell::Delete(key) => Self::Delete(key),
        }
    }
}

/// What a receiver is told, in this order: `Begin`, any number of `Batch`, `Synced`, and again from any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What follows is everything there is (`snapshot`), or what changed since the receiver's place.
    Begin {
        /// The log.
        epoch: u64,
        /// Whether what is not told before the next `Synced` is gone.
        snapshot: bool,
    },
    /// Changes, in order.
    Batch {
        /// The changes.
        changes: Vec<Tell>,
        /// The place after them; inside a snapshot, the place it began at.
        revision: u64,
    },
    /// The receiver has everything up to here.
    Synced {
        /// The place.
        position: Position,
    },
}

/// A receiver's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nothing told yet on this stream.
    Start(Option<Position>),
    /// Telling everything as of `since`, in the order of keys; `after` was told last.
    Snapshot { since: u64, after: Option<Key> },
    /// Everything up to `revision` is told; `synced` whether that was said.
    Deltas { revision: u64, synced: bool },
}

impl Cursor {
    /// Begins where the receiver left off, if it was here before.
    pub fn new(resume: Option<Position>) -> Self {
        Self { phase: Phase::Start(resume) }
    }
}

/// The teller's objects and remembered deletions.
#[derive(Debug)]
pub struct Log {
    epoch: u64,
    revision: u64,
    limits: Limits,
    /// Every object's last change.
    index: BTreeMap<Key, u64>,
    /// Every object at its last change.
    live: BTreeMap<u64, Arc<Object>>,
    /// Deletions.
    gone: BTreeMap<u64, Key>,
    /// Deletions up to this revision are forgotten.
    horizon: u64,
}

impl Log {
    /// An empty log. `epoch` must differ from that of every log a receiver may have met before.
    pub fn new(epoch: u64, limits: Limits) -> Self {
        Self {
            epoch: epoch.max(1),
            revision: 0,
            limits,
            index: BTreeMap::new(),
            live: BTreeMap::new(),
            gone: BTreeMap::new(),
            horizon: 0,
        }
    }

    /// Where the log stands.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, revision: self.revision }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.live.get(self.index.get(key)?)
    }

    /// Every object, in the order of the keys.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.index.values().filter_map(|revision| self.live.get(revision))
    }

    /// The objects whose keys are not before `from`, in order.
    pub fn objects_from(&self, from: &Key) -> impl Iterator<Item = &Arc<Object>> {
        self.index.range(from..).filter_map(|(_, revision)| self.live.get(revision))
    }

    /// Takes an object in. Returns whether anything is different now.
    pub fn upsert(&mut self, object: Arc<Object>) -> bool {
        let key = object.key();
        if self.get(&key).is_some_and(|old| *old == object) {
            return false;
        }
        self.revision += 1;
        if let Some(old) = self.index.insert(key, self.revision) {
            self.live.remove(&old);
        }
        self.live.insert(self.revision, object);
        true
    }

    /// Forgets an object. Returns whether there was one.
    pub fn delete(&mut self, key: &Key) -> bool {
        let Some(old) = self.index.remove(key) else { return false };
        self.live.remove(&old);
        self.revision += 1;
        self.gone.insert(self.revision, key.clone());
        while self.gone.len() > self.limits.deletions {
            if let Some((revision, _)) = self.gone.pop_first() {
                self.horizon = revision;
            }
        }
        true
    }

    /// What to tell the receiver next; nothing when it has everything and knows so.
    pub fn poll(&self, cursor: &mut Cursor) -> Option<Told> {
        match &mut cursor.phase {
            Phase::Start(resume) => {
                let resumed = resume.filter(|p| p.epoch == self.epoch && p.revision <= self.revision);
                match resumed.filter(|p| p.revision >= self.horizon) {
                    Some(p) => {
                        cursor.phase = Phase::Deltas { revision: p.revision, synced: false };
                        Some(Told::Begin { epoch: self.epoch, snapshot: false })
                    }
                    None => Some(self.begin_snapshot(cursor)),
                }
            }
            Phase::Snapshot { since, .. } if *since < self.horizon => Some(self.begin_snapshot(cursor)),
            Phase::Snapshot { since, after } => {
                let since = *since;
                let changes = self.snapshot_batch(after);
                if !changes.is_empty() {
                    return Some(Told::Batch { changes, revision: since });
                }
                cursor.phase = Phase::Deltas { revision: since, synced: true };
                Some(self.synced(since))
            }
            Phase::Deltas { revision, .. } if *revision < self.horizon => Some(self.begin_snapshot(cursor)),
            Phase::Deltas { revision, synced } => {
                let changes = self.delta_batch(revision);
                if !changes.is_empty() {
                    *synced = false;
                    return Some(Told::Batch { changes, revision: *revision });
                }
                (!std::mem::replace(synced, true)).then(|| self.synced(*revision))
            }
        }
    }

    fn synced(&self, revision: u64) -> Told {
        Told::Synced { position: Position { epoch: self.epoch, revision } }
    }

    fn begin_snapshot(&self, cursor: &mut Cursor) -> Told {
        cursor.phase = Phase::Snapshot { since: self.revision, after: None };
        Told::Begin { epoch: self.epoch, snapshot: true }
    }

    fn snapshot_batch(&self, after: &mut Option<Key>) -> Vec<Tell> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut batch = Room::new(&self.limits);
        let mut last = None;
        for (key, revision) in self.index.range((from, Bound::Unbounded)) {
            let object = &self.live[revision];
            if !batch.add(Tell::Upsert(object.clone()), weight(object)) {
                break;
            }
            last = Some(key.clone());
        }
        if last.is_some() {
            *after = last;
        }
        batch.changes
    }

    fn delta_batch(&self, revision: &mut u64) -> Vec<Tell> {
        let after = (Bound::Excluded(*revision), Bound::Unbounded);
        let mut live = self.live.range(after).peekable();
        let mut gone = self.gone.range(after).peekable();
        let mut batch = Room::new(&self.limits);
        loop {
            let next_live = live.peek().map(|(at, _)| **at);
            let next_gone = gone.peek().map(|(at, _)| **at);
            let live_first = match (next_live, next_gone) {
                (None, None) => break,
                (Some(live), Some(gone)) => live < gone,
                (live, _) => live.is_some(),
            };
            let (at, tell, bytes) = if live_first {
                let Some((at, object)) = live.next() else { break };
                (*at, Tell::Upsert(object.clone()), weight(object))
            } else {
                let Some((at, key)) = gone.next() else { break };
                (*at, Tell::Delete(key.clone()), DELETION)
            };
            if !batch.add(tell, bytes) {
                break;
            }
            *revision = at;
        }
        batch.changes
    }
}

/// A batch that is being filled.
struct Room {
    changes: Vec<Tell>,
    objects: usize,
    bytes: usize,
}

impl Room {
    fn new(limits: &Limits) -> Self {
        Self { changes: Vec::new(), objects: limits.batch_objects.max(1), bytes: limits.batch_bytes }
    }

    /// Adds a change if there is room; the first always fits.
    fn add(&mut self, tell: Tell, bytes: usize) -> bool {
        if !self.changes.is_empty() && (self.changes.len() >= self.objects || bytes > self.bytes) {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.changes.push(tell);
        true
    }
}
