//! How well a peer answers: which questions were in vain, and which answers came late.

use std::time::Duration;

/// Who has not answered after so long does not: far more than the way around the world.
pub(super) const IN_VAIN: Duration = Duration::from_secs(2);

/// An answer is late if it takes this much longer than three times the least that was seen.
const LATE: Duration = Duration::from_millis(50);

/// For so long after a bad answer more is asked, to know soon how bad it is.
const ALERT: Duration = Duration::from_secs(10);

/// The least time counts for so long, and for as long again: a way that has become longer for good is as it is.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// Questions to a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Those whose answers came, or should have come.
    pub asked: u32,
    /// Those of them whose answers did not come, or came late.
    pub bad: u32,
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answers: Answers,
    /// The least time of this while and of the one before.
    least: [Option<Duration>; 2],
    since: Duration,
    alert_until: Duration,
}

impl Tally {
    /// An answer came, and took so long; nothing if nobody knows.
    pub(super) fn answered(&mut self, time: Option<Duration>, now: Duration) {
        let Some(time) = time else {
            self.count(false, now);
            return;
        };
        if now.saturating_sub(self.since) > FORGOTTEN_AFTER {
            self.least = [None, self.least[0]];
            self.since = now;
        }
        let least = self.least[0].map_or(time, |least| least.min(time));
        self.least[0] = Some(least);
        let usual = self.least[1].map_or(least, |before| before.min(least));
        self.count(time > usual * 3 + LATE, now);
    }

    /// One never came.
    pub(super) fn missed(&mut self, now: Duration) {
        self.count(true, now);
    }

    fn count(&mut self, is_bad: bool, now: Duration) {
        self.answers.asked += 1;
        if is_bad {
            self.answers.bad += 1;
            self.alert_until = now + ALERT;
        }
    }

    /// Whether more is to be asked than who is alive and how far away.
    pub(super) fn is_alert(&self, now: Duration) -> bool {
        now < self.alert_until
    }

    /// The peer is dead, or was: what it did not answer says nothing of the way.
    pub(super) fn forget(&mut self) {
        self.answers = Answers::default();
    }

    /// What was counted since this was called last.
    pub(super) fn take(&mut self) -> Answers {
        std::mem::take(&mut self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_late_for_this_way() {
        let mut tally = Tally::default();
        let mut at = 0;
        let mut bad = |times: &[u64]| {
            for time in times {
                at += 1;
                tally.answered(Some(Duration::from_millis(*time)), Duration::from_secs(at));
            }
            tally.take().bad
        };
        assert_eq!(bad(&[20, 25, 90, 110]), 0);
        assert_eq!(bad(&[111, 300, 20]), 2);
        assert_eq!(bad(&[300; 302]), 302);
        assert!((200..=300).contains(&bad(&[300; 400])), "until it is known to be longer for good");
        assert_eq!(bad(&[300; 400]), 0);
        assert!(!tally.is_alert(Duration::from_secs(at)));
        tally.missed(Duration::from_secs(at));
        assert!(tally.is_alert(Duration::from_secs(at + 9)) && !tally.is_alert(Duration::from_secs(at + 10)));
        assert_eq!(tally.take(), Answers { asked: 1, bad: 1 });
    }
}
