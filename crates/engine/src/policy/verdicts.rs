//! The verdicts of rulesets, each one's by itself: a ruleset comes and goes whole for the price of its own verdicts, however
//! many others there are.

use std::collections::BTreeMap;

use super::ports::Ports;
use super::tracked::Changed;
use crate::plan::policing::{Peer, RulesetId, Verdict, VerdictKey};

/// The verdicts of one ruleset.
pub(super) type Rows<V = Verdict> = BTreeMap<(Peer, Ports), V>;

/// All of them, and what was where it has changed since.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    now: BTreeMap<RulesetId, Rows>,
    before: BTreeMap<RulesetId, Rows<Option<Verdict>>>,
    len: usize,
}

impl Verdicts {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &VerdictKey) -> Option<&Verdict> {
        let ports = Ports { protocol: key.protocol, bits: key.bits, port: key.port };
        self.now.get(&key.ruleset)?.get(&(key.peer, ports))
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (VerdictKey, Verdict)> {
        self.now.iter().flat_map(|(id, rows)| rows.iter().map(|(row, verdict)| (key(*id, row), *verdict)))
    }

    /// What a ruleset says of a peer, by ports.
    pub(super) fn of_peer(&self, id: RulesetId, peer: Peer) -> impl Iterator<Item = Ports> {
        let of = |rows: &'_ Rows| {
            let all = rows.range((peer, Ports::ALL)..).map(|(row, _)| *row);
            all.take_while(|(its, _)| *its == peer).map(|(_, ports)| ports).collect::<Vec<_>>()
        };
        self.now.get(&id).map(of).unwrap_or_default().into_iter()
    }

    /// One is now so, or gone. What it was.
    pub(super) fn put(
        &mut self,
        id: RulesetId,
        row: (Peer, Ports),
        verdict: Option<Verdict>,
    ) -> Option<Verdict> {
        let rows = self.now.entry(id).or_default();
        let was = match verdict {
            Some(verdict) => rows.insert(row, verdict),
            None => rows.remove(&row),
        };
        if rows.is_empty() {
            self.now.remove(&id);
        }
        self.len = self.len + usize::from(verdict.is_some()) - usize::from(was.is_some());
        if was != verdict {
            self.before.entry(id).or_default().entry(row).or_insert(was);
        }
        was
    }

    /// A ruleset's are now these, whatever they were.
    pub(super) fn replace(&mut self, id: RulesetId, rows: Rows) -> Rows {
        let was = if rows.is_empty() { self.now.remove(&id) } else { self.now.insert(id, rows) };
        let was = was.unwrap_or_default();
        let rows = self.now.get(&id);
        self.len = self.len + rows.map_or(0, Rows::len) - was.len();
        let came = rows.into_iter().flat_map(Rows::keys).filter(|row| !was.contains_key(row));
        let all = was.iter().map(|(row, verdict)| (*row, Some(*verdict))).chain(came.map(|row| (*row, None)));
        match self.before.get_mut(&id) {
            Some(before) => all.for_each(|(row, was)| {
                before.entry(row).or_insert(was);
            }),
            None => drop(self.before.insert(id, all.collect())),
        }
        was
    }

    /// What has changed since it was asked last.
    pub(super) fn poll(&mut self) -> Vec<Changed<VerdictKey, Verdict>> {
        let mut changed = Vec::new();
        for (id, before) in std::mem::take(&mut self.before) {
            let now = self.now.get(&id);
            changed.reserve(before.len());
            for (row, was) in before {
                let is = now.and_then(|rows| rows.get(&row)).copied();
                if was != is {
                    changed.push(Changed { key: key(id, &row), was, is });
                }
            }
        }
        changed
    }
}

fn key(ruleset: RulesetId, (peer, ports): &(Peer, Ports)) -> VerdictKey {
    VerdictKey { ruleset, peer: *peer, protocol: ports.protocol, bits: ports.bits, port: ports.port }
}
