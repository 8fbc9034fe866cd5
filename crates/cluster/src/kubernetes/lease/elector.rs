//! The decision who leads: observations and answers in, requests out. Knows no clock but the one that is handed in, and
//! judges nobody's: a lease is held as long as it keeps changing.

use std::time::Duration;

/// How long a lease lasts, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Unchanged for this long, it is anybody's.
    pub duration: Duration,
    /// The holder changes it this often.
    pub renewal: Duration,
    /// After a failure it is tried again this much later.
    pub retry: Duration,
    /// The holder stops writing this long before anybody else may begin: for requests under way.
    pub margin: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(4),
            renewal: Duration::from_secs(2),
            retry: Duration::from_millis(300),
            margin: Duration::from_millis(500),
        }
    }
}

/// The lease as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who holds it; none when it was released.
    pub(super) holder: Option<String>,
    /// Its resourceVersion: changes with every write.
    pub(super) version: String,
    /// How long its holder says it lasts.
    pub(super) duration: Duration,
    /// How often it went from one holder to another.
    pub(super) transitions: i32,
}

/// What to ask of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Create the lease, held by us; fails if it is there.
    Create,
    /// Write that we hold it, if it is still of this version.
    Hold {
        /// The version it must have.
        version: String,
        /// What to write for the number of transitions.
        transitions: i32,
    },
    /// Read it: what was thought of it was wrong.
    Look,
}

/// Who leads, as far as one candidate knows. `now` is a time since any fixed moment.
#[derive(Debug)]
pub(super) struct Elector {
    me: String,
    timing: Timing,
    /// None before the first look, and while it is known to be absent.
    seen: Option<Seen>,
    looked: bool,
    /// There was none when we first looked, and none since.
    never_was: bool,
    /// When the last change was noticed.
    changed_at: Duration,
    /// When the last write that made us holder was sent.
    held_since: Option<Duration>,
    must_look: bool,
    not_before: Duration,
}

impl Elector {
    pub(super) fn new(me: String, timing: Timing) -> Self {
        Self {
            me,
            timing,
            seen: None,
            looked: false,
            never_was: false,
            changed_at: Duration::ZERO,
            held_since: None,
            must_look: false,
            not_before: Duration::ZERO,
        }
    }

    /// The lease is so, says the watch or a look; none when there is none.
    pub(super) fn handle_seen(&mut self, seen: Option<Seen>, now: Duration) {
        let first = !std::mem::replace(&mut self.looked, true);
        if self.seen == seen && !first || older(seen.as_ref(), self.seen.as_ref()) {
            return;
        }
        self.must_look = false;
        // A lease that is absent from the beginning is free; one that was deleted may still be believed in.
        self.never_was = first && seen.is_none();
        self.changed_at = now;
        if !seen.as_ref().is_some_and(|seen| self.is_me(seen)) {
            self.held_since = None;
        }
        self.seen = seen;
    }

    /// What was asked by [`Ask::Look`] is answered.
    pub(super) fn handle_looked(&mut self, seen: Option<Seen>, now: Duration) {
        self.must_look = false;
        self.not_before = now;
        self.handle_seen(seen, now);
    }

    /// A write that makes us the holder, sent at `sent`, was answered with the lease as it is now.
    pub(super) fn handle_held(&mut self, seen: Seen, sent: Duration, now: Duration) {
        let ours = self.is_me(&seen);
        self.looked = true;
        self.must_look = false;
        self.changed_at = now;
        self.seen = Some(seen);
        self.held_since = ours.then_some(sent);
        self.not_before = Duration::ZERO;
    }

    /// A request failed; `changed` if because the lease is another than was thought.
    pub(super) fn handle_failure(&mut self, changed: bool, now: Duration) {
        self.must_look |= changed;
        self.not_before = if changed { now } else { now + self.timing.retry };
    }

    /// Until when we may write; none while we do not lead.
    pub(super) fn leads_until(&self) -> Option<Duration> {
        self.held_since.map(|sent| sent + self.timing.duration - self.timing.margin)
    }

    /// Who leads, if anybody is known to.
    pub(super) fn leader(&self) -> Option<&str> {
        self.seen.as_ref()?.holder.as_deref()
    }

    /// The lease's version, if there is one.
    pub(super) fn version(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| &*seen.version)
    }

    /// What to ask now.
    pub(super) fn poll(&mut self, now: Duration) -> Option<Ask> {
        if self.leads_until().is_some_and(|end| now >= end) {
            self.held_since = None;
        }
        if now < self.deadline() {
            return None;
        }
        // One request at a time: until its answer comes, there is nothing to ask.
        self.not_before = Duration::MAX;
        if self.must_look {
            return Some(Ask::Look);
        }
        let Some(seen) = &self.seen else { return Some(Ask::Create) };
        let taken = i32::from(!self.is_me(seen));
        Some(Ask::Hold { version: seen.version.clone(), transitions: seen.transitions.saturating_add(taken) })
    }

    /// When to come back for the next thing to ask.
    pub(super) fn deadline(&self) -> Duration {
        let due = match (&self.seen, self.held_since) {
            _ if !self.looked => Duration::MAX,
            _ if self.must_look => Duration::ZERO,
            (_, Some(sent)) => sent + self.timing.renewal,
            // Released, or our own from before we lost it: nobody else has to be waited for.
            (Some(seen), None) if seen.holder.is_none() || self.is_me(seen) => Duration::ZERO,
            (Some(seen), None) => self.changed_at + seen.duration.max(self.timing.duration),
            (None, None) if self.never_was => Duration::ZERO,
            (None, None) => self.changed_at + self.timing.duration,
        };
        due.max(self.not_before)
    }

    fn is_me(&self, seen: &Seen) -> bool {
        seen.holder.as_deref() == Some(&self.me)
    }
}

/// Whether an observation is older than what is known: a watch may lag behind the answers to our own writes. Versions
/// of one kind of object can be compared as numbers (KEP-5504); any that cannot is news.
fn older(seen: Option<&Seen>, known: Option<&Seen>) -> bool {
    let number = |seen: Option<&Seen>| seen.and_then(|seen| seen.version.parse::<u64>().ok());
    matches!((number(seen), number(known)), (Some(seen), Some(known)) if seen < known)
}

#[cfg(test)]
mod tests;
