//! What a service declares that a cluster's backends carry together. It counts in place of the weights of those that are
//! there, so that backends that are gone without anybody being unready are missed all the same.

use std::collections::BTreeMap;
use std::ops::Range;

use model::{ClusterName, Traffic};

use super::ladder::{Absent, Capacity, Rung};

/// The whole, in parts that leave room for a product of two.
const WHOLE: u64 = 1 << 30;

/// The clusters whose capacity is declared and who stand somewhere: the capacity and their rungs.
#[derive(Debug, Default)]
pub(super) struct Declared<'a>(BTreeMap<&'a ClusterName, (u64, Range<usize>)>);

impl<'a> Declared<'a> {
    pub(super) fn new(traffic: &'a Traffic, rungs: &[Rung<'_>]) -> Self {
        let on = |(cluster, capacity): (&'a ClusterName, &u32)| {
            let first = rungs.iter().position(|rung| ready(rung, cluster) > 0)?;
            let last = rungs.iter().rposition(|rung| ready(rung, cluster) > 0)?;
            let capacity = u64::from(*capacity) * u64::from(traffic.weight_of(cluster));
            Some((cluster, (capacity, first..last + 1)))
        };
        Self(traffic.capacities.iter().filter_map(on).collect())
    }

    /// The capacity of one of the rungs. A cluster that stands on no other is missed as far as it is declared.
    pub(super) fn of(&self, n: usize, rung: &Rung<'_>, absent: &[Absent<'_>]) -> Capacity {
        let here = |(_, on): &&(u64, Range<usize>)| *on == (n..n + 1);
        let known = absent
            .iter()
            .filter(|absent| absent.place == rung.place && self.0.get(absent.cluster).filter(here).is_none());
        let declared = self.0.iter().filter(|(_, declared)| here(declared));
        let missed = declared.map(|(cluster, (capacity, _))| capacity.saturating_sub(ready(rung, cluster)));
        Capacity {
            ready: rung.candidates.iter().map(|candidate| u64::from(candidate.weight)).sum(),
            absent: known.map(|absent| u64::from(absent.weight)).chain(missed).sum(),
        }
    }

    /// The own cluster may stand on several rungs. What is missed of it belongs to none of them, so what it cannot carry
    /// passes all of them; what stays is spread over them as it would be. `goes_on` says whether anything goes on from a
    /// rung to the next.
    pub(super) fn lead_past(&self, rungs: &mut [Rung<'_>], goes_on: impl Fn(&Rung<'_>, &Rung<'_>) -> bool) {
        let count = rungs.len();
        for (capacity, on) in self.0.values().filter(|(_, on)| on.len() > 1 && on.end < count) {
            if !rungs[on.start..=on.end].windows(2).all(|pair| goes_on(&pair[0], &pair[1])) {
                continue;
            }
            let its = &mut rungs[on.clone()];
            let ready = its.iter().map(|rung| rung.capacity.ready).sum();
            let capacity = Capacity { ready, absent: capacity.saturating_sub(ready) };
            let stays = WHOLE - part(WHOLE, capacity.excess());
            let mut left = WHOLE;
            let usual: Vec<u64> = its
                .iter()
                .map(|rung| {
                    let on = part(left, rung.passes);
                    std::mem::replace(&mut left, on) - on
                })
                .collect();
            let all: u64 = usual.iter().sum();
            let mut left = WHOLE;
            for (rung, keeps) in its.iter_mut().zip(usual) {
                if left == 0 {
                    break;
                }
                let on = left.saturating_sub(keeps * stays / all);
                rung.passes = u16::try_from(on * 65_536 / left).unwrap_or(u16::MAX);
                left = on;
            }
        }
    }
}

/// So many 65,536ths of it.
fn part(of: u64, passes: u16) -> u64 {
    of * u64::from(passes) / 65_536
}

/// What is ready of a cluster on a rung.
fn ready(rung: &Rung<'_>, cluster: &ClusterName) -> u64 {
    let its = rung.candidates.iter().filter(|c| c.endpoint.key.service.cluster == *cluster);
    its.map(|candidate| u64::from(candidate.weight)).sum()
}
