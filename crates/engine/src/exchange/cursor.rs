//! A receiver's place in a log, and what it wants to hear from there on.

use std::collections::BTreeSet;

use model::{EndpointKey, Key, Object, ObjectName};

use super::{Ask, Interest, Position, Want};

/// A receiver's place, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) phase: Phase,
    pub(super) interest: Interest,
    /// Whether it understands [`super::Tell::Keep`].
    pub(super) keeps: bool,
    /// How many changes of what it wants were taken in, and how many of them it was told are.
    pub(super) taken: u32,
    pub(super) acknowledged: u32,
    /// The place that it was last told it is at.
    pub(super) said: u64,
    /// Services that it wants and whose endpoints it has not been told as they stand.
    pub(super) fill: BTreeSet<ObjectName>,
    /// The endpoint of the first of them that was told last.
    pub(super) filled: Option<EndpointKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing told yet on this stream.
    Start(Option<Position>),
    /// Telling everything as of `since`, in the order of keys; `after` was told last. What has not changed since
    /// `base` the receiver has already.
    Snapshot { since: u64, base: Option<u64>, after: Option<Key> },
    /// Everything up to `revision` is told; `synced` whether that was said.
    Deltas { revision: u64, synced: bool },
}

impl Cursor {
    /// Begins with what the receiver asks for.
    pub fn new(ask: Ask) -> Self {
        let Ask { position, interest, keeps } = ask;
        Self {
            phase: Phase::Start(position),
            interest,
            keeps,
            taken: 0,
            acknowledged: 0,
            said: 0,
            fill: BTreeSet::new(),
            filled: None,
        }
    }

    /// For a receiver that wants everything, and begins where it left off, if it was here before.
    pub fn everything(position: Option<Position>) -> Self {
        Self::new(Ask { position, ..Ask::default() })
    }

    /// Takes in that the receiver wants something else. It is told so before it is told anything else.
    pub fn want(&mut self, want: Want) {
        self.taken += 1;
        let Interest::Only(names) = &mut self.interest else { return };
        for name in want.remove.iter().chain(&want.add) {
            // What is under way for it begins anew, or ends.
            if self.filled.as_ref().is_some_and(|last| last.service.name == *name) {
                self.filled = None;
            }
        }
        for name in &want.remove {
            names.remove(name);
            self.fill.remove(name);
        }
        for name in want.add {
            names.insert(name.clone());
            self.fill.insert(name);
        }
    }

    /// How many services' endpoints it wants; none for all.
    pub fn named(&self) -> Option<usize> {
        self.interest.named()
    }

    /// Whether the object is to be told in its turn: wanted, and not about to be told with its service.
    pub(super) fn tells(&self, key: &Key) -> bool {
        match key {
            Key::Endpoint(endpoint) => self.tells_endpoint(&endpoint.service.name),
            _ => true,
        }
    }

    /// The same, of an object.
    pub(super) fn tells_object(&self, object: &Object) -> bool {
        match object {
            Object::Endpoint(endpoint) => self.tells_endpoint(&endpoint.key.service.name),
            _ => true,
        }
    }

    fn tells_endpoint(&self, of: &ObjectName) -> bool {
        self.interest.has(of) && !self.fill.contains(of)
    }
}
