//! What an operator should put right: said once in the log, kept for the status.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tracing::warn;

/// How many complaints of the controller are kept.
const KEPT: usize = 100;

/// What is wrong, as far as the agent knows.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// What the newest plan could not grant; gone when a plan grants it.
    claims: BTreeSet<String>,
    /// What the machine does not let us do, by what it is about; gone when it does.
    machine: BTreeMap<&'static str, String>,
    /// What was wrong with things heard: they do not come back to say that they are well.
    complaints: VecDeque<String>,
}

impl Problems {
    /// What the newest plan could not grant.
    pub(crate) fn set_claims(&mut self, claims: Vec<String>) {
        let claims = BTreeSet::from_iter(claims);
        for claim in claims.difference(&self.claims) {
            warn!("{claim}");
        }
        self.claims = claims;
    }

    /// What the machine does not let us do about this; nothing: all is well.
    pub(crate) fn set_machine(&mut self, about: &'static str, problem: Option<String>) {
        let Some(problem) = problem else {
            self.machine.remove(about);
            return;
        };
        if self.machine.get(about) != Some(&problem) {
            warn!("{problem}");
        }
        self.machine.insert(about, problem);
    }

    /// Something heard was wrong.
    pub(crate) fn complain(&mut self, complaint: String) {
        if self.complaints.contains(&complaint) {
            return;
        }
        warn!("{complaint}");
        if self.complaints.len() == KEPT {
            self.complaints.pop_front();
        }
        self.complaints.push_back(complaint);
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<String> {
        self.machine.values().chain(&self.claims).chain(&self.complaints).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_as_they_are_and_complaints_stay() {
        let mut problems = Problems::default();
        problems.set_claims(vec!["a".into(), "b".into()]);
        problems.complain("x".into());
        problems.complain("x".into());
        problems.set_claims(vec!["b".into()]);
        problems.set_machine("forwarding", Some("f".into()));
        assert_eq!(problems.list(), ["f", "b", "x"]);
        problems.set_machine("forwarding", None);
        assert_eq!(problems.list(), ["b", "x"]);
        for n in 0..2 * KEPT {
            problems.complain(n.to_string());
        }
        assert_eq!(problems.list().len(), 1 + KEPT);
    }
}
