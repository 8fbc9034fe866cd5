//! The receiver's side: turns what is told into changes, and remembers the place.

use std::collections::{BTreeMap, BTreeSet};

use model::policy::Labels;
use model::{Change, Cluster, Key, Kind, NodeName, Object, World};

mod wanted;

use super::interest::{node_of, together};
use super::{
    Around, Ask, Bounds, Budget, Interest, Measure, Overrun, Position, Reason, Refusal, Refusals, Tell, Told,
    Topics, Want, digest, weight,
};
use wanted::Wanted;

/// What a receiver has already: where it left off, and which objects it holds from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Where it left off.
    pub position: Option<Position>,
    /// What it holds in full as of that position, beyond what always travels.
    pub interest: Interest,
    /// What it holds, and what that weighs.
    pub keys: BTreeMap<Key, u32>,
    /// The node whose agent it is, if it is one.
    pub agent: Option<NodeName>,
    /// The pods of that node among the keys.
    pub local: BTreeSet<Key>,
}

impl Held {
    /// Everything in `world` that `belongs` to the teller in question.
    pub fn of(world: &World, position: Option<Position>, belongs: impl Fn(&Key) -> bool) -> Self {
        let weighed = world.objects().map(|object| (object.key(), heft(&object)));
        let keys = weighed.filter(|(key, _)| belongs(key)).collect();
        Self { position, keys, ..Self::default() }
    }

    /// Everything in `world`, all of it heard by the agent of a node.
    pub fn of_agent(world: &World, position: Option<Position>, node: NodeName) -> Self {
        let pods = world.pods.values().filter(|pod| pod.node.as_ref() == Some(&node));
        let local = pods.map(|pod| Key::Pod(pod.name.clone())).collect();
        Self { local, agent: Some(node), ..Self::of(world, position, |_| true) }
    }

    /// The same, where this is held in full.
    pub fn with_interest(self, interest: Interest) -> Self {
        Self { interest, ..self }
    }

    /// The changes that take all of it away: endpoints before the services and nodes they refer to.
    pub fn deletions(self) -> Vec<Change> {
        self.keys.into_keys().rev().map(Change::Delete).collect()
    }
}

/// What an object counts against the budget.
fn heft(object: &Object) -> u32 {
    weight(object).try_into().unwrap_or(u32::MAX)
}

/// What to say to a teller when a stream begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// What to ask for.
    pub ask: Ask,
    /// What to want beyond that.
    pub wants: Vec<Want>,
    /// What is not of any use any more, and goes.
    pub dropped: Vec<Change>,
}

/// What came of something heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is different now.
    pub changes: Vec<Change>,
    /// Refusals that were not reported before.
    pub refused: Vec<Refusal>,
    /// Whether everything up to the mirror's position is now known, as far as it is wanted.
    pub synced: bool,
    /// Whether [`Mirror::interest`] has grown.
    pub grown: bool,
    /// That there would be more than the budget allows. The rest was not taken in, and the stream is of no more use.
    pub overrun: Option<Overrun>,
    /// Whether the teller has to be asked for a snapshot, because what it may say has changed.
    pub resync: bool,
}

/// The teller does not keep to the protocol. The stream is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// Something before the first `Begin`.
    #[error("objects arrived before the beginning of a snapshot or of deltas")]
    BeforeBegin,
    /// A revision lower than one heard before in the same log.
    #[error("the revision went backwards, from {from} to {to}")]
    Backwards {
        /// What was heard before.
        from: u64,
        /// What was heard now.
        to: u64,
    },
    /// `Synced` for another log than was begun.
    #[error("the epoch changed in the middle of a stream, from {from} to {to}")]
    Epoch {
        /// What was begun.
        from: u64,
        /// What was ended.
        to: u64,
    },
    /// Something is as it was, outside of a snapshot for whoever was here before.
    #[error("objects were said to be as before to somebody who was not told of any")]
    Keep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No stream.
    Idle,
    /// A snapshot was asked for in the middle of a stream; what arrives before it no longer counts.
    Waiting,
    /// Everything that is told until `Synced` is all there is.
    /// `weight`: of what was seen, at least.
    Snapshot { epoch: u64, seen: BTreeSet<Key>, weight: u64, before: Before },
    /// Changes since the position.
    Deltas { epoch: u64, revision: u64 },
}

/// The objects that were held when a snapshot began, for a teller that says which are as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Before {
    /// It does not know what we hold.
    Unknown,
    /// It may, but has not spoken of it.
    Possible,
    /// By digest.
    Digests(BTreeMap<u64, Key>),
}

/// A receiver's copy of what one teller says: the keys, not the objects, which live in the caller's [`World`].
#[derive(Debug)]
pub struct Mirror {
    bounds: Option<Bounds>,
    budget: Budget,
    position: Option<Position>,
    known: BTreeMap<Key, u32>,
    bytes: u64,
    phase: Phase,
    wanted: Wanted,
    /// What was held of topics that are being told as they stand, until it is told again.
    unseen: BTreeSet<Key>,
    /// The pods of the agent's own node among what is held.
    local: BTreeSet<Key>,
    refusals: Refusals,
}

impl Mirror {
    /// A mirror of a teller that may say anything: an agent's own controller.
    pub fn trusting(held: Held) -> Self {
        let unbounded = Budget { objects: u64::MAX, bytes: u64::MAX, ..Budget::default() };
        Self::build(None, unbounded, held)
    }

    /// A mirror of a peer cluster.
    pub fn of_peer(peer: Cluster, held: Held) -> Self {
        Self::build(Some(Bounds::new(peer)), Budget::default(), held)
    }

    /// The same with another budget than the default.
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    fn build(bounds: Option<Bounds>, budget: Budget, held: Held) -> Self {
        let Held { position, interest, keys, agent, local } = held;
        Self {
            bounds,
            budget,
            position,
            bytes: keys.values().map(|weight| u64::from(*weight)).sum(),
            known: keys,
            phase: Phase::Idle,
            wanted: Wanted::new(interest, agent),
            unseen: BTreeSet::new(),
            local,
            refusals: Refusals::default(),
        }
    }

    /// Where to resume.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// What is held in full as of the position, beyond what always travels.
    pub fn interest(&self) -> &Interest {
        self.wanted.whole()
    }

    /// Begins a stream, or asks anew on it. `heeds`: whether the teller knows of interests, and of what may be kept; one
    /// that does not tells everything.
    pub fn open(&mut self, wanted: Interest, heeds: bool) -> Opening {
        let (interest, claims, wants) = self.wanted.open(wanted, heeds);
        self.unseen.clear();
        if !claims {
            self.position = None;
        }
        let ask = Ask { position: self.position, interest, keeps: heeds };
        Opening { ask, wants, dropped: self.drop_useless() }
    }

    /// Wants something else in the middle of a stream. What is not wanted any more goes at once.
    pub fn want(&mut self, wanted: Interest) -> (Vec<Want>, Vec<Change>) {
        let wants = self.wanted.want(wanted);
        let dropped = if wants.is_empty() { Vec::new() } else { self.drop_useless() };
        (wants, dropped)
    }

    fn drop_useless(&mut self) -> Vec<Change> {
        let agent = self.wanted.agent();
        let uses = |key: &Key| self.wanted.uses(key, agent.filter(|_| self.local.contains(key)));
        // Pods before the policies that may be about them.
        let useless: Vec<Key> = self.known.keys().rev().filter(|key| !uses(key)).cloned().collect();
        for key in &useless {
            self.forget(key);
        }
        useless.into_iter().map(Change::Delete).collect()
    }

    /// The peer, as last accepted; none for a mirror of the own controller.
    pub fn peer(&self) -> Option<&Cluster> {
        self.bounds.as_ref().map(Bounds::peer)
    }

    /// What was refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many objects of a kind are held.
    pub fn count(&self, kind: Kind) -> usize {
        self.known.keys().filter(|key| key.kind() == kind).count()
    }

    /// How many bytes they weigh.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many objects are held.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The stream is gone.
    pub fn handle_break(&mut self) {
        self.phase = Phase::Idle;
        self.wanted.handle_break();
    }

    /// Ends the mirror. What it held is the caller's to keep or to delete.
    pub fn into_held(self) -> Held {
        Held {
            position: self.position,
            interest: self.wanted.whole().clone(),
            agent: self.wanted.agent().cloned(),
            keys: self.known,
            local: self.local,
        }
    }

    /// Lets go of everything, as if nothing had ever been heard. Returns what it was.
    pub fn clear(&mut self) -> Held {
        self.position = None;
        self.bytes = 0;
        self.unseen.clear();
        self.handle_break();
        let keys = std::mem::take(&mut self.known);
        let local = std::mem::take(&mut self.local);
        let agent = self.wanted.agent().cloned();
        Held { position: None, interest: Interest::nothing(), keys, agent, local }
    }

    /// Takes in what did not parse. `key` is what it was about, if that could be read: what was held under it is
    /// no longer so.
    pub fn handle_malformed(&mut self, key: Option<Key>, detail: String) -> Heard {
        let mut heard = Heard::default();
        self.refuse(Refusal { reason: Reason::Malformed, key, detail }, &mut heard);
        heard
    }

    /// Takes in what was told. `around`: what else is known here; for a trusting mirror it means nothing.
    ///
    /// # Errors
    /// The teller does not keep to the protocol.
    pub fn handle<'a>(&mut self, told: Told, around: impl Into<Around<'a>>) -> Result<Heard, OutOfTurn> {
        let mut heard = Heard::default();
        match told {
            Told::Begin { epoch, snapshot: true } => {
                let before = match self.position.filter(|p| p.epoch == epoch) {
                    Some(_) => Before::Possible,
                    None => Before::Unknown,
                };
                self.unseen.clear();
                self.phase = Phase::Snapshot { epoch, seen: BTreeSet::new(), weight: 0, before };
            }
            Told::Begin { epoch, snapshot: false } => {
                let revision =
                    self.position.filter(|p| p.epoch == epoch).ok_or(OutOfTurn::BeforeBegin)?.revision;
                self.phase = Phase::Deltas { epoch, revision };
            }
            _ if self.phase == Phase::Waiting => {}
            Told::Batch { changes, revision } => {
                self.take_all(changes, revision, &around.into(), &mut heard)?
            }
            Told::Taken { wants } => self.begin_filling(wants)?,
            Told::Synced { position } => self.finish(position, &mut heard)?,
        }
        Ok(heard)
    }

    fn take_all(
        &mut self,
        changes: Vec<Tell>,
        revision: u64,
        around: &Around<'_>,
        heard: &mut Heard,
    ) -> Result<(), OutOfTurn> {
        match self.phase {
            Phase::Idle => return Err(OutOfTurn::BeforeBegin),
            Phase::Deltas { revision: from, .. } if revision < from => {
                return Err(OutOfTurn::Backwards { from, to: revision });
            }
            Phase::Waiting | Phase::Snapshot { .. } | Phase::Deltas { .. } => {}
        }
        // Before anything is taken in: what was taken in has to be handed out.
        if changes.iter().any(|tell| matches!(tell, Tell::Keep(_))) {
            self.look_at_what_was()?;
        }
        for tell in changes {
            match tell {
                Tell::Upsert(object) => self.take(std::sync::Arc::unwrap_or_clone(object), around, heard),
                Tell::Delete(key) => self.take_away(key, heard),
                Tell::Keep(digest) => self.keep(digest),
            }
            if heard.overrun.is_some() {
                // The position stays before the batch: whatever is told again is taken in again.
                self.handle_break();
                return Ok(());
            }
        }
        if heard.resync {
            self.position = None;
            self.phase = Phase::Waiting;
        }
        // A snapshot counts only when it is whole.
        if let Phase::Deltas { epoch, revision: at } = &mut self.phase {
            *at = revision;
            self.position = Some(Position { epoch: *epoch, revision });
        }
        Ok(())
    }

    fn take(&mut self, mut object: Object, around: &Around<'_>, heard: &mut Heard) {
        let key = object.key();
        if !self.wanted.believes(&key, node_of(&object)) {
            // A pod that is elsewhere now is none of ours any more.
            if matches!(key, Key::Pod(_)) && self.forget(&key) {
                heard.changes.push(Change::Delete(key));
            }
            return;
        }
        let checked = self.bounds.as_ref().map_or(Ok(()), |bounds| bounds.check(&object, around));
        if let Err(refusal) = checked {
            self.refuse(*refusal, heard);
            return;
        }
        if let (Object::Node(node), Some(_)) = (&mut object, &self.bounds) {
            // Policies select nodes of their own cluster.
            node.labels = Labels::new();
        }
        let weight = heft(&object);
        heard.overrun = self.overrun(&key, weight);
        if heard.overrun.is_some() {
            return;
        }
        if let (Object::Cluster(cluster), Some(bounds)) = (&object, &mut self.bounds) {
            let moved = bounds.accept(cluster);
            // A snapshot begins with the cluster, so what follows in it is checked by the new ranges already; but not
            // what it leaves as it was.
            let rechecked = matches!(self.phase, Phase::Snapshot { before: Before::Unknown, .. });
            heard.resync |= moved && !rechecked;
        }
        self.unseen.remove(&key);
        if matches!(key, Key::Pod(_)) {
            match node_of(&object).is_some_and(|node| self.wanted.agent() == Some(node)) {
                true => _ = self.local.insert(key.clone()),
                false => _ = self.local.remove(&key),
            }
        }
        if let Phase::Snapshot { seen, weight: told, .. } = &mut self.phase {
            seen.insert(key.clone());
            *told += u64::from(weight);
        }
        self.bytes += u64::from(weight);
        if let Some(before) = self.known.insert(key, weight) {
            self.bytes -= u64::from(before);
        }
        heard.changes.push(Change::Upsert(object));
    }

    fn take_away(&mut self, key: Key, heard: &mut Heard) {
        let checked = self.bounds.as_ref().map_or(Ok(()), |bounds| bounds.check_key(&key));
        if let Err(refusal) = checked {
            self.refuse(*refusal, heard);
        } else if self.forget(&key) {
            heard.changes.push(Change::Delete(key));
        }
    }

    /// Makes ready for objects that are as they were, of which there can be some in a snapshot for whoever was here before.
    fn look_at_what_was(&mut self) -> Result<(), OutOfTurn> {
        match &mut self.phase {
            Phase::Snapshot { before: Before::Digests(_), .. } => Ok(()),
            Phase::Snapshot { epoch, before: before @ Before::Possible, .. } => {
                let all = self.known.keys().map(|key| (digest(*epoch, key), key.clone()));
                *before = Before::Digests(all.collect());
                Ok(())
            }
            _ => Err(OutOfTurn::Keep),
        }
    }

    /// An object is as it was. One that we do not hold was refused, and is as refused as before.
    fn keep(&mut self, digest: u64) {
        if let Phase::Snapshot { seen, weight, before: Before::Digests(held), .. } = &mut self.phase
            && let Some(key) = held.get(&digest)
            && let Some(known) = self.known.get(key)
            && seen.insert(key.clone())
        {
            *weight += u64::from(*known);
        }
    }

    /// Whether there would be too much with this object. While a snapshot is told, what was held before it is held beside
    /// it; so as much again may be held until it is whole, but no more, however often one is begun.
    fn overrun(&self, key: &Key, weight: u32) -> Option<Overrun> {
        let before = self.known.get(key);
        let objects = self.known.len() as u64 + u64::from(before.is_none());
        let bytes = self.bytes - before.map_or(0, |weight| u64::from(*weight)) + u64::from(weight);
        let check = |measure, found: u64, limit| (found > limit).then_some(Overrun { measure, limit, found });
        let Budget { objects: most, bytes: heaviest, .. } = self.budget;
        match &self.phase {
            Phase::Snapshot { seen, weight: told, .. } => {
                let told_objects = seen.len() as u64 + u64::from(!seen.contains(key));
                check(Measure::Objects, told_objects, most)
                    .or_else(|| check(Measure::Bytes, told + u64::from(weight), heaviest))
                    .or_else(|| check(Measure::Objects, objects, most.saturating_mul(2)))
                    .or_else(|| check(Measure::Bytes, bytes, heaviest.saturating_mul(2)))
            }
            _ => check(Measure::Objects, objects, most).or_else(|| check(Measure::Bytes, bytes, heaviest)),
        }
    }

    /// Takes a key off everything. Returns whether it was held.
    fn forget(&mut self, key: &Key) -> bool {
        if let Phase::Snapshot { seen, .. } = &mut self.phase {
            seen.remove(key);
        }
        self.unseen.remove(key);
        self.local.remove(key);
        let weight = self.known.remove(key);
        self.bytes -= weight.map_or(0, u64::from);
        weight.is_some()
    }

    /// From here on the teller tells of what was wanted; first as it stands.
    fn begin_filling(&mut self, wants: u32) -> Result<(), OutOfTurn> {
        if self.phase == Phase::Idle {
            return Err(OutOfTurn::BeforeBegin);
        }
        let new: Topics = self.wanted.take(wants);
        // In a snapshot everything has to be told again anyway.
        let teller = match (&self.bounds, self.wanted.agent()) {
            (Some(bounds), _) => Some(&bounds.peer().name),
            (None, agent) => agent.map(|agent| &agent.cluster),
        };
        if let (Phase::Deltas { .. }, Some(teller)) = (&self.phase, teller) {
            for first in new.iter().flat_map(|topic| topic.firsts(teller)) {
                let its = self.known.range(&first..).map(|(key, _)| key);
                self.unseen.extend(its.take_while(|key| together(&first, key)).cloned());
            }
        }
        Ok(())
    }

    /// Counts a refusal. What was held under the key is no longer what the teller says, so it goes.
    fn refuse(&mut self, refusal: Refusal, heard: &mut Heard) {
        if let Some(key) = &refusal.key
            && self.forget(key)
        {
            heard.changes.push(Change::Delete(key.clone()));
        }
        if self.refusals.note(&refusal) {
            heard.refused.push(refusal);
        }
    }

    fn finish(&mut self, position: Position, heard: &mut Heard) -> Result<(), OutOfTurn> {
        let begun = match &self.phase {
            Phase::Idle | Phase::Waiting => return Err(OutOfTurn::BeforeBegin),
            Phase::Snapshot { epoch, .. } | Phase::Deltas { epoch, .. } => *epoch,
        };
        if begun != position.epoch {
            return Err(OutOfTurn::Epoch { from: begun, to: position.epoch });
        }
        if let Phase::Deltas { revision, .. } = self.phase
            && position.revision < revision
        {
            return Err(OutOfTurn::Backwards { from: revision, to: position.revision });
        }
        let deltas = Phase::Deltas { epoch: position.epoch, revision: position.revision };
        let gone: Vec<Key> = match std::mem::replace(&mut self.phase, deltas) {
            Phase::Snapshot { seen, .. } => {
                let gone = self.known.keys().rev().filter(|key| !seen.contains(key));
                // What was asked for and is not told yet will be told as it stands; but what is told in any case was told.
                let agent = self.wanted.agent();
                let node = |key: &Key| agent.filter(|_| self.local.contains(key));
                let waits = |key: &Key| self.wanted.awaits(key) && !self.wanted.believes(key, node(key));
                gone.filter(|key| !waits(key)).cloned().collect()
            }
            _ => std::mem::take(&mut self.unseen).into_iter().collect(),
        };
        for key in &gone {
            self.forget(key);
        }
        // Endpoints before the services and nodes they refer to.
        heard.changes.extend(gone.into_iter().map(Change::Delete));
        self.position = Some(position);
        heard.grown = self.wanted.finish();
        heard.synced = !self.wanted.is_waiting();
        Ok(())
    }
}
