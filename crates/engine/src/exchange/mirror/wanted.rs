//! What a receiver wants of a teller, what it has asked for, and for what it has been told all there is.
//!
//! A teller takes in what is wanted one [`Want`] after the other and says so (`Taken`): not before may anything of it
//! be believed, since what was under way belongs to the time before. With the next `Synced` it is whole.

use std::collections::{BTreeSet, VecDeque};

use model::{Key, NodeName};

use crate::exchange::{Interest, Topics, Want};

/// Names of services in one frame: far below what a frame holds. Clusters are few.
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
    asked: VecDeque<(u32, Topics)>,
    sent: u32,
    /// Whether more is told than is known in full.
    growing: bool,
    /// Whether the teller minds what is wanted.
    heeds: bool,
    /// The node whose agent wants it, if one does.
    agent: Option<NodeName>,
}

impl Wanted {
    pub(super) fn new(whole: Interest, agent: Option<NodeName>) -> Self {
        Self {
            wanted: whole.clone(),
            told: whole.clone(),
            whole,
            asked: VecDeque::new(),
            sent: 0,
            growing: false,
            heeds: false,
            agent,
        }
    }

    /// What is known in full.
    pub(super) fn whole(&self) -> &Interest {
        &self.whole
    }

    /// The node whose agent wants it.
    pub(super) fn agent(&self) -> Option<&NodeName> {
        self.agent.as_ref()
    }

    /// Whether an object is to be believed now. `node`: the node that a pod is on.
    pub(super) fn believes(&self, key: &Key, node: Option<&NodeName>) -> bool {
        self.told.covers(key, node, self.agent.as_ref())
    }

    /// Whether something was asked for and has not been taken in.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether an object is one that was asked for and has not been told yet.
    pub(super) fn awaits(&self, key: &Key) -> bool {
        self.asked.iter().any(|(_, topics)| topics.cover(key))
    }

    /// Begins a stream. Returns what to claim as known in full, and what to want beyond it; with the first, whether
    /// anything can be claimed at all: if not, it is what is wanted with everything.
    pub(super) fn open(&mut self, wanted: Interest, heeds: bool) -> (Interest, bool, Vec<Want>) {
        self.asked.clear();
        self.sent = 0;
        self.heeds = heeds;
        self.wanted = wanted;
        let now = self.effective().clone();
        // Somebody else than an agent is told of nothing just because it knows of it.
        let knows = self.agent.is_none() || self.whole.policing || !now.policing;
        let claims = knows && (self.whole.every_service || !now.every_service);
        let mut known = Topics::default();
        let mut rest = Topics::default();
        for name in now.topics.services {
            let has = !claims || self.whole.every_service || self.whole.topics.services.contains(&name);
            match has && known.services.len() < 2 * NAMES {
                true => known.services.insert(name),
                false => rest.services.insert(name),
            };
        }
        for cluster in now.topics.pods {
            match !claims || self.whole.topics.pods.contains(&cluster) {
                true => known.pods.insert(cluster),
                false => rest.pods.insert(cluster),
            };
        }
        known.policies = now.topics.policies && (!claims || self.whole.topics.policies);
        rest.policies = now.topics.policies && !known.policies;
        let asked = Interest { topics: known, ..now };
        self.whole = if claims { asked.clone() } else { Interest::nothing() };
        self.told = asked.clone();
        self.growing = !claims;
        (asked, claims, self.ask(rest, Topics::default()))
    }

    /// Wants something else on a stream that runs. Returns what to say.
    pub(super) fn want(&mut self, wanted: Interest) -> Vec<Want> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let alike =
            before.every_service == self.wanted.every_service && before.policing == self.wanted.policing;
        if !alike || !self.heeds {
            return Vec::new();
        }
        let add = self.wanted.topics.without(&before.topics);
        let remove = before.topics.without(&self.wanted.topics);
        for interest in [&mut self.told, &mut self.whole] {
            interest.topics.remove(&remove);
        }
        for (_, topics) in &mut self.asked {
            topics.remove(&remove);
        }
        self.ask(add, remove)
    }

    /// Whether what belongs to this key is of any use. `node`: the node that a pod is on.
    pub(super) fn uses(&self, key: &Key, node: Option<&NodeName>) -> bool {
        self.effective().covers(key, node, self.agent.as_ref())
    }

    /// The teller has taken in so many. Returns what it tells of from here on.
    pub(super) fn take(&mut self, wants: u32) -> Topics {
        let mut new = Topics::default();
        while let Some((number, _)) = self.asked.front()
            && *number <= wants
        {
            if let Some((_, topics)) = self.asked.pop_front() {
                new.add(&topics);
            }
        }
        self.told.topics.add(&new);
        self.growing |= !new.is_empty();
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

    /// What is to be had at most: a teller that does not mind tells everything that it knows of.
    fn effective(&self) -> &Interest {
        static UNHEEDED: Interest = Interest {
            every_service: true,
            policing: false,
            topics: Topics { services: BTreeSet::new(), pods: BTreeSet::new(), policies: false },
        };
        if self.heeds { &self.wanted } else { &UNHEEDED }
    }

    fn ask(&mut self, add: Topics, remove: Topics) -> Vec<Want> {
        // What is few goes with the first.
        let part = |services: &mut dyn Iterator<Item = _>, rest: &mut Topics| Topics {
            services: services.take(NAMES).collect(),
            ..std::mem::take(rest)
        };
        let (mut more, mut less) = (
            Topics { services: BTreeSet::new(), ..add.clone() },
            Topics { services: BTreeSet::new(), ..remove.clone() },
        );
        let (mut add, mut remove) =
            (add.services.into_iter().peekable(), remove.services.into_iter().peekable());
        let mut wants = Vec::new();
        while add.peek().is_some() || remove.peek().is_some() || !more.is_empty() || !less.is_empty() {
            let want = Want { remove: part(&mut remove, &mut less), add: part(&mut add, &mut more) };
            self.sent += 1;
            self.asked.push_back((self.sent, want.add.clone()));
            wants.push(want);
        }
        wants
    }
}
