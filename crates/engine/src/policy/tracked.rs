//! A map that remembers what it was, so that what has changed costs as much as it is.

use std::collections::BTreeMap;

/// A map, and what was where it has changed since.
#[derive(Debug)]
pub(super) struct Tracked<K, V> {
    now: BTreeMap<K, V>,
    before: BTreeMap<K, Option<V>>,
}

/// One entry that is another one now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed<K, V> {
    /// Which.
    pub(super) key: K,
    /// What it was.
    pub(super) was: Option<V>,
    /// What it is.
    pub(super) is: Option<V>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K: Ord + Copy, V: Copy + PartialEq> Tracked<K, V> {
    /// The map.
    pub(super) fn now(&self) -> &BTreeMap<K, V> {
        &self.now
    }

    /// An entry is now so, or gone.
    pub(super) fn put(&mut self, key: K, value: Option<V>) {
        let was = match value {
            Some(value) => self.now.insert(key, value),
            None => self.now.remove(&key),
        };
        if was != value {
            self.before.entry(key).or_insert(was);
        }
    }

    /// What has changed since it was asked last.
    pub(super) fn poll(&mut self) -> Vec<Changed<K, V>> {
        let before = std::mem::take(&mut self.before);
        let changed = before.into_iter().map(|(key, was)| {
            let is = self.now.get(&key).copied();
            Changed { key, was, is }
        });
        changed.filter(|its| its.was != its.is).collect()
    }
}
