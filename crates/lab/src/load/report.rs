//! What a load shows, from its samples.

use std::collections::BTreeMap;

use model::Tier;
use serde::{Deserialize, Serialize};

use super::{Outcome, Sample};
use crate::echo::Answer;

/// What became of a load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Requests sent.
    pub sent: usize,
    /// Requests that an echo server answered.
    pub answered: usize,
    /// The others, by what became of them.
    pub failed: BTreeMap<Outcome, usize>,
    /// The answers by how near they came from.
    pub tiers: BTreeMap<Tier, usize>,
    /// The answers by cluster.
    pub clusters: BTreeMap<String, usize>,
    /// Half of the answers took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 answers took no longer.
    pub p99_ms: Option<f64>,
    /// When the last request that failed was sent, in seconds since 1970.
    pub last_failure: Option<f64>,
}

impl Report {
    /// Of these samples.
    pub fn new<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut report = Self::default();
        let mut times = Vec::new();
        for sample in samples {
            report.sent += 1;
            let Some(answer) = &sample.answer else {
                *report.failed.entry(sample.outcome).or_default() += 1;
                report.last_failure = Some(report.last_failure.unwrap_or(sample.at).max(sample.at));
                continue;
            };
            report.answered += 1;
            *report.clusters.entry(answer.cluster.clone()).or_default() += 1;
            if let Some(tier) = sample.tier {
                *report.tiers.entry(tier).or_default() += 1;
            }
            times.push(sample.ms);
        }
        times.sort_by(f64::total_cmp);
        report.p50_ms = quantile(&times, 0.5);
        report.p99_ms = quantile(&times, 0.99);
        report
    }

    /// How many of the answers came from this near, 0 to 1.
    pub fn share(&self, tier: Tier) -> f64 {
        let count = self.tiers.get(&tier).copied().unwrap_or_default();
        if self.answered == 0 { 0.0 } else { count as f64 / self.answered as f64 }
    }

    /// Requests that were not answered.
    pub fn failures(&self) -> usize {
        self.sent - self.answered
    }
}

/// The smallest value that this part of all does not exceed.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// How near a server is to a client. A region or zone that is not known is equal to nothing, and no two providers share any.
pub fn tier(client: &Answer, server: &Answer) -> Tier {
    let same = |a: &str, b: &str| !a.is_empty() && a == b;
    if client.cluster != server.cluster {
        Tier::Elsewhere
    } else if same(&client.node, &server.node) {
        Tier::Node
    } else if client.provider != server.provider || !same(&client.region, &server.region) {
        Tier::Cluster
    } else if same(&client.zone, &server.zone) {
        Tier::Zone
    } else {
        Tier::Region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Answer {
        let mut parts = text.split('/').map(str::to_string);
        let mut next = || parts.next().unwrap_or_default();
        let first = next();
        let (cluster, provider) = first.split_once('@').unwrap_or((&first, ""));
        let (cluster, provider) = (cluster.into(), provider.into());
        Answer { cluster, provider, region: next(), zone: next(), node: next(), ..Answer::default() }
    }

    #[test]
    fn tiers() {
        let cases = [
            ("aws/r/z/n", "aws/r/z/n", Tier::Node),
            ("aws/r/z/n", "aws/r/z/m", Tier::Zone),
            ("aws/r/z/n", "aws/r/y/m", Tier::Region),
            ("aws/r/z/n", "aws/s/z/m", Tier::Cluster),
            ("aws/r/z/n", "gcp/r/z/n", Tier::Elsewhere),
            ("aws@p/r/z/n", "aws@p/r/z/m", Tier::Zone),
            ("aws@p/r/z/n", "aws@q/r/z/m", Tier::Cluster),
            ("aws/r/z/n", "aws@q/r/z/m", Tier::Cluster),
            ("aws///n", "aws///m", Tier::Cluster),
            ("aws/r//n", "aws/r//m", Tier::Region),
        ];
        for (client, server, want) in cases {
            assert_eq!(tier(&place(client), &place(server)), want, "{client} {server}");
        }
    }

    #[test]
    fn counts_and_quantiles() {
        let sample = |i: u32| Sample {
            at: f64::from(i),
            ms: f64::from(i),
            outcome: if i > 100 { Outcome::Timeout } else { Outcome::Ok },
            answer: (i <= 100).then(|| place("aws/r/z/n")),
            tier: (i <= 100).then_some(if i <= 25 { Tier::Zone } else { Tier::Node }),
        };
        let samples: Vec<Sample> = (1..=102).rev().map(sample).collect();
        let report = Report::new(&samples);
        assert_eq!((report.sent, report.answered, report.failures()), (102, 100, 2));
        assert_eq!((report.p50_ms, report.p99_ms), (Some(50.0), Some(99.0)));
        assert_eq!(report.failed, BTreeMap::from([(Outcome::Timeout, 2)]));
        assert_eq!(report.last_failure, Some(102.0));
        assert!((report.share(Tier::Zone) - 0.25).abs() < 1e-9);
        assert_eq!(report.clusters["aws"], 100);
        let none = Report::new(&[]);
        assert_eq!((none.p50_ms, none.last_failure, none.share(Tier::Node)), (None, None, 0.0));
    }
}
