//! How far another cluster is, all things considered: what was measured, what the way there costs, how much it is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ClusterName;

/// What an operator says of the way to another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// What traffic there costs, as the round-trip time that would be put up with to save it.
    pub egress_cost: Duration,
    /// How much the cluster is wanted: one of weight 2 counts as half as far. 0 counts as 1.
    pub weight: u16,
}

impl Default for Way {
    fn default() -> Self {
        Self { egress_cost: Duration::ZERO, weight: 1 }
    }
}

impl Way {
    /// The score of a cluster at this distance: the less the nearer.
    pub fn score(&self, rtt: Duration) -> Duration {
        (rtt + self.egress_cost) / u32::from(self.weight.max(1))
    }
}

/// The score of each cluster; none while its distance is not known: what it costs says nothing of whether it can be
/// reached.
pub fn scores(
    times: &BTreeMap<ClusterName, Option<Duration>>,
    ways: &BTreeMap<ClusterName, Way>,
) -> BTreeMap<ClusterName, Option<Duration>> {
    let way = |name| ways.get(name).copied().unwrap_or_default();
    times.iter().map(|(name, time)| (name.clone(), time.map(|time| way(name).score(time)))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Ranking;
    use super::*;
    use crate::testing::cluster_name;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_score() {
        for (rtt, cost, weight, want) in
            [(40, 0, 1, 40), (40, 25, 1, 65), (40, 20, 2, 30), (40, 0, 100, 0), (40, 0, 0, 40)]
        {
            let way = Way { egress_cost: ms(cost), weight };
            assert_eq!(way.score(ms(rtt)).as_millis(), want, "{rtt} ms, {way:?}");
        }
    }

    #[test]
    fn cost_and_weight_order_clusters() {
        let times = [("far", Some(30)), ("near", Some(10)), ("new", None)];
        let times: BTreeMap<_, _> = times.map(|(name, time)| (cluster_name(name), time.map(ms))).into();
        let order = |ways: &[(&str, u64, u16)]| {
            let way = |(name, cost, weight): &(&str, u64, u16)| {
                (cluster_name(name), Way { egress_cost: ms(*cost), weight: *weight })
            };
            let mut ranking = Ranking::default();
            ranking.update(&scores(&times, &ways.iter().map(way).collect()));
            ranking.order().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(&[]), "near far new");
        assert_eq!(order(&[("near", 50, 1)]), "far near new", "10 + 50 against 30");
        assert_eq!(order(&[("far", 0, 4)]), "far near new", "30 / 4 against 10");
        assert_eq!(order(&[("near", 50, 1), ("far", 50, 1)]), "near far new");
        assert_eq!(order(&[("new", 0, 100)]), "near far new", "wanted, but not known to be reached");
    }

    proptest! {
        /// Scores that stay within the band around where they were first seen never change the order again: of two
        /// clusters that swing by less than a twentieth of the score each, none overtakes the other and comes back.
        #[test]
        fn within_the_band_nothing_flaps(
            bases in proptest::collection::vec(20_000..200_000_u64, 2..6),
            swings in proptest::collection::vec(proptest::collection::vec(-45_i64..=45, 6), 1..40),
        ) {
            let mut ranking = Ranking::default();
            let at = |swing: &[i64]| {
                let swung = bases.iter().zip(swing).map(|(base, swing)| {
                    let swing = *base as i64 * swing / 1_000;
                    Duration::from_micros(base.saturating_add_signed(swing))
                });
                let named = swung.enumerate().map(|(n, time)| (cluster_name(&format!("c{n}")), Some(time)));
                named.collect::<BTreeMap<_, _>>()
            };
            let mut orders = Vec::new();
            for swing in &swings {
                if ranking.update(&at(swing)) {
                    orders.push(ranking.order().to_vec());
                }
            }
            // Two may change places once, where they were first seen the wrong way round; never back.
            for (first, second) in (0..bases.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let [a, b] = [first, second].map(|n| cluster_name(&format!("c{n}")));
                let before = |order: &Vec<ClusterName>| {
                    order.iter().position(|name| *name == a) < order.iter().position(|name| *name == b)
                };
                let sides: Vec<bool> = orders.iter().map(before).collect();
                let turns = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
                prop_assert!(turns <= 1, "{a} and {b} changed places {turns} times: {bases:?}");
            }
        }
    }
}
