//! Sets of things, each with a number: ranges that contain an address, names that led to it. A rule about one of the things
//! is about every set with it.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::number;
use crate::plan::policing::Peer;

/// The number of a thing in a set: a hash of what it is.
pub(super) type Member = u64;

/// The sets that are in use.
#[derive(Debug)]
pub(super) struct Classes {
    kind: &'static [u8; 8],
    users: BTreeMap<Peer, (Vec<Member>, usize)>,
    of: BTreeMap<Member, BTreeSet<Peer>>,
    changed: BTreeSet<(Member, Peer)>,
}

impl Classes {
    /// None yet. The kind is part of their numbers.
    pub(super) fn new(kind: &'static [u8; 8]) -> Self {
        Self { kind, users: BTreeMap::new(), of: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// One user more of a set. The empty one has no number of its own.
    pub(super) fn acquire(&mut self, members: &BTreeSet<Member>) -> Peer {
        if members.is_empty() {
            return Peer::ANY;
        }
        let class = Peer(number(self.kind, members));
        let (_, users) = self.users.entry(class).or_insert_with(|| {
            for member in members {
                self.of.entry(*member).or_default().insert(class);
                self.changed.insert((*member, class));
            }
            (members.iter().copied().collect(), 0)
        });
        *users += 1;
        class
    }

    /// One user less.
    pub(super) fn release(&mut self, class: Peer) {
        let Some((_, users)) = self.users.get_mut(&class) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        let (members, _) = self.users.remove(&class).unwrap_or_default();
        for member in members {
            if let Some(classes) = self.of.get_mut(&member) {
                classes.remove(&class);
                if classes.is_empty() {
                    self.of.remove(&member);
                }
            }
            self.changed.insert((member, class));
        }
    }

    /// The sets that a thing is in.
    pub(super) fn of(&self, member: Member) -> impl Iterator<Item = Peer> + '_ {
        self.of.get(&member).into_iter().flatten().copied()
    }

    /// Whether a set has a thing.
    pub(super) fn has(&self, class: Peer, member: Member) -> bool {
        self.users.get(&class).is_some_and(|(members, _)| members.binary_search(&member).is_ok())
    }

    /// Which sets of which things came or went since it was asked last.
    pub(super) fn poll_changed(&mut self) -> BTreeSet<(Member, Peer)> {
        std::mem::take(&mut self.changed)
    }
}
