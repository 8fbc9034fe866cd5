//! How a node changes its WireGuard key without losing a packet: everybody believes the next key before it is used, and the
//! former one until it is used no more.
//!
//! Each step leaves a key by which the node is believed, so it may be interrupted anywhere and taken up again.

use std::time::Duration;

/// How long a step waits after it is known to be done, for those who hear of it a little later.
const SETTLE: Duration = Duration::from_secs(2);
/// How often nodes are asked again that have not taken the next key.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the former key is believed after everybody was told that it is none: some may not have heard it yet.
const OVERLAP: Duration = Duration::from_secs(10);
/// How long nodes are waited for that are there and do not take the next key, as their controllers are away.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The same when somebody asked for a new key: the old one may be stolen.
const HASTE: Duration = Duration::from_secs(60);
/// After so long it is worth saying that something is waited for.
const LATE: Duration = Duration::from_secs(30);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a key, keep it, believe it, tell everybody of it.
    Make,
    /// Use the next key, and believe the former one. Said again while some have not taken it.
    Use,
    /// The next key is the node's key from now on: keep it as such, and tell everybody.
    Keep,
    /// Believe the former key no more.
    Forget,
}

/// Why a key is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is old enough.
    Age,
    /// Somebody wants it.
    Asked,
}

/// What can be seen of the mesh while a key is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The controller tells the node's next key, so everybody who hears it knows it.
    pub is_told: bool,
    /// The tunnel can have two keys. If not, sending stops until others know the new one: no step waits then.
    pub has_two: bool,
    /// How many nodes are there, could take the next key, and have not.
    pub behind: usize,
}

/// Where the change of a key stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is one key.
    #[default]
    Rest,
    /// There is a next key; the former one is in use.
    Told,
    /// The next key is in use.
    Used,
    /// The next key is the key; the former one is still believed.
    Kept,
}

/// The change of a node's key.
#[derive(Debug, Default)]
pub struct Rekey {
    phase: Phase,
    why: Option<Why>,
    /// When the phase began.
    since: Duration,
    /// Since when the phase's condition holds.
    good: Option<Duration>,
    /// When the next key was last asked to be used.
    used: Duration,
}

impl Rekey {
    /// As it was left: there may be a next key already, or a former one that the tunnel still believes.
    pub fn resume(has_next: bool, has_former: bool, now: Duration) -> Self {
        let phase = match (has_next, has_former) {
            (true, _) => Phase::Told,
            (false, true) => Phase::Kept,
            (false, false) => Phase::Rest,
        };
        Self { phase, since: now, ..Self::default() }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Somebody wants a new key, or the key is old enough. Nothing if it is being changed already.
    pub fn begin(&mut self, why: Why, now: Duration) -> Option<Step> {
        if why == Why::Asked {
            self.why = Some(why);
        }
        if !matches!(self.phase, Phase::Rest | Phase::Kept) {
            return None;
        }
        self.why = Some(why);
        self.enter(Phase::Told, now);
        Some(Step::Make)
    }

    /// What is due. Asked about once a second.
    pub fn poll(&mut self, sight: &Sight, now: Duration) -> Option<Step> {
        let (good, settle) = match self.phase {
            Phase::Rest => return None,
            Phase::Told => (sight.is_told, if sight.has_two { SETTLE } else { Duration::ZERO }),
            Phase::Used => (
                sight.behind == 0 || now >= self.since + self.patience(),
                if sight.has_two { SETTLE } else { Duration::ZERO },
            ),
            Phase::Kept => (true, OVERLAP),
        };
        if !good {
            self.good = None;
            let again = self.phase == Phase::Used && now >= self.used + AGAIN;
            return again.then(|| {
                self.used = now;
                Step::Use
            });
        }
        if now < *self.good.get_or_insert(now) + settle {
            return None;
        }
        Some(match self.phase {
            Phase::Told => {
                self.enter(Phase::Used, now);
                self.used = now;
                Step::Use
            }
            Phase::Used => {
                self.enter(Phase::Kept, now);
                Step::Keep
            }
            Phase::Rest | Phase::Kept => {
                self.enter(Phase::Rest, now);
                self.why = None;
                Step::Forget
            }
        })
    }

    /// Whether what is waited for should have come.
    pub fn is_late(&self, now: Duration) -> bool {
        matches!(self.phase, Phase::Told | Phase::Used) && now >= self.since + LATE
    }

    /// The last step could not be done: it is said again.
    pub fn undone(&mut self, step: Step, now: Duration) {
        let before = match step {
            Step::Make => Phase::Rest,
            Step::Use => Phase::Told,
            Step::Keep => Phase::Used,
            Step::Forget => Phase::Kept,
        };
        self.enter(before, now);
    }

    fn patience(&self) -> Duration {
        if self.why == Some(Why::Asked) { HASTE } else { PATIENCE }
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        (self.phase, self.since, self.good) = (phase, now, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Sight = Sight { is_told: true, has_two: true, behind: 0 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The steps and when they are said, asked once a second.
    fn steps(rekey: &mut Rekey, from: u64, to: u64, sight: impl Fn(u64) -> Sight) -> Vec<(u64, Step)> {
        (from..to).filter_map(|now| Some((now, rekey.poll(&sight(now), at(now))?))).collect()
    }

    #[test]
    fn a_key_is_told_used_kept_and_the_old_one_forgotten() {
        let mut rekey = Rekey::default();
        assert_eq!(steps(&mut rekey, 0, 100, |_| WELL), []);
        assert_eq!(rekey.begin(Why::Age, at(100)), Some(Step::Make));
        assert_eq!(rekey.begin(Why::Age, at(100)), None, "one at a time");
        let told_at_105 = |now| Sight { is_told: now >= 105, ..WELL };
        let said = steps(&mut rekey, 100, 200, told_at_105);
        assert_eq!(said, [(107, Step::Use), (110, Step::Keep), (121, Step::Forget)]);
        assert_eq!(rekey.phase(), Phase::Rest);
        assert_eq!(rekey.begin(Why::Age, at(200)), Some(Step::Make), "and again");
    }

    #[test]
    fn nobody_hears_of_it() {
        let mut rekey = Rekey::default();
        rekey.begin(Why::Asked, at(0));
        assert_eq!(steps(&mut rekey, 0, 10_000, |_| Sight { is_told: false, ..WELL }), []);
        assert_eq!(rekey.phase(), Phase::Told, "the old key is in use");
        assert!(!rekey.is_late(at(29)) && rekey.is_late(at(30)) && !Rekey::default().is_late(at(99)));
    }

    #[test]
    fn those_behind_are_asked_again_and_waited_for() {
        for (why, last) in [(Why::Asked, 64), (Why::Age, 3604)] {
            let mut rekey = Rekey::default();
            rekey.begin(why, at(0));
            let said = steps(&mut rekey, 0, 4000, |_| Sight { behind: 1, ..WELL });
            let uses: Vec<u64> =
                said.iter().filter(|(_, step)| *step == Step::Use).map(|(at, _)| *at).collect();
            assert_eq!(uses[..3], [2, 12, 22]);
            assert_eq!(
                said.iter().find(|(_, step)| *step == Step::Keep),
                Some(&(last, Step::Keep)),
                "{why:?}"
            );
        }
        let mut rekey = Rekey::default();
        rekey.begin(Why::Age, at(0));
        let said = steps(&mut rekey, 0, 100, |now| Sight { behind: usize::from(now < 30), ..WELL });
        assert_eq!(said[..4], [(2, Step::Use), (12, Step::Use), (22, Step::Use), (32, Step::Keep)]);
    }

    #[test]
    fn somebody_asks_while_it_is_changed() {
        let mut rekey = Rekey::default();
        rekey.begin(Why::Age, at(0));
        assert_eq!(rekey.begin(Why::Asked, at(1)), None);
        let said = steps(&mut rekey, 1, 200, |_| Sight { behind: 1, ..WELL });
        assert!(said.contains(&(65, Step::Keep)), "it is in haste now: {said:?}");
    }

    #[test]
    fn a_tunnel_with_one_key_does_not_wait() {
        let mut rekey = Rekey::default();
        rekey.begin(Why::Age, at(0));
        let said = steps(&mut rekey, 0, 20, |_| Sight { has_two: false, ..WELL });
        assert_eq!(said, [(0, Step::Use), (1, Step::Keep), (12, Step::Forget)]);
    }

    #[test]
    fn what_was_left_is_taken_up() {
        for (left, phase) in [
            ((false, false), Phase::Rest),
            ((true, false), Phase::Told),
            ((true, true), Phase::Told),
            ((false, true), Phase::Kept),
        ] {
            let mut rekey = Rekey::resume(left.0, left.1, at(5));
            assert_eq!(rekey.phase(), phase);
            steps(&mut rekey, 5, 100, |_| WELL);
            assert_eq!(rekey.phase(), Phase::Rest, "{left:?}");
        }
    }

    #[test]
    fn what_fails_is_said_again() {
        let mut rekey = Rekey::default();
        for step in [Step::Make, Step::Use, Step::Keep, Step::Forget] {
            let next = |rekey: &mut Rekey, from| match step {
                Step::Make => rekey.begin(Why::Age, at(from)),
                _ => (from..from + 20).find_map(|now| rekey.poll(&WELL, at(now))),
            };
            assert_eq!(next(&mut rekey, 0), Some(step));
            rekey.undone(step, at(20));
            assert_eq!(next(&mut rekey, 20), Some(step));
        }
    }
}
