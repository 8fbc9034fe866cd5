//! Where the data path does not hold what was planned for a frontend.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use super::FromOutside;
use crate::plan::{Backend, Frontend, Ladder, Outside, State};

/// One thing that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub frontend: Frontend,
    /// Whether it is about what is dialled in packets.
    pub outside: bool,
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
    /// The data path treats what comes from outside otherwise than what this node's sockets send, and should not.
    Surplus,
    /// The same backends, but others may dial it, or their addresses are replaced or not, or packets without a backend are
    /// dropped or not.
    Terms,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = |backend: &Backend| SocketAddr::new(backend.ip, backend.port.get());
        let at = format!("{}{}", self.frontend, if self.outside { " from outside" } else { "" });
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
            What::Surplus => {
                write!(f, "{at}: the data path has an entry of its own, and none is planned")
            }
            What::Terms => write!(
                f,
                "{at}: the data path has the planned backends with other source ranges or another masquerade, or drops \
                 what it should refuse"
            ),
        }
    }
}

/// What the kernel holds of these frontends, and of those that are dialled from outside, against what it ought to hold. None
/// for an agent that has caught up.
pub fn differences(
    frontends: &[Frontend],
    outside: &[FromOutside],
    desired: &State,
    observed: &State,
) -> Vec<Difference> {
    let from_sockets = frontends.iter().flat_map(|frontend| {
        let (planned, held) = (desired.frontends.get(frontend), observed.frontends.get(frontend));
        let Some(planned) = planned else { return Vec::new() };
        let found = of_one(Some((planned, desired)), held.map(|held| (held, observed)));
        found.into_iter().map(|what| Difference { frontend: *frontend, outside: false, what }).collect()
    });
    // Those of before that are none any more are among what sockets dial, but for node ports.
    let keys: BTreeSet<&Frontend> = frontends.iter().chain(outside.iter().map(|to| &to.frontend)).collect();
    let from_outside = keys.into_iter().flat_map(|frontend| {
        let (planned, held) = (desired.outside.get(frontend), observed.outside.get(frontend));
        let mut found =
            of_one(planned.map(|to| (&to.ladder, desired)), held.map(|to| (&to.ladder, observed)));
        let terms = |to: &Outside| (to.masquerade, to.otherwise, to.sources.clone());
        if found.is_empty() && planned.map(terms) != held.map(terms) {
            found.push(What::Terms);
        }
        found.into_iter().map(|what| Difference { frontend: *frontend, outside: true, what })
    });
    from_sockets.chain(from_outside).collect()
}

/// A ladder, with the state that has its set.
type Held<'a> = (&'a Ladder, &'a State);

fn of_one(planned: Option<Held<'_>>, held: Option<Held<'_>>) -> Vec<What> {
    let ((planned, desired), (held, observed)) = match (planned, held) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => return vec![What::Surplus],
        (Some(_), None) => return vec![What::Missing],
        (Some(planned), Some(held)) => (planned, held),
    };
    let set = |state: &State, id| state.sets.get(&id).cloned().unwrap_or_default();
    let (planned_set, held_set) = (set(desired, planned.set), set(observed, held.set));
    if (&planned.tiers, planned.affinity, &planned_set) == (&held.tiers, held.affinity, &held_set) {
        return Vec::new();
    }
    let (ought, is): (BTreeSet<_>, BTreeSet<_>) = (planned_set.iter().collect(), held_set.iter().collect());
    let unplanned = is.difference(&ought).map(|backend| What::Unplanned(**backend));
    let lacking = ought.difference(&is).map(|backend| What::Lacking(**backend));
    let found: Vec<_> = unplanned.chain(lacking).collect();
    if found.is_empty() { vec![What::Order] } else { found }
}

#[cfg(test)]
mod tests {
    use model::{Protocol, Tier};

    use super::*;
    use crate::plan::{Otherwise, TierSpan};
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
        let ladder = Ladder { set: 7, tiers: tiers.collect(), affinity: 0, table: None };
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
            let found = differences(&[frontend()], &[], &planned, &held);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
    }

    /// What is dialled from outside leads there, too, and backends see the client.
    fn outside(mut state: State) -> State {
        let ladder = state.frontends[&frontend()].clone();
        let to = Outside { ladder, masquerade: false, otherwise: Otherwise::Drop, sources: None };
        state.outside = [(frontend(), to)].into();
        state
    }

    #[test]
    fn what_is_not_as_planned_from_outside() {
        let mut open = outside(state(&[1]));
        open.outside.get_mut(&frontend()).unwrap().sources = Some([].into());
        for (planned, held, want) in [
            (outside(state(&[1])), outside(state(&[1])), &[][..]),
            (
                outside(state(&[1])),
                state(&[1]),
                &["10.101.0.1:80/TCP from outside: planned, but the data path has no entry for it"],
            ),
            (
                state(&[1]),
                outside(state(&[1])),
                &[
                    "10.101.0.1:80/TCP from outside: the data path has an entry of its own, and none is planned",
                ],
            ),
            (
                outside(state(&[1])),
                open,
                &[
                    "10.101.0.1:80/TCP from outside: the data path has the planned backends with other source ranges or \
                     another masquerade, or drops what it should refuse",
                ],
            ),
        ] {
            let found = differences(&[frontend()], &[], &planned, &held);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        }
        let found = differences(&[frontend()], &[], &outside(state(&[1])), &outside(state(&[2])));
        assert_eq!(found.len(), 4, "two for sockets, two from outside: {found:?}");
    }
}
