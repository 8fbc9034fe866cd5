//! From what is to what ought to be, where both do not fit into the data path at once: sets are replaced, never changed, so
//! the new ones must find room beside the old ones.

use std::collections::BTreeMap;

use super::{Ladder, Set, SetId, State, pages};

/// What to bring the kernel to before `desired`, where the new sets do not all fit beside those that are there: as much of
/// it as has room, and for the rest what is there. Nothing where all fits at once, or where no step leads nearer. At most
/// `backends` pages of sets are there at any time on the way.
pub fn within(observed: &State, desired: &State, backends: usize) -> Option<State> {
    let held: usize = observed.sets.values().map(pages).sum();
    let fresh = desired.sets.iter().filter(|(id, set)| observed.sets.get(id) != Some(*set));
    let fresh: usize = fresh.map(|(_, set)| pages(set)).sum();
    if held + fresh <= backends {
        return None;
    }
    let mut room = Room { left: backends.saturating_sub(held), sets: observed.sets.clone() };
    let mut step = State { frontends: BTreeMap::new(), outside: BTreeMap::new(), ..desired.clone() };
    for (frontend, ladder) in &desired.frontends {
        let taken = if room.take(ladder, desired) { Some(ladder) } else { observed.frontends.get(frontend) };
        step.frontends.extend(taken.map(|ladder| (*frontend, ladder.clone())));
    }
    for (frontend, to) in &desired.outside {
        let taken = if room.take(&to.ladder, desired) { Some(to) } else { observed.outside.get(frontend) };
        step.outside.extend(taken.map(|to| (*frontend, to.clone())));
    }
    let ladders = step.frontends.values().chain(step.outside.values().map(|to| &to.ladder));
    let set = |ladder: &Ladder| Some((ladder.set, room.sets.get(&ladder.set)?.clone()));
    step.sets = ladders.filter(|ladder| !ladder.tiers.is_empty()).filter_map(set).collect();
    let nearer = (&step.frontends, &step.outside, &step.sets)
        != (&observed.frontends, &observed.outside, &observed.sets);
    nearer.then_some(step)
}

/// The sets that are there, and the places that are not taken.
struct Room {
    left: usize,
    sets: BTreeMap<SetId, Set>,
}

impl Room {
    /// Whether the ladder's set is there, or finds room now.
    fn take(&mut self, ladder: &Ladder, desired: &State) -> bool {
        let Some(set) = desired.sets.get(&ladder.set) else { return true };
        if self.sets.get(&ladder.set) == Some(set) {
            return true;
        }
        let fits = pages(set) <= self.left;
        if fits {
            self.left -= pages(set);
            self.sets.insert(ladder.set, set.clone());
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use model::{Protocol, Tier};
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Backend, Frontend, Op, TierSpan, diff};

    /// Frontends by their number, each with a set of its own number and so many backends.
    fn state(frontends: &BTreeMap<u8, (u8, u8)>) -> State {
        let mut state = State::default();
        for (number, (set, size)) in frontends {
            let port = NonZeroU16::new(80).unwrap();
            let id = SetId::from(*set) * 100 + SetId::from(*size);
            let backends =
                (0..*size).map(|n| Backend { ip: [10, 0, *set, n].into(), port, node: 1 }).collect();
            let span = TierSpan { tier: Tier::Node, begin: 0, count: (*size).into(), passes: 0 };
            let frontend = Frontend { ip: [10, 101, 0, *number].into(), protocol: Protocol::Tcp, port };
            state.frontends.insert(frontend, Ladder { set: id, tiers: vec![span], affinity: 0, table: None });
            state.sets.insert(id, backends);
        }
        state
    }

    fn frontends() -> impl Strategy<Value = BTreeMap<u8, (u8, u8)>> {
        prop::collection::btree_map(0u8..20, (0u8..30, 1u8..6), 0..16)
    }

    fn size(state: &State) -> usize {
        state.sets.values().map(pages).sum()
    }

    proptest! {
        /// Every operation on the way finds room, and a spare place for the largest set is enough to arrive.
        #[test]
        fn there_is_always_room(before in frontends(), after in frontends(), spare in 5usize..20) {
            let (mut kernel, desired) = (state(&before), state(&after));
            let limit = size(&kernel).max(size(&desired)) + spare;
            let mut steps = 0;
            loop {
                let step = within(&kernel, &desired, limit);
                let next = step.clone().unwrap_or_else(|| desired.clone());
                let mut sets = kernel.sets.clone();
                for op in diff(&kernel, &next) {
                    match op {
                        Op::AddSet(id, set) => drop(sets.insert(id, set)),
                        Op::DeleteSet(id, _) => drop(sets.remove(&id)),
                        _ => {}
                    }
                    prop_assert!(sets.values().map(pages).sum::<usize>() <= limit);
                }
                kernel = next;
                steps += 1;
                prop_assert!(steps <= 20, "it never arrives");
                if step.is_none() {
                    break;
                }
            }
            prop_assert_eq!(kernel, desired);
        }
    }

    #[test]
    fn where_no_step_leads_nearer() {
        let (full, other) = (state(&[(1, (1, 5))].into()), state(&[(1, (2, 5))].into()));
        assert_eq!(within(&full, &other, 5), None, "the kernel is left to say so");
        assert_eq!(within(&full, &other, 10), None, "all at once");
    }
}
