//! When changes were made, and how old they were when they arrived.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant};

/// What has been changed and not arrived yet, by what it is about, oldest first; and the ages of what has.
#[derive(Debug)]
pub(crate) struct Ages<K>(Arc<Mutex<Inner<K>>>);

#[derive(Debug)]
struct Inner<K> {
    born: HashMap<K, VecDeque<Instant>>,
    ages: Vec<Duration>,
}

impl<K> Clone for Ages<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash> Ages<K> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { born: HashMap::new(), ages: Vec::new() })))
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner<K>> {
        self.0.lock().expect("no panic while the ages are locked")
    }

    /// A change is made now.
    pub(crate) fn made(&self, key: K) {
        self.inner().born.entry(key).or_default().push_back(Instant::now());
    }

    /// The next change of it has arrived.
    pub(crate) fn arrived(&self, key: &K) {
        let mut inner = self.inner();
        let Some(waiting) = inner.born.get_mut(key) else { return };
        let born = waiting.pop_front();
        if waiting.is_empty() {
            inner.born.remove(key);
        }
        inner.ages.extend(born.map(|born| born.elapsed()));
    }

    /// The latest state of it has arrived, with whatever came before.
    pub(crate) fn arrived_last(&self, key: &K) {
        let mut inner = self.inner();
        let born = inner.born.remove(key);
        inner.ages.extend(born.and_then(|mut waiting| waiting.pop_back()).map(|born| born.elapsed()));
    }

    /// How many are on their way.
    pub(crate) fn waiting(&self) -> usize {
        self.inner().born.len()
    }

    /// Hands the ages out, in milliseconds and in order, and begins anew.
    pub(crate) fn take(&self) -> Vec<f64> {
        let mut inner = self.inner();
        inner.born.clear();
        let mut ages: Vec<f64> = inner.ages.drain(..).map(|age| age.as_secs_f64() * 1000.0).collect();
        ages.sort_by(f64::total_cmp);
        ages
    }
}

/// The value that this part of all are below.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
