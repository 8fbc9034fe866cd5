//! The keys a peer has at one time: those in use, those before, and those to come.

use std::sync::Arc;
use std::time::Duration;

use super::timers::{REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME};
use crate::counters::DropReason;
use crate::replay::Window;
use crate::transport::TransportKeys;

/// The public keys of the two ends that shook hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) ours: [u8; 32],
    pub(super) theirs: [u8; 32],
}

/// Keys, and how much they were used.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) keys: Arc<TransportKeys>,
    /// Our number for it.
    pub(super) index: u32,
    /// Whether we began its handshake.
    pub(super) initiator: bool,
    pub(super) born: Duration,
    pub(super) ends: Ends,
    sent: u64,
    window: Window,
}

impl Session {
    pub(super) fn new(keys: TransportKeys, index: u32, initiator: bool, ends: Ends, now: Duration) -> Self {
        Self { keys: Arc::new(keys), index, initiator, born: now, ends, sent: 0, window: Window::new() }
    }

    /// The first of so many counters to seal with; none if the keys are used up.
    pub(super) fn take(&mut self, count: u64, now: Duration) -> Option<u64> {
        let next = self.sent.checked_add(count).filter(|next| *next < REJECT_AFTER_MESSAGES)?;
        if self.age(now) >= REJECT_AFTER_TIME {
            return None;
        }
        Some(std::mem::replace(&mut self.sent, next))
    }

    /// Takes a received counter, or says why not.
    pub(super) fn accept(&mut self, counter: u64, now: Duration) -> Result<(), DropReason> {
        if self.age(now) >= REJECT_AFTER_TIME || counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::SessionExpired);
        }
        if self.window.accept(counter) { Ok(()) } else { Err(DropReason::Replayed) }
    }

    /// Whether who sends with these keys should make new ones.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        self.sent > REKEY_AFTER_MESSAGES || (self.initiator && self.age(now) >= REKEY_AFTER_TIME)
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.born)
    }
}

/// One peer's sessions. Whatever leaves is returned, so that its number can be given up.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Those before, the newest first. Two: where both ends began at once each sends with the one that it began, so packets of
    /// both are under way when the next one is made.
    former: [Option<Session>; 2],
    current: Option<Session>,
    /// Made as responder; used once the initiator has.
    next: Option<Session>,
}

impl Sessions {
    /// The one to send with.
    pub(super) fn current(&mut self) -> Option<&mut Session> {
        self.current.as_mut()
    }

    pub(super) fn find(&self, index: u32) -> Option<&Session> {
        [&self.current, &self.next].into_iter().chain(&self.former).flatten().find(|s| s.index == index)
    }

    pub(super) fn find_mut(&mut self, index: u32) -> Option<&mut Session> {
        let sessions = [&mut self.current, &mut self.next].into_iter().chain(&mut self.former);
        sessions.flatten().find(|session| session.index == index)
    }

    /// A session whose peer is known to have it too: we began it and were answered.
    pub(super) fn begin_as_initiator(&mut self, session: Session) -> [Option<Session>; 2] {
        let former = self.current.replace(session);
        // If both began at once, the peer may be sending with the other one.
        let next = self.next.take();
        [self.retire(former), self.retire(next)]
    }

    /// A session that waits for the peer to use it first.
    pub(super) fn begin_as_responder(&mut self, session: Session) -> [Option<Session>; 1] {
        [self.next.replace(session)]
    }

    /// The peer used this session. If it was the one to come, it is now in use, and the result is true.
    pub(super) fn confirm(&mut self, index: u32) -> (bool, Option<Session>) {
        if self.next.as_ref().is_none_or(|next| next.index != index) {
            return (false, None);
        }
        let former = std::mem::replace(&mut self.current, self.next.take());
        (true, self.retire(former))
    }

    /// Keeps it for what is under way; gives the one that has to go for it.
    fn retire(&mut self, session: Option<Session>) -> Option<Session> {
        let session = session?;
        let [newer, older] = std::mem::take(&mut self.former);
        self.former = [Some(session), newer];
        older
    }

    /// Between which ends the one to send with is.
    pub(super) fn ends(&self) -> Option<Ends> {
        self.current.as_ref().map(|session| session.ends)
    }

    /// Those whose ends are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Ends) -> bool) -> [Option<Session>; 4] {
        self.places().map(|place| place.take_if(|session| !keep(session.ends)))
    }

    /// All of them.
    pub(super) fn clear(&mut self) -> [Option<Session>; 4] {
        self.places().map(Option::take)
    }

    fn places(&mut self) -> [&mut Option<Session>; 4] {
        let [newer, older] = &mut self.former;
        [newer, older, &mut self.current, &mut self.next]
    }
}
