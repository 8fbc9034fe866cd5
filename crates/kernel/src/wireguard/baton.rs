//! How several threads take turns at one source without changing the order of what comes from it.
//!
//! One thread at a time leads: it takes from the source, and a ticket with what it took. It works by itself until there is
//! so much that a second pair of hands helps; then it passes the lead on, and works on what it has. What is done leaves in
//! the order of the tickets. A thread that is not needed sleeps, so that one packet never wakes two threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Where each thread stands.
#[derive(Debug, Default)]
pub(super) struct Baton {
    state: Mutex<State>,
    /// The lead is free, or all is over.
    lead: Condvar,
    /// A ticket is done.
    turn: Condvar,
}

#[derive(Debug, Default)]
struct State {
    led: bool,
    over: bool,
    /// Threads that sleep until they are needed.
    idle: usize,
    /// The next ticket to be given out.
    next: u64,
    /// The ticket whose turn it is.
    turn: u64,
    /// Threads that wait for their turn.
    waiting: usize,
}

/// The place of a piece of work among the others.
#[derive(Debug)]
#[must_use = "those that come later wait for it"]
pub(super) struct Ticket(u64);

impl Baton {
    /// Waits until this thread leads; false once all is over.
    pub(super) fn lead(&self) -> bool {
        let mut state = self.state();
        while state.led && !state.over {
            state.idle += 1;
            state = self.lead.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        state.led = !state.over;
        state.led
    }

    /// For the leader: a ticket for what it has just taken.
    pub(super) fn ticket(&self) -> Ticket {
        let mut state = self.state();
        state.next += 1;
        Ticket(state.next - 1)
    }

    /// For the leader: somebody else may lead. False, and nothing changes, if nobody is free to.
    pub(super) fn pass(&self) -> bool {
        let mut state = self.state();
        if state.idle == 0 {
            return false;
        }
        state.led = false;
        drop(state);
        self.lead.notify_one();
        true
    }

    /// Waits until whatever came before is done.
    pub(super) fn await_turn(&self, ticket: &Ticket) {
        let mut state = self.state();
        while state.turn != ticket.0 {
            state.waiting += 1;
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// The work is done; its turn must have come.
    pub(super) fn done(&self, ticket: Ticket) {
        let mut state = self.state();
        state.turn = ticket.0 + 1;
        let waiting = state.waiting;
        drop(state);
        if waiting > 0 {
            self.turn.notify_all();
        }
    }

    /// Nobody leads any more. For the leader, whose source has ended.
    pub(super) fn end(&self) {
        self.state().over = true;
        self.lead.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Four threads take numbers from one source and put them down again: in order, and all of them.
    #[test]
    fn what_is_taken_in_order_is_done_in_order() {
        const COUNT: u64 = 500;
        let (baton, source, done) = (Baton::default(), AtomicU64::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut leading = false;
                    while leading || baton.lead() {
                        let taken = source.fetch_add(1, Ordering::Relaxed);
                        if taken >= COUNT {
                            return baton.end();
                        }
                        let ticket = baton.ticket();
                        leading = !baton.pass();
                        // Unequal work.
                        (0..taken % 3).for_each(|_| std::thread::yield_now());
                        baton.await_turn(&ticket);
                        done.lock().unwrap().push(taken);
                        baton.done(ticket);
                    }
                });
            }
        });
        assert!(done.into_inner().unwrap().into_iter().eq(0..COUNT));
    }

    #[test]
    fn alone_it_leads_for_ever() {
        let baton = Baton::default();
        assert!(baton.lead());
        for _ in 0..3 {
            let ticket = baton.ticket();
            assert!(!baton.pass(), "there is nobody to pass to");
            baton.await_turn(&ticket);
            baton.done(ticket);
        }
        baton.end();
        assert!(!baton.lead());
    }
}
