//! What there is to say about which object, and when: complaints in, notes out. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Complaint;
use crate::manifest::Id;

/// A repeat comes not sooner than this.
const REPEAT: Duration = Duration::from_secs(600);
/// After a failure it is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);
/// What is remembered as said. Beyond it nothing is said: the status has everything.
const REMEMBERED: usize = 20_000;

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// About which object.
    pub id: Id,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence or more.
    pub message: String,
    /// How many times it is said now.
    pub times: u32,
}

type Key = (Id, &'static str);

#[derive(Debug)]
struct Said {
    at: Duration,
    times: u32,
}

/// What is wrong with objects, and what was said of that.
#[derive(Debug, Default)]
pub struct Ledger {
    wrong: BTreeMap<Key, String>,
    said: BTreeMap<Key, Said>,
    due: BTreeSet<(Duration, Key)>,
    due_at: BTreeMap<Key, Duration>,
    /// What was said, oldest first.
    aging: BTreeSet<(Duration, Key)>,
}

impl Ledger {
    /// What is wrong with an object, in place of what was.
    pub fn handle(&mut self, id: &Id, complaints: &[Complaint], now: Duration) {
        self.forget(now);
        let mut wrong: BTreeMap<&'static str, String> = BTreeMap::new();
        for Complaint { reason, message } in complaints {
            let text = wrong.entry(reason).or_default();
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(message);
        }
        let of_object = (id.clone(), "")..=(id.clone(), "\u{10ffff}");
        let before: Vec<Key> = self.wrong.range(of_object).map(|(key, _)| key.clone()).collect();
        for key in before {
            if !wrong.contains_key(key.1) {
                self.wrong.remove(&key);
                self.unschedule(&key);
            }
        }
        for (reason, message) in wrong {
            let key = (id.clone(), reason);
            if self.wrong.insert(key.clone(), message.clone()) != Some(message) {
                self.make_due(key, now);
            }
        }
    }

    /// What to say now; it counts as said.
    pub fn poll(&mut self, now: Duration) -> Option<Note> {
        self.forget(now);
        let (when, _) = self.due.first()?;
        if *when > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.due_at.remove(&key);
        let message = self.wrong.get(&key)?.clone();
        let times = self.said.get(&key).map_or(0, |said| said.times) + 1;
        self.remember(key.clone(), Said { at: now, times });
        Some(Note { id: key.0, reason: key.1, message, times })
    }

    /// Something could not be said. It is still to be said, if it is still so.
    pub fn handle_failure(&mut self, note: &Note, now: Duration) {
        let key = (note.id.clone(), note.reason);
        self.remember(key.clone(), Said { at: now, times: note.times - 1 });
        if self.wrong.contains_key(&key) {
            self.schedule(key, now + RETRY);
        }
    }

    /// When there is something to say.
    pub fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(when, _)| *when)
    }

    fn make_due(&mut self, key: Key, now: Duration) {
        match self.said.get(&key).filter(|said| said.times > 0) {
            Some(said) => self.schedule(key, now.max(said.at + REPEAT)),
            None if self.said.len() + self.due.len() < REMEMBERED => self.schedule(key, now),
            None => {}
        }
    }

    fn schedule(&mut self, key: Key, at: Duration) {
        self.unschedule(&key);
        self.due.insert((at, key.clone()));
        self.due_at.insert(key, at);
    }

    fn unschedule(&mut self, key: &Key) {
        if let Some(at) = self.due_at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    fn remember(&mut self, key: Key, said: Said) {
        let at = said.at;
        if let Some(before) = self.said.insert(key.clone(), said) {
            self.aging.remove(&(before.at, key.clone()));
        }
        self.aging.insert((at, key));
    }

    /// What was said long ago and is not wrong any more is a first time when it comes again.
    fn forget(&mut self, now: Duration) {
        while let Some((at, _)) = self.aging.first()
            && *at + REPEAT < now
            && let Some((_, key)) = self.aging.pop_first()
        {
            if !self.wrong.contains_key(&key) {
                self.said.remove(&key);
            } else if let Some(said) = self.said.get_mut(&key) {
                // Looked at again later.
                said.at = now;
                self.aging.insert((now, key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Kind;

    fn pod() -> Id {
        Id::new(Kind::Pod, "demo", "a")
    }

    fn wrong(reasons: &[(&'static str, &str)]) -> Vec<Complaint> {
        reasons.iter().map(|(reason, message)| Complaint { reason, message: (*message).into() }).collect()
    }

    fn said(ledger: &mut Ledger, second: u64) -> Vec<String> {
        let now = Duration::from_secs(second);
        std::iter::from_fn(|| ledger.poll(now))
            .map(|note| format!("{} {} x{}", note.reason, note.message, note.times))
            .collect()
    }

    #[test]
    fn once_while_it_lasts_and_rarely_when_it_comes_again() {
        let mut ledger = Ledger::default();
        let mut tell = |second, reasons: &[_]| {
            ledger.handle(&pod(), &wrong(reasons), Duration::from_secs(second));
            said(&mut ledger, second)
        };
        assert_eq!(tell(0, &[("A", "1"), ("B", "1"), ("B", "2")]), ["A 1 x1", "B 1; 2 x1"]);
        assert!(tell(10, &[("A", "1"), ("B", "1"), ("B", "2")]).is_empty());
        assert!(tell(20, &[]).is_empty());
        assert!(tell(30, &[("A", "1")]).is_empty(), "too soon");
        assert!(tell(40, &[("A", "2")]).is_empty(), "too soon for another message too");
        assert!(tell(599, &[("A", "2")]).is_empty());
        assert_eq!(tell(600, &[("A", "2")]), ["A 2 x2"]);
        assert!(tell(5000, &[("A", "2")]).is_empty(), "it has lasted all the time");
        assert!(tell(5001, &[]).is_empty());
        assert_eq!(tell(9000, &[("A", "2")]), ["A 2 x1"], "forgotten since");
    }

    #[test]
    fn a_failure_is_tried_again_while_it_is_so() {
        let mut ledger = Ledger::default();
        ledger.handle(&pod(), &wrong(&[("A", "1")]), Duration::ZERO);
        let note = ledger.poll(Duration::ZERO).unwrap();
        assert_eq!(ledger.deadline(), None);
        ledger.handle_failure(&note, Duration::ZERO);
        assert_eq!(ledger.deadline(), Some(RETRY));
        assert_eq!(said(&mut ledger, 5), ["A 1 x1"]);
        ledger.handle_failure(&note, RETRY);
        ledger.handle(&pod(), &[], RETRY);
        assert!(said(&mut ledger, 100).is_empty());
    }
}
