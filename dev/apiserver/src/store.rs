//! Every object under one counter of versions, and what lately changed.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use crate::failure::Failure;
use crate::kind::{self, Kind};
use crate::object::Object;

/// Everything the server knows. One lock around it makes every request a transaction.
pub(crate) struct Store {
    /// The version of the last write.
    pub(crate) version: u64,
    kinds: Vec<Arc<Kind>>,
    tables: BTreeMap<String, Table>,
    /// How many changes of each resource are remembered.
    history: usize,
    pub(crate) changed: watch::Sender<u64>,
    random: u64,
}

/// The version of the empty store: there are older ones, which nobody remembers.
const BEGIN: u64 = 100;

/// The objects of one resource.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) objects: BTreeMap<Box<str>, Arc<Object>>,
    pub(crate) log: VecDeque<Change>,
    /// Every change after this version is in the log.
    pub(crate) oldest: u64,
}

/// One write.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) what: What,
    /// What is stored since, or for a deletion what was stored last, under the version of the deletion.
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Added,
    Modified,
    Deleted,
}

impl Table {
    /// The objects from this key on, in order.
    pub(crate) fn from(&self, start: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.range::<str, _>((Bound::Included(start), Bound::Unbounded)).map(|(_, object)| object)
    }
}

impl Store {
    pub(crate) fn new(history: usize) -> Store {
        let random = std::hash::RandomState::new().build_hasher().finish() | 1;
        let kinds = kind::built_in();
        let table = |k: &Arc<Kind>| (k.resource(), Table { oldest: BEGIN, ..Table::default() });
        let tables = kinds.iter().map(table).collect();
        Store { version: BEGIN, kinds, tables, history, changed: watch::Sender::new(BEGIN), random }
    }

    /// What is served.
    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let found =
            self.kinds.iter().find(|k| k.group == group && k.version == version && k.plural == plural);
        found.cloned()
    }

    /// The kind that an object says it is.
    pub(crate) fn kind_of(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.kinds.iter().find(|k| k.kind == kind && k.api_version() == api_version).cloned()
    }

    /// Serves these kinds from now on, in place of those of the same resource.
    pub(crate) fn serve(&mut self, kinds: Vec<Arc<Kind>>) {
        for kind in &kinds {
            let version = self.version;
            let table = || Table { oldest: version, ..Table::default() };
            self.tables.entry(kind.resource()).or_insert_with(table);
            self.kinds.retain(|k| k.resource() != kind.resource());
        }
        self.kinds.extend(kinds);
    }

    /// Serves the resource no more.
    pub(crate) fn withdraw(&mut self, resource: &str) {
        self.kinds.retain(|k| k.resource() != resource);
        self.tables.remove(resource);
        self.changed.send_replace(self.version);
    }

    pub(crate) fn table(&self, resource: &str) -> Result<&Table, Failure> {
        self.tables.get(resource).ok_or_else(Failure::no_such_resource)
    }

    pub(crate) fn get(&self, resource: &str, key: &str) -> Option<Arc<Object>> {
        self.tables.get(resource)?.objects.get(key).cloned()
    }

    /// The version that the next write gets.
    pub(crate) fn next(&self) -> u64 {
        self.version + 1
    }

    /// Stores an object that was made with the version [`Store::next`].
    pub(crate) fn put(&mut self, resource: &str, object: Arc<Object>) {
        let table = self.tables.get_mut(resource).expect("served kinds have a table");
        let previous = table.objects.insert(object.key.clone(), object.clone());
        let what = if previous.is_some() { What::Modified } else { What::Added };
        self.log(resource, Change { what, object, previous });
    }

    /// Removes an object; `last` is what it was, under the version [`Store::next`].
    pub(crate) fn remove(&mut self, resource: &str, last: Arc<Object>) {
        let table = self.tables.get_mut(resource).expect("served kinds have a table");
        let previous = table.objects.remove(&last.key);
        self.log(resource, Change { what: What::Deleted, object: last, previous });
    }

    fn log(&mut self, resource: &str, change: Change) {
        self.version = change.object.version;
        let table = self.tables.get_mut(resource).expect("served kinds have a table");
        table.log.push_back(change);
        if table.log.len() > self.history
            && let Some(forgotten) = table.log.pop_front()
        {
            table.oldest = forgotten.object.version;
        }
        self.changed.send_replace(self.version);
    }

    /// Forgets every change: whoever asks for an older version is told that it is gone.
    pub(crate) fn forget(&mut self) {
        // One version further, so that even what was read just now is too old.
        self.version += 1;
        for table in self.tables.values_mut() {
            table.log.clear();
            table.oldest = self.version;
        }
    }

    /// xorshift64*: names and uids need to differ, not to be secret.
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn uid(&mut self) -> String {
        let (a, b) = (self.random(), self.random());
        let (head, tail) = (a >> 32, b & 0xffff_ffff_ffff);
        format!("{head:08x}-{:04x}-4{:03x}-8{:03x}-{tail:012x}", a >> 16 & 0xffff, a & 0xfff, b >> 48 & 0xfff)
    }

    /// What the API server appends to a `generateName`.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[(self.random() % 27) as usize])).collect()
    }
}
