//! The teller's side: objects in the order they last changed.
//!
//! There is no queue per receiver. Every object stands once, at the revision of its last change, and every deletion
//! once; a receiver that has everything up to revision *r* needs what stands after *r*. Only deletions are ever
//! forgotten, oldest first; a receiver that may have missed one hears a snapshot, in which what has not changed since
//! *r* takes eight bytes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::{Change, ClusterName, Key, NodeName, Object};
use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, Phase};
use super::interest::{Topic, node_of, together};
use super::{digest, weight};

/// What a deletion is taken to weigh: three names at their longest.
const DELETION: usize = 640;
/// What it weighs that an object is as it was.
const KEEP: usize = 8;

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
    /// The object with this [`digest`] is as it was at the receiver's position. Only in a snapshot.
    Keep(u64),
}

impl From<Change> for Tell {
    fn from(change: Change) -> Self {
        match change {
            Change::Upsert(object) => Self::Upsert(Arc::new(object)),
            Change::Delete(key) => Self::Delete(key),
        }
    }
}

/// What a receiver is told, in this order: `Begin`, any number of `Batch`, `Synced`, and again from any of them;
/// `Taken` anywhere after the first.
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
    /// So many changes of what the receiver wants count from here on: not one before it does.
    Taken {
        /// How many of its [`super::Want`]s, since it last asked.
        wants: u32,
    },
    /// The receiver has everything up to here that it wants, as far as that counts.
    Synced {
        /// The place.
        position: Position,
    },
}

/// What is gone, and the node that it was on, if it was a pod: whose agent was told of it.
#[derive(Debug)]
struct Gone {
    key: Key,
    node: Option<NodeName>,
}

/// The teller's objects and remembered deletions.
#[derive(Debug)]
pub struct Log {
    /// The cluster whose services receivers name.
    own: ClusterName,
    epoch: u64,
    revision: u64,
    limits: Limits,
    /// Every object's last change.
    index: BTreeMap<Key, u64>,
    /// Every object at its last change.
    live: BTreeMap<u64, Arc<Object>>,
    /// Deletions.
    gone: BTreeMap<u64, Gone>,
    /// Deletions up to this revision are forgotten.
    horizon: u64,
}

impl Log {
    /// An empty log. `epoch` must differ from that of every log a receiver may have met before.
    pub fn new(own: ClusterName, epoch: u64, limits: Limits) -> Self {
        Self {
            own,
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
        let Some(old) = self.get(&key) else {
            self.put(key, object);
            return true;
        };
        if *old == object {
            return false;
        }
        // A pod that is on another node now is another pod, and the agent of the old one is not told of the new one.
        let moved = node_of(old).is_some() && node_of(old) != node_of(&object);
        if moved {
            self.delete(&key);
        }
        self.put(key, object);
        true
    }

    fn put(&mut self, key: Key, object: Arc<Object>) {
        self.revision += 1;
        if let Some(old) = self.index.insert(key, self.revision) {
            self.live.remove(&old);
        }
        self.live.insert(self.revision, object);
    }

    /// Forgets an object. Returns whether there was one.
    pub fn delete(&mut self, key: &Key) -> bool {
        let Some(old) = self.index.remove(key) else { return false };
        let node = self.live.remove(&old).and_then(|object| node_of(&object).cloned());
        self.revision += 1;
        self.gone.insert(self.revision, Gone { key: key.clone(), node });
        while self.gone.len() > self.limits.deletions {
            if let Some((revision, _)) = self.gone.pop_first() {
                self.horizon = revision;
            }
        }
        true
    }

    /// What to tell the receiver next; nothing when it has everything and knows so.
    pub fn poll(&self, cursor: &mut Cursor) -> Option<Told> {
        let told = self.next(cursor);
        match &told {
            Some(Told::Batch { revision, .. }) => cursor.said = *revision,
            Some(Told::Synced { position }) => cursor.said = position.revision,
            Some(Told::Begin { .. } | Told::Taken { .. }) | None => {}
        }
        told
    }

    fn next(&self, cursor: &mut Cursor) -> Option<Told> {
        if cursor.taken != cursor.acknowledged && !matches!(cursor.phase, Phase::Start(_)) {
            cursor.acknowledged = cursor.taken;
            if let Phase::Deltas { synced, .. } = &mut cursor.phase {
                *synced = false;
            }
            return Some(Told::Taken { wants: cursor.taken });
        }
        match cursor.phase {
            Phase::Start(resume) => {
                let known = resume.filter(|p| p.epoch == self.epoch && p.revision <= self.revision);
                let base = known.map(|p| p.revision);
                match base.filter(|revision| *revision >= self.horizon) {
                    Some(revision) => {
                        cursor.phase = Phase::Deltas { revision, synced: false };
                        Some(Told::Begin { epoch: self.epoch, snapshot: false })
                    }
                    None => Some(self.begin_snapshot(cursor, base)),
                }
            }
            Phase::Snapshot { since, base, .. } if since < self.horizon => {
                Some(self.begin_snapshot(cursor, base))
            }
            Phase::Snapshot { since, .. } => {
                let mut changes = self.snapshot_batch(cursor);
                if changes.is_empty() {
                    changes = self.fill_batch(cursor);
                }
                if !changes.is_empty() {
                    return Some(Told::Batch { changes, revision: since });
                }
                cursor.phase = Phase::Deltas { revision: since, synced: true };
                Some(self.synced(since))
            }
            Phase::Deltas { revision, .. } if revision < self.horizon => {
                Some(self.begin_snapshot(cursor, Some(revision)))
            }
            Phase::Deltas { revision, synced } => {
                let mut at = revision;
                let mut changes = self.fill_batch(cursor);
                if changes.is_empty() {
                    changes = self.delta_batch(cursor, &mut at);
                }
                let told = match changes.is_empty() {
                    true => (!synced).then(|| self.synced(at)),
                    false => Some(Told::Batch { changes, revision: at }),
                };
                let synced = !matches!(told, Some(Told::Batch { .. }));
                cursor.phase = Phase::Deltas { revision: at, synced };
                told
            }
        }
    }

    /// Has the receiver told where it stands when it is next polled, if it does not know: where nothing happens that it
    /// wants to hear of, its place would grow old.
    pub fn mark(&self, cursor: &mut Cursor) {
        if let Phase::Deltas { synced, revision } = &mut cursor.phase
            && *revision != cursor.said
        {
            *synced = false;
        }
    }

    fn synced(&self, revision: u64) -> Told {
        Told::Synced { position: Position { epoch: self.epoch, revision } }
    }

    fn begin_snapshot(&self, cursor: &mut Cursor, base: Option<u64>) -> Told {
        let base = base.filter(|_| cursor.keeps);
        cursor.phase = Phase::Snapshot { since: self.revision, base, after: None };
        // What a snapshot does not tell is gone, so what was told before it of a service's endpoints is told again.
        cursor.filled = None;
        Told::Begin { epoch: self.epoch, snapshot: true }
    }

    fn snapshot_batch(&self, cursor: &mut Cursor) -> Vec<Tell> {
        let Phase::Snapshot { base, after, .. } = &cursor.phase else { return Vec::new() };
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut batch = Room::new(&self.limits);
        let mut last = None;
        for (key, revision) in self.index.range((from, Bound::Unbounded)) {
            let object = &self.live[revision];
            if cursor.tells_object(object) {
                let fits = match base.is_some_and(|base| *revision <= base) {
                    true => batch.add(Tell::Keep(digest(self.epoch, key)), KEEP),
                    false => batch.add(Tell::Upsert(object.clone()), weight(object)),
                };
                if !fits {
                    break;
                }
            }
            last = Some(key);
        }
        let last = last.cloned();
        if let (Phase::Snapshot { after, .. }, Some(_)) = (&mut cursor.phase, &last) {
            *after = last;
        }
        batch.changes
    }

    /// What the receiver has come to want, as it stands now.
    fn fill_batch(&self, cursor: &mut Cursor) -> Vec<Tell> {
        let mut batch = Room::new(&self.limits);
        while let Some(topic) = cursor.fill.first() {
            let mut whole = true;
            let after = cursor.filled.take().filter(|last| topic.has(last));
            for (key, object) in self.of_topic(&topic, after) {
                if !batch.add(Tell::Upsert(object.clone()), weight(object)) {
                    whole = false;
                    break;
                }
                cursor.filled = Some(key.clone());
            }
            if !whole {
                break;
            }
            cursor.filled = None;
            topic.done(&mut cursor.fill);
        }
        batch.changes
    }

    /// What belongs to a topic, what comes after `after` only.
    fn of_topic(&self, topic: &Topic, after: Option<Key>) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        let all = topic.firsts(&self.own).into_iter().flat_map(move |first| {
            let from = match &after {
                Some(last) if *last > first => Bound::Excluded(last.clone()),
                _ => Bound::Included(first.clone()),
            };
            self.index.range((from, Bound::Unbounded)).take_while(move |(key, _)| together(&first, key))
        });
        all.filter_map(|(key, revision)| Some((key, self.live.get(revision)?)))
    }

    fn delta_batch(&self, cursor: &Cursor, revision: &mut u64) -> Vec<Tell> {
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
            let (at, full) = if live_first {
                let Some((at, object)) = live.next() else { break };
                let told =
                    !cursor.tells_object(object) || batch.add(Tell::Upsert(object.clone()), weight(object));
                (*at, !told)
            } else {
                let Some((at, Gone { key, node })) = gone.next() else { break };
                let told = cursor.tells(key, node.as_ref());
                (*at, told && !batch.add(Tell::Delete(key.clone()), DELETION))
            };
            if full {
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
