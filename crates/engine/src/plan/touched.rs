//! The part of a state that is about some services, so that what has changed costs as much as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Frontend, SetId, State, TableKey};

/// What of a state's services may be other than it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// What is dialled, by sockets or from outside.
    pub frontends: BTreeSet<Frontend>,
    /// Sets of backends that came or went.
    pub sets: BTreeSet<SetId>,
    /// Tables that came or went.
    pub tables: BTreeSet<TableKey>,
}

impl Touched {
    /// Makes `to` there what `from` is.
    pub fn copy(&self, from: &State, to: &mut State) {
        copy(&self.frontends, &from.frontends, &mut to.frontends);
        copy(&self.frontends, &from.outside, &mut to.outside);
        copy(&self.sets, &from.sets, &mut to.sets);
        copy(&self.tables, &from.tables, &mut to.tables);
    }
}

fn copy<K: Ord + Clone, V: Clone>(keys: &BTreeSet<K>, from: &BTreeMap<K, V>, to: &mut BTreeMap<K, V>) {
    for key in keys {
        match from.get(key) {
            Some(value) => drop(to.insert(key.clone(), value.clone())),
            None => drop(to.remove(key)),
        }
    }
}
