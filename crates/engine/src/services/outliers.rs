//! Backends that say they are ready and fail the connects that services lead to them: found by what the data path has
//! counted of this node's clients, and let back after a while. Services are not known here, and so not how many of its
//! backends one can do without: see [`super::Ejected`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Ejected, Ejection};

/// So many connects that fail, with none answered between them, are enough.
const ROW: u64 = 3;
/// So many are enough within [`WINDOW`] if at least half of all that were dialled failed.
const FAILURES: u64 = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// Who was ejected once is left out for so long, who was so twice for twice as long, and so on.
const BASE: Duration = Duration::from_secs(10);
/// But not longer.
const LONGEST: Duration = Duration::from_secs(300);
/// After so many answers in a row one failure is forgiven again; and who has to stay in a service, because too many of it
/// are ejected, is taken for well.
const ANSWERS: u64 = 3;
/// Answers soon after an ejection are to connects from before it.
const LATE: Duration = Duration::from_secs(2);
/// Who has failed nobody for so long begins anew.
const CALM: Duration = Duration::from_secs(300);

/// What became of connects to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connects {
    /// So many were answered.
    pub established: u64,
    /// So many were refused, by a reset or by an error of the network.
    pub refused: u64,
    /// To so many there was no answer.
    pub unanswered: u64,
}

impl Connects {
    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.refused.saturating_add(self.unanswered)
    }

    /// How many there were.
    pub fn all(&self) -> u64 {
        self.established.saturating_add(self.failed())
    }

    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            established: f(self.established, other.established),
            refused: f(self.refused, other.refused),
            unanswered: f(self.unanswered, other.unanswered),
        }
    }

    /// What was counted since. Who counts less than before has begun anew.
    fn since(self, before: Self) -> Self {
        let newer = self.established >= before.established
            && self.refused >= before.refused
            && self.unanswered >= before.unanswered;
        if newer { self.each(before, u64::saturating_sub) } else { self }
    }
}

/// Watches backends. To be given what the data path has counted again and again, several times a second while there is
/// something.
#[derive(Debug, Default)]
pub struct Outliers {
    backends: BTreeMap<SocketAddr, Backend>,
    ejections: u64,
}

/// What is known of a backend that has failed somebody.
#[derive(Debug, Default)]
struct Backend {
    /// What the data path had counted the last time.
    counted: Connects,
    /// What was new, and when, within [`WINDOW`].
    recent: VecDeque<(Duration, Connects)>,
    /// How many have failed since one was answered.
    row: u64,
    /// How many were answered since one failed.
    answers: u64,
    /// When the last one failed.
    failed_at: Duration,
    /// How often it was ejected.
    times: u32,
    /// It is back and has to show that it is well.
    on_trial: bool,
    out: Option<Out>,
}

/// An ejection.
#[derive(Debug, Clone, Copy)]
struct Out {
    since: Duration,
    until: Duration,
    /// What it was ejected for.
    connects: Connects,
}

impl Outliers {
    /// Takes in what the data path has counted, of every backend that it counts. `excused` says of backends that have failed
    /// which ones could not do otherwise: those on nodes that do not answer. Returns who was ejected and who is back.
    pub fn handle_counts(
        &mut self,
        counts: &BTreeMap<SocketAddr, Connects>,
        now: Duration,
        excused: impl FnOnce(&BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr>,
    ) -> BTreeSet<SocketAddr> {
        // Who is not counted any more has to make room there; what it did is forgotten unless it is out.
        self.backends.retain(|address, backend| backend.out.is_some() || counts.contains_key(address));
        let before = |address| self.backends.get(address).map(|known| known.counted).unwrap_or_default();
        let failing = counts.iter().filter(|(address, counted)| counted.since(before(address)).failed() > 0);
        let failing: BTreeSet<SocketAddr> = failing.map(|(address, _)| *address).collect();
        let excused = if failing.is_empty() { failing } else { excused(&failing) };
        for (address, counted) in counts {
            let backend = self.backends.entry(*address).or_default();
            let new = counted.since(backend.counted);
            backend.counted = *counted;
            if !excused.contains(address) {
                backend.take(new, now);
            }
        }
        let mut changed = BTreeSet::new();
        for (address, backend) in &mut self.backends {
            let was_out = backend.out.is_some();
            backend.judge(now);
            if was_out != backend.out.is_some() {
                changed.insert(*address);
                self.ejections += u64::from(!was_out);
            }
        }
        changed
    }

    /// Who is ejected now.
    pub fn ejected(&self, now: Duration) -> Ejected {
        let out = self.backends.iter().filter_map(|(address, backend)| Some((*address, backend.out?)));
        out.map(|(address, Out { since, until, connects })| {
            (address, Ejection { since, left: until.saturating_sub(now), connects })
        })
        .collect()
    }

    /// How often a backend was ejected so far.
    pub fn ejections(&self) -> u64 {
        self.ejections
    }
}

impl Backend {
    fn take(&mut self, new: Connects, now: Duration) {
        while self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.recent.pop_front();
        }
        if new.all() == 0 {
            return;
        }
        self.recent.push_back((now, new));
        // In which order they came between two looks nobody knows: who has answered has not failed in a row.
        self.row = if new.established > 0 { 0 } else { self.row.saturating_add(new.failed()) };
        self.answers = if new.failed() > 0 { 0 } else { self.answers.saturating_add(new.established) };
        if new.failed() > 0 {
            self.failed_at = now;
        }
    }

    fn judge(&mut self, now: Duration) {
        match self.out {
            Some(out) => {
                if now < out.since + LATE {
                    self.answers = 0;
                }
                if now >= out.until || self.answers >= ANSWERS {
                    self.come_back();
                }
            }
            None => {
                if self.answers >= ANSWERS {
                    self.on_trial = false;
                }
                if now.saturating_sub(self.failed_at) >= CALM {
                    (self.times, self.on_trial) = (0, false);
                }
                let connects = self.seen();
                if self.fails(&connects) {
                    self.eject(connects, now);
                }
            }
        }
    }

    fn seen(&self) -> Connects {
        self.recent.iter().fold(Connects::default(), |sum, (_, new)| sum.each(*new, u64::saturating_add))
    }

    fn fails(&self, seen: &Connects) -> bool {
        let enough = if self.on_trial { 1 } else { ROW };
        let often = seen.failed() >= FAILURES && seen.failed() >= seen.established;
        self.row >= enough || often
    }

    fn eject(&mut self, connects: Connects, now: Duration) {
        self.times = self.times.saturating_add(1);
        let until = now + BASE.saturating_mul(self.times).min(LONGEST);
        self.out = Some(Out { since: now, until, connects });
        self.answers = 0;
    }

    /// What was dialled before, or because nobody else was left, is not held against it.
    fn come_back(&mut self) {
        *self = Self {
            counted: self.counted,
            failed_at: self.failed_at,
            times: self.times,
            on_trial: self.answers < ANSWERS,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests;
