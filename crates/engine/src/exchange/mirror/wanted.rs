//! What a receiver wants of a teller, what it has asked for, and for what it has been told all there is.
//!
//! A teller takes in what is wanted one [`Want`] after the other and says so (`Taken`): not before may anything of it
//! be believed, since what was under way belongs to the time before. With the next `Synced` it is whole.

use std::collections::{BTreeSet, VecDeque};

use model::{EndpointKey, Key, ObjectName};

use crate::exchange::{Interest, Want};

/// Names in one frame: far below what a frame holds.
const NAMES: usize = 4096;

#[derive(Debug)]
pub(super) struct Wanted {
    /// What is wanted.
    wanted: Interest,
    /// What is told on this stream.
    told: Interest,
    /// What is known in full as of the mirror's position.
    whole: Interest,
    /// What was asked for and not taken in yet, each with its number.
    asked: VecDeque<(u32, BTreeSet<ObjectName>)>,
    sent: u32,
    /// Whether more is told than is known in full.
    growing: bool,
    /// Whether the teller minds what is wanted.
    heeds: bool,
}

impl Wanted {
    pub(super) fn new(whole: Interest) -> Self {
        Self {
            wanted: whole.clone(),
            told: whole.clone(),
            whole,
            asked: VecDeque::new(),
            sent: 0,
            growing: false,
            heeds: false,
        }
    }

    /// What is known in full.
    pub(super) fn whole(&self) -> &Interest {
        &self.whole
    }

    /// Whether an endpoint of this service is to be believed now.
    pub(super) fn believes(&self, service: &ObjectName) -> bool {
        self.told.has(service)
    }

    /// Whether something was asked for and has not been taken in.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether an object is one that was asked for and has not been told yet.
    pub(super) fn awaits(&self, key: &Key) -> bool {
        let Key::Endpoint(EndpointKey { service, .. }) = key else { return false };
        self.asked.iter().any(|(_, names)| names.contains(&service.name))
    }

    /// Begins a stream. Returns what to claim as known in full, and what to want beyond it; none of the first if nothing
    /// can be claimed at all.
    pub(super) fn open(&mut self, wanted: Interest, heeds: bool) -> (Option<Interest>, Vec<Want>) {
        self.asked.clear();
        self.sent = 0;
        self.heeds = heeds;
        self.wanted = wanted;
        let (claim, rest) = match (&self.whole, self.effective()) {
            (Interest::Everything, Interest::Everything) => (Some(Interest::Everything), BTreeSet::new()),
            (Interest::Only(_), Interest::Everything) => (None, BTreeSet::new()),
            (whole, Interest::Only(names)) => {
                let (mut known, mut rest) = (BTreeSet::new(), BTreeSet::new());
                for name in names {
                    match whole.has(name) && known.len() < 2 * NAMES {
                        true => known.insert(name.clone()),
                        false => rest.insert(name.clone()),
                    };
                }
                (Some(Interest::Only(known)), rest)
            }
        };
        self.whole = claim.clone().unwrap_or_else(Interest::nothing);
        self.told = claim.clone().unwrap_or_default();
        self.growing = claim.is_none();
        (claim, self.ask(rest, BTreeSet::new()))
    }

    /// Wants something else on a stream that runs. Returns what to say.
    pub(super) fn want(&mut self, wanted: Interest) -> Vec<Want> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let (Interest::Only(before), Interest::Only(now), true) = (&before, &self.wanted, self.heeds) else {
            return Vec::new();
        };
        let add: BTreeSet<_> = now.difference(before).cloned().collect();
        let remove: BTreeSet<_> = before.difference(now).cloned().collect();
        for interest in [&mut self.told, &mut self.whole] {
            if let Interest::Only(names) = interest {
                names.retain(|name| !remove.contains(name));
            }
        }
        for (_, names) in &mut self.asked {
            names.retain(|name| !remove.contains(name));
        }
        self.ask(add, remove)
    }

    /// Whether what belongs to this key is of any use.
    pub(super) fn uses(&self, key: &Key) -> bool {
        self.effective().covers(key)
    }

    /// The teller has taken in so many. Returns the services that it tells of from here on.
    pub(super) fn take(&mut self, wants: u32) -> BTreeSet<ObjectName> {
        let mut new = BTreeSet::new();
        while let Some((number, _)) = self.asked.front()
            && *number <= wants
        {
            new.extend(self.asked.pop_front().into_iter().flat_map(|(_, names)| names));
        }
        if let Interest::Only(names) = &mut self.told {
            names.extend(new.iter().cloned());
            self.growing |= !new.is_empty();
        }
        new
    }

    /// Everything that is told is known. Returns whether more is known in full than before.
    pub(super) fn finish(&mut self) -> bool {
        let grown = std::mem::take(&mut self.growing);
        if grown {
            self.whole = self.told.clone();
        }
        grown
    }

    /// The stream is gone.
    pub(super) fn handle_break(&mut self) {
        self.asked.clear();
    }

    /// What is to be had at most: a teller that does not mind tells everything.
    fn effective(&self) -> &Interest {
        if self.heeds { &self.wanted } else { &Interest::Everything }
    }

    fn ask(&mut self, add: BTreeSet<ObjectName>, remove: BTreeSet<ObjectName>) -> Vec<Want> {
        let (mut add, mut remove) = (add.into_iter().peekable(), remove.into_iter().peekable());
        let mut wants = Vec::new();
        while add.peek().is_some() || remove.peek().is_some() {
            let want = Want {
                remove: remove.by_ref().take(NAMES).collect(),
                add: add.by_ref().take(NAMES).collect(),
            };
            self.sent += 1;
            self.asked.push_back((self.sent, want.add.clone()));
            wants.push(want);
        }
        wants
    }
}
