//! The receiver's side: turns what is told into changes, and remembers the place.

use std::collections::BTreeSet;

use model::{Change, Cluster, Key, Kind, Object, World};

use super::{Bounds, Position, Reason, Refusal, Refusals, Told};

/// What a receiver has already: where it left off, and which objects it holds from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Where it left off.
    pub position: Option<Position>,
    /// What it holds.
    pub keys: BTreeSet<Key>,
}

impl Held {
    /// Everything in `world` that `belongs` to the teller in question.
    pub fn of(world: &World, position: Option<Position>, belongs: impl Fn(&Key) -> bool) -> Self {
        Self { position, keys: world.objects().map(|o| o.key()).filter(belongs).collect() }
    }

    /// The changes that take all of it away: endpoints before the services and nodes they refer to.
    pub fn deletions(self) -> Vec<Change> {
        self.keys.into_iter().rev().map(Change::Delete).collect()
    }
}

/// What came of something heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// What is different now.
    pub changes: Vec<Change>,
    /// Refusals that were not reported before.
    pub refused: Vec<Refusal>,
    /// Whether everything up to the mirror's position is now known.
    pub synced: bool,
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No stream.
    Idle,
    /// A snapshot was asked for in the middle of a stream; what arrives before it no longer counts.
    Waiting,
    /// Everything that is told until `Synced` is all there is.
    Snapshot { epoch: u64, seen: BTreeSet<Key> },
    /// Changes since the position.
    Deltas { epoch: u64, revision: u64 },
}

/// A receiver's copy of what one teller says: the keys, not the objects, which live in the caller's [`World`].
#[derive(Debug)]
pub struct Mirror {
    bounds: Option<Bounds>,
    position: Option<Position>,
    known: BTreeSet<Key>,
    phase: Phase,
    refusals: Refusals,
}

impl Mirror {
    /// A mirror of a teller that may say anything: an agent's own controller.
    pub fn trusting(held: Held) -> Self {
        Self::build(None, held)
    }

    /// A mirror of a peer cluster.
    pub fn of_peer(peer: Cluster, held: Held) -> Self {
        Self::build(Some(Bounds::new(peer)), held)
    }

    fn build(bounds: Option<Bounds>, held: Held) -> Self {
        let Held { position, keys } = held;
        Self { bounds, position, known: keys, phase: Phase::Idle, refusals: Refusals::default() }
    }

    /// Where to resume: hand this to the teller when a stream begins.
    pub fn position(&self) -> Option<Position> {
        self.position
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
        self.known.iter().filter(|key| key.kind() == kind).count()
    }

    /// The stream is gone.
    pub fn handle_break(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Ends the mirror. What it held is the caller's to keep or to delete.
    pub fn into_held(self) -> Held {
        Held { position: self.position, keys: self.known }
    }

    /// Takes in what did not parse. `key` is what it was about, if that could be read: what was held under it is
    /// no longer so.
    pub fn handle_malformed(&mut self, key: Option<Key>, detail: String) -> Heard {
        let mut heard = Heard::default();
        self.refuse(Refusal { reason: Reason::Malformed, key, detail }, &mut heard);
        heard
    }

    /// Takes in what was told. `others` are all other clusters known here, the own one among them.
    pub fn handle(&mut self, told: Told, others: &[Cluster]) -> Result<Heard, OutOfTurn> {
        let mut heard = Heard::default();
        match told {
            Told::Begin { epoch, snapshot: true } => {
                self.phase = Phase::Snapshot { epoch, seen: BTreeSet::new() };
            }
            Told::Begin { epoch, snapshot: false } => {
                let revision =
                    self.position.filter(|p| p.epoch == epoch).ok_or(OutOfTurn::BeforeBegin)?.revision;
                self.phase = Phase::Deltas { epoch, revision };
            }
            Told::Batch { .. } | Told::Synced { .. } if self.phase == Phase::Waiting => {}
            Told::Batch { changes, revision } => {
                self.advance(revision)?;
                for tell in changes {
                    self.take(tell.into(), others, &mut heard);
                }
                // A snapshot begins with the cluster, so what follows in it is checked by the new ranges already.
                heard.resync &= matches!(self.phase, Phase::Deltas { .. });
                if heard.resync {
                    self.position = None;
                    self.phase = Phase::Waiting;
                }
            }
            Told::Synced { position } => self.finish(position, &mut heard)?,
        }
        Ok(heard)
    }

    /// Moves the position with a batch of deltas; a snapshot counts only when it is whole.
    fn advance(&mut self, to: u64) -> Result<(), OutOfTurn> {
        match &mut self.phase {
            Phase::Idle => Err(OutOfTurn::BeforeBegin),
            Phase::Waiting | Phase::Snapshot { .. } => Ok(()),
            Phase::Deltas { revision, .. } if to < *revision => {
                Err(OutOfTurn::Backwards { from: *revision, to })
            }
            Phase::Deltas { epoch, revision } => {
                *revision = to;
                self.position = Some(Position { epoch: *epoch, revision: to });
                Ok(())
            }
        }
    }

    fn take(&mut self, change: Change, others: &[Cluster], heard: &mut Heard) {
        if let Err(refusal) = self.check(&change, others) {
            self.refuse(*refusal, heard);
            return;
        }
        let key = change.key();
        match &change {
            Change::Upsert(object) => {
                if let (Object::Cluster(cluster), Some(bounds)) = (object, &mut self.bounds) {
                    heard.resync |= bounds.accept(cluster);
                }
                if let Phase::Snapshot { seen, .. } = &mut self.phase {
                    seen.insert(key.clone());
                }
                self.known.insert(key);
            }
            Change::Delete(_) => {
                if let Phase::Snapshot { seen, .. } = &mut self.phase {
                    seen.remove(&key);
                }
                if !self.known.remove(&key) {
                    return;
                }
            }
        }
        heard.changes.push(change);
    }

    fn check(&self, change: &Change, others: &[Cluster]) -> Result<(), Box<Refusal>> {
        match (&self.bounds, change) {
            (None, _) => Ok(()),
            (Some(bounds), Change::Upsert(object)) => bounds.check(object, others),
            (Some(bounds), Change::Delete(key)) => bounds.check_key(key),
        }
    }

    /// Counts a refusal. What was held under the key is no longer what the teller says, so it goes.
    fn refuse(&mut self, refusal: Refusal, heard: &mut Heard) {
        if let Some(key) = &refusal.key {
            if let Phase::Snapshot { seen, .. } = &mut self.phase {
                seen.remove(key);
            }
            if self.known.remove(key) {
                heard.changes.push(Change::Delete(key.clone()));
            }
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
        if let Phase::Snapshot { seen, .. } = std::mem::replace(&mut self.phase, deltas) {
            // Endpoints before the services and nodes they refer to.
            let gone: Vec<Key> = self.known.iter().rev().filter(|key| !seen.contains(key)).cloned().collect();
            self.known = seen;
            heard.changes.extend(gone.into_iter().map(Change::Delete));
        }
        self.position = Some(position);
        heard.synced = true;
        Ok(())
    }
}
