//! What is wrong with which object, and what of it has not been said yet.

use std::collections::BTreeMap;

use crate::Complaint;
use crate::manifest::{Id, Kind};

/// What a complaint follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The object alone.
    Itself,
    /// Other objects too: it may vanish while the object stays as it is.
    Others,
}

/// What is wrong with single objects.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    now: BTreeMap<Id, Wrong>,
    /// What was said of those that are different since.
    said: BTreeMap<Id, Vec<Complaint>>,
}

#[derive(Debug, Default)]
struct Wrong {
    itself: Vec<Complaint>,
    others: Vec<Complaint>,
}

impl Wrong {
    fn all(&self) -> Vec<Complaint> {
        self.itself.iter().chain(&self.others).cloned().collect()
    }
}

impl Complaints {
    /// Says what is wrong with an object, in place of what was known from there.
    pub(super) fn set(&mut self, id: &Id, from: From, complaints: Vec<Complaint>) {
        let held = self.now.get(id);
        let before = held.map(|wrong| match from {
            From::Itself => &wrong.itself,
            From::Others => &wrong.others,
        });
        if before.map_or(&[][..], Vec::as_slice) == complaints {
            return;
        }
        if !self.said.contains_key(id) {
            self.said.insert(id.clone(), held.map(Wrong::all).unwrap_or_default());
        }
        let wrong = self.now.entry(id.clone()).or_default();
        match from {
            From::Itself => wrong.itself = complaints,
            From::Others => wrong.others = complaints,
        }
        if wrong.itself.is_empty() && wrong.others.is_empty() {
            self.now.remove(id);
        }
    }

    /// Forgets an object.
    pub(super) fn clear(&mut self, id: &Id) {
        self.set(id, From::Itself, Vec::new());
        self.set(id, From::Others, Vec::new());
    }

    /// What is different since this was last asked; nothing for an object that is well again.
    pub(super) fn take(&mut self) -> Vec<(Id, Vec<Complaint>)> {
        let changed = std::mem::take(&mut self.said).into_iter();
        let with_now = changed.map(|(id, before)| {
            let now = self.now.get(&id).map(Wrong::all).unwrap_or_default();
            (id, before, now)
        });
        with_now.filter(|(_, before, now)| before != now).map(|(id, _, now)| (id, now)).collect()
    }

    /// The objects of a kind with which something is wrong.
    pub(super) fn ids(&self, kind: Kind) -> impl Iterator<Item = &Id> {
        self.now.keys().filter(move |id| id.kind == kind)
    }
}

/// Adds a complaint to those found.
pub(super) fn complain(found: &mut Vec<Complaint>, reason: &'static str, message: impl Into<String>) {
    found.push(Complaint { reason, message: message.into() });
}

/// A value as it is quoted: whole, unless somebody wrote a novel.
pub(super) fn short(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    if cut.len() == text.len() { format!("{text:?}") } else { format!("{cut:?}…") }
}

/// A few of many values, quoted.
pub(super) fn some(values: &[String]) -> String {
    let shown: Vec<String> = values.iter().take(3).map(|value| short(value)).collect();
    let more = values.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
