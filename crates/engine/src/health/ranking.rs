//! Which other cluster is nearest, without changing one's mind over nothing: two change places only for a difference
//! beyond the band, so times that swing within it leave the order alone.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ClusterName;

/// Two clusters change places only for a difference of more than this,
const LEAST: Duration = Duration::from_millis(1);

/// and of more than a tenth of the further one's time.
const PART: u32 = 10;

/// The other clusters, nearest first, with a memory.
#[derive(Debug, Clone, Default)]
pub struct Ranking(Vec<ClusterName>);

impl Ranking {
    /// Begins with an order from before.
    pub fn new(order: Vec<ClusterName>) -> Self {
        Self(order)
    }

    /// The order now, nearest first: those without a time last, in the order they had, new ones by name.
    pub fn order(&self) -> &[ClusterName] {
        &self.0
    }

    /// Takes in what was measured of every cluster there is. Returns whether the order is another now.
    pub fn update(&mut self, times: &BTreeMap<ClusterName, Option<Duration>>) -> bool {
        let known = |name: &ClusterName| times.get(name).copied().flatten();
        let remembered = self.0.iter().filter(|name| known(name).is_some());
        let mut fresh: Vec<_> =
            times.keys().filter(|name| known(name).is_some() && !self.0.contains(name)).collect();
        fresh.sort_by_key(|name| known(name));

        let mut order: Vec<ClusterName> = Vec::with_capacity(times.len());
        for name in remembered.chain(fresh) {
            let time = known(name).expect("filtered");
            let clearly_nearer = |other: &ClusterName| {
                let further = known(other).expect("filtered");
                time + LEAST.max(further / PART) < further
            };
            let place = order.iter().position(clearly_nearer).unwrap_or(order.len());
            order.insert(place, name.clone());
        }
        let unknown = |name: &&ClusterName| times.contains_key(*name) && known(name).is_none();
        let new = |name: &&ClusterName| !self.0.contains(name);
        order.extend(self.0.iter().filter(unknown).cloned());
        order.extend(times.keys().filter(unknown).filter(new).cloned());
        let changed = order != self.0;
        self.0 = order;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster_name;

    /// Feeds rounds of `name=microseconds` (or `name=?`) and compares the order after each.
    fn check(rounds: &[(&str, &str)]) {
        let mut ranking = Ranking::default();
        for (times, want) in rounds {
            let times = times
                .split_whitespace()
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, us)| (cluster_name(name), us.parse().ok().map(Duration::from_micros)))
                .collect();
            let before = ranking.order().to_vec();
            let changed = ranking.update(&times);
            let order: Vec<_> = ranking.order().iter().map(|c| c.as_str()).collect();
            assert_eq!(order.join(" "), *want, "{times:?}");
            assert_eq!(changed, before != ranking.order());
            assert!(!ranking.update(&times), "the same times again change nothing: {times:?}");
        }
    }

    #[test]
    fn by_time_unknown_last_ties_by_name() {
        check(&[("b=9000 a=20000 c=? d=9000 e=?", "b d a c e"), ("", "")]);
    }

    #[test]
    fn a_small_difference_changes_nothing() {
        check(&[
            ("a=20000 b=22000", "a b"),
            ("a=22000 b=20500", "a b"), // more than 1 ms, less than a tenth
            ("a=22000 b=19700", "b a"), // both
            ("a=19000 b=20000", "b a"),
            ("a=3000 b=3900", "b a"), // a tenth, less than 1 ms
            ("a=2800 b=3900", "a b"),
        ]);
    }

    #[test]
    fn a_far_step_crosses_small_ones() {
        check(&[("c=11200", "c"), ("c=11200 b=10500", "c b"), ("c=11200 b=10500 a=9900", "a c b")]);
    }

    #[test]
    fn an_order_from_before_stands_until_something_is_measured() {
        let mut ranking = Ranking::new(["c", "a", "gone"].map(cluster_name).into());
        assert!(ranking.update(&["a", "b", "c"].map(|name| (cluster_name(name), None)).into()));
        assert_eq!(ranking.order(), ["c", "a", "b"].map(cluster_name));
    }

    #[test]
    fn coming_and_going() {
        check(&[
            ("a=10000 b=20000", "a b"),
            ("a=? b=20000", "b a"),
            ("a=10000 b=20000 c=15000", "a c b"),
            ("a=10000 b=20000", "a b"),
        ]);
    }
}
