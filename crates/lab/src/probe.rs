//! Readiness probes: when a container counts as ready. [`Gate`] decides, [`ask`] puts the question.

mod ask;
mod prober;
mod spec;

pub use ask::{Answer, ask};
pub use prober::Prober;
pub use spec::{Check, PERIOD_ANNOTATION, Spec, SpecError, readiness};

/// Counts answers in a row and says when readiness changes, as the kubelet does: unready until
/// `successThreshold` good ones, ready until `failureThreshold` bad ones.
#[derive(Debug, Clone)]
pub struct Gate {
    success_threshold: u32,
    failure_threshold: u32,
    ready: bool,
    against: u32,
}

impl Gate {
    /// Not ready, nothing heard.
    pub fn new(spec: &Spec) -> Self {
        let Spec { success_threshold, failure_threshold, .. } = *spec;
        Self { success_threshold, failure_threshold, ready: false, against: 0 }
    }

    /// Takes in an answer; gives the new readiness if it changed.
    pub fn handle_answer(&mut self, good: bool) -> Option<bool> {
        if good == self.ready {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if good { self.success_threshold } else { self.failure_threshold };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.ready = good;
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `+` a good answer, `-` a bad one; in the second text `R` and `U` are changes, `.` none.
    fn check(success_threshold: u32, failure_threshold: u32, answers: &str, changes: &str) {
        let zero = Duration::ZERO;
        let mut gate = Gate::new(&Spec {
            check: Check::Tcp { host: None, port: 1 },
            initial_delay: zero,
            period: zero,
            timeout: zero,
            success_threshold,
            failure_threshold,
        });
        let got: String = answers
            .chars()
            .map(|answer| match gate.handle_answer(answer == '+') {
                Some(true) => 'R',
                Some(false) => 'U',
                None => '.',
            })
            .collect();
        assert_eq!(got, changes, "{success_threshold}/{failure_threshold} {answers}");
    }

    #[test]
    fn table() {
        check(1, 3, "+++---++", "R....UR.");
        check(1, 3, "+--+---", "R.....U");
        check(1, 1, "-+-+", ".RUR");
        check(2, 1, "+-++-++", "...RU.R");
        check(3, 2, "++-+++--", ".....R.U");
        check(1, 3, "-----", ".....");
    }
}
