//! Where the data path does not hold what was planned for a frontend.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use crate::plan::{Backend, Frontend, State};

/// One thing that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub frontend: Frontend,
    /// What.
    pub what: What,
}

/// What is not as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The data path does not know it.
    Missing,
    /// The data path sends to this backend and should not.
    Unplanned(Backend),
    /// The data path does not send to this backend and should.
    Lacking(Backend),
    /// The same backends, but other parts or another order of rungs.
    Order,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = |backend: &Backend| SocketAddr::new(backend.ip, backend.port.get());
        let at = self.frontend;
        match &self.what {
            What::Missing => write!(f, "{at}: planned, but the data path has no entry for it"),
            What::Unplanned(backend) => {
                write!(f, "{at}: the data path sends to {}, which is not planned", to(backend))
            }
            What::Lacking(backend) => {
                write!(f, "{at}: the data path does not send to {}, which is planned", to(backend))
            }
            What::Order => {
                write!(f, "{at}: the data path has the planned backends on other rungs or with other weights")
            }
        }
    }
}

/// What the kernel holds of these frontends, against what it ought to hold. None for an agent that has caught up.
pub fn differences(frontends: &[Frontend], desired: &State, observed: &State) -> Vec<Difference> {
    frontends.iter().flat_map(|frontend| of_one(*frontend, desired, observed)).collect()
}

fn of_one(frontend: Frontend, desired: &State, observed: &State) -> Vec<Difference> {
    let difference = |what| Difference { frontend, what };
    let Some(planned) = desired.frontends.get(&frontend) else { return Vec::new() };
    let Some(held) = observed.frontends.get(&frontend) else { return vec![difference(What::Missing)] };
    let set = |state: &State, id| state.sets.get(&id).cloned().unwrap_or_default();
    let (planned_set, held_set) = (set(desired, planned.set), set(observed, held.set));
    if (&planned.tiers, planned.affinity, &planned_set) == (&held.tiers, held.affinity, &held_set) {
        return Vec::new();
    }
    let (ought, is): (BTreeSet<_>, BTreeSet<_>) = (planned_set.iter().collect(), held_set.iter().collect());
    let unplanned = is.difference(&ought).map(|backend| difference(What::Unplanned(**backend)));
    let lacking = ought.difference(&is).map(|backend| difference(What::Lacking(**backend)));
    let found: Vec<_> = unplanned.chain(lacking).collect();
    if found.is_empty() { vec![difference(What::Order)] } else { found }
}

#[cfg(test)]
mod tests {
    use model::{Protocol, Tier};

    use super::*;
    use crate::plan::{Ladder, TierSpan};
    use crate::testing::port;

    const AT: &str = "10.101.0.1";

    fn frontend() -> Frontend {
        Frontend { ip: AT.parse().unwrap(), protocol: Protocol::Tcp, port: port(80) }
    }

    /// A state in which the frontend leads to backends with these last bytes, each a rung of its own.
    fn state(backends: &[u8]) -> State {
        let backend = |n: &u8| Backend { ip: [10, 0, 0, *n].into(), port: port(8080), node: 1 };
        let tiers = (0..backends.len() as u32).map(|n| TierSpan {
            tier: Tier::Cluster,
            begin: n,
            count: 1,
            passes: 0,
        });
        let ladder = Ladder { set: 7, tiers: tiers.collect(), affinity: 0 };
        State {
            frontends: [(frontend(), ladder)].into(),
            sets: [(7, backends.iter().map(backend).collect())].into(),
            ..State::default()
        }
    }

    #[test]
    fn what_is_not_as_planned() {
        let missing = "10.101.0.1:80/TCP: planned, but the data path has no entry for it";
        for (planned, held, want) in [
            (state(&[1, 2]), state(&[1, 2]), &[][..]),
            (State::default(), state(&[1]), &[]),
            (state(&[1]), State::default(), &[missing]),
            (
                state(&[1, 2]),
                state(&[2, 3]),
                &[
                    "10.101.0.1:80/TCP: the data path sends to 10.0.0.3:8080, which is not planned",
                    "10.101.0.1:80/TCP: the data path does not send to 10.0.0.1:8080, which is planned",
                ],
            ),
            (
                state(&[1, 2]),
                state(&[2, 1]),
                &[
                    "10.101.0.1:80/TCP: the data path has the planned backends on other rungs or with other weights",
                ],
            ),
        ] {
            let found = differences(&[frontend()], &planned, &held);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }
}
