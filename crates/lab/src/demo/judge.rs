//! Whether what was seen is what should happen. Pure: samples in, a line of the story out.

use std::collections::BTreeSet;

use model::{ClusterName, Tier};

use super::Line;
use super::act::Watched;
use crate::load::{Report, Sample};

/// The longest that a change of readiness may take to reach the last client, probe period included.
const READINESS_MS: f64 = 1500.0;

/// The longest that requests may fail after a cloud has died.
const DEATH_MS: f64 = 1000.0;

/// The fewest requests after a change that show what became of it.
const ENOUGH: usize = 100;

/// Who should answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// Backends this near.
    Tier(Tier),
    /// Backends of this cluster.
    Cluster(ClusterName),
}

impl Expected {
    fn holds(&self, sample: &Sample) -> bool {
        match (self, &sample.answer) {
            (_, None) => false,
            (Self::Tier(tier), Some(_)) => sample.tier == Some(*tier),
            (Self::Cluster(cluster), Some(answer)) => answer.cluster == cluster.as_str(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Tier(Tier::Node) => "the same node".into(),
            Self::Tier(Tier::Elsewhere) => "other clusters".into(),
            Self::Tier(tier) => format!("the same {tier}"),
            Self::Cluster(cluster) => cluster.to_string(),
        }
    }
}

/// Nothing happened: everything is answered as expected.
pub(super) fn calm(title: String, command: String, expected: &Expected, watched: &Watched) -> Line {
    let mut line = line(title, command, expected, watched);
    line.note = format!("answered by {}", who(&line.settled));
    if line.all.failures() > 0 {
        line.fail(format!("{} requests failed; none should", line.all.failures()));
    } else if !watched.samples.iter().all(|sample| expected.holds(sample)) {
        line.fail(format!("all answers should come from {}", expected.words()));
    }
    line
}

/// A backend was asked to leave: no request fails, and soon others answer.
pub(super) fn unready(title: String, command: String, expected: &Expected, watched: &Watched) -> Line {
    let mut line = line(title, command, expected, watched);
    let change = line.change_ms.unwrap_or_default();
    line.note = format!("out of rotation after {change:.0} ms; answered by {}", who(&line.settled));
    if line.all.failures() > 0 {
        line.fail(format!(
            "{} requests failed; none should while backends leave in order",
            line.all.failures()
        ));
    }
    line.must_settle(expected, READINESS_MS);
    line
}

/// A cloud died: requests fail for less than a second, and others answer.
pub(super) fn killed(title: String, command: String, expected: &Expected, watched: &Watched) -> Line {
    let mut line = line(title, command, expected, watched);
    line.note = match line.last_failure_ms {
        Some(ms) => format!(
            "last failed request {ms:.0} ms after ({} of {} failed); answered by {}",
            line.all.failures(),
            line.all.sent,
            who(&line.settled)
        ),
        None => format!("no request failed; answered by {}", who(&line.settled)),
    };
    if let (Some(ms), true) = (line.last_failure_ms, line.last_failure_ms >= Some(DEATH_MS)) {
        line.fail(format!(
            "the last request failed {ms:.0} ms after the kill; it should be less than {DEATH_MS:.0}"
        ));
    }
    // A request sent just before may have been on its way.
    let early =
        watched.samples.iter().filter(|s| s.answer.is_none() && Some(s.ended()) < watched.mark).count();
    if early > 0 {
        line.fail(format!("{early} requests failed before the kill; none should"));
    }
    line.must_settle(expected, DEATH_MS);
    line
}

/// What was seen, not yet judged.
fn line(title: String, command: String, expected: &Expected, watched: &Watched) -> Line {
    let all = Report::new(&watched.samples);
    let since = |at: f64| watched.mark.map(|mark| ((at - mark) * 1e3).max(0.0));
    let late =
        |sample: &&Sample| watched.mark.is_some_and(|mark| sample.at >= mark) && !expected.holds(sample);
    let changed = watched.samples.iter().filter(late).map(|sample| sample.at).max_by(f64::total_cmp);
    let settled_from = changed.or(watched.mark).unwrap_or_default();
    let settled = Report::new(watched.samples.iter().filter(|sample| sample.at > settled_from));
    Line {
        title,
        note: String::new(),
        command,
        change_ms: watched.mark.and(changed.and_then(since).or(Some(0.0))),
        last_failure_ms: all.last_failure.and_then(since),
        all,
        settled,
        ok: true,
        wrong: String::new(),
    }
}

impl Line {
    /// The first thing wrong is the one that is told.
    fn fail(&mut self, wrong: String) {
        if self.ok {
            self.ok = false;
            self.wrong = wrong;
        }
    }

    fn must_settle(&mut self, expected: &Expected, limit: f64) {
        let change = self.change_ms.unwrap_or_default();
        if change >= limit {
            self.fail(format!(
                "{change:.0} ms after, not everything came from {}; it should within {limit:.0} ms",
                expected.words()
            ));
        } else if self.settled.sent < ENOUGH {
            self.fail(format!(
                "only {} requests were sent afterwards; {ENOUGH} are needed",
                self.settled.sent
            ));
        }
    }
}

/// Who answered, in words.
fn who(report: &Report) -> String {
    let others: BTreeSet<&String> = report.clusters.keys().collect();
    let mut parts: Vec<String> = Vec::new();
    for tier in report.tiers.keys() {
        let percent = report.share(*tier) * 100.0;
        parts.push(match tier {
            Tier::Elsewhere => {
                let names = others.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("+");
                format!("{names} {percent:.0} %")
            }
            tier => format!("same {tier} {percent:.0} %"),
        });
    }
    if parts.is_empty() { "nobody".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Answer;
    use crate::load::Outcome;

    /// 400 requests in two seconds from second 0; what becomes of each is decided by its time.
    fn watched(mark: Option<f64>, what: impl Fn(f64) -> Option<(&'static str, Tier)>) -> Watched {
        let sample = |i: u32| {
            let at = f64::from(i) / 200.0;
            let found = what(at);
            let answer = found.map(|(cluster, _)| Answer { cluster: cluster.into(), ..Answer::default() });
            let outcome = if found.is_some() { Outcome::Ok } else { Outcome::Timeout };
            Sample { at, ms: 1.0, outcome, answer, tier: found.map(|(_, tier)| tier) }
        };
        Watched { samples: (0..400).map(sample).collect(), mark }
    }

    fn gcp() -> Expected {
        Expected::Cluster(ClusterName::new("gcp").unwrap())
    }

    #[test]
    fn calm_lines() {
        let node = Expected::Tier(Tier::Node);
        let judged = |what: fn(f64) -> Option<(&'static str, Tier)>| {
            calm("t".into(), "c".into(), &node, &watched(None, what))
        };
        let good = judged(|_| Some(("aws", Tier::Node)));
        assert!(good.ok && good.note.contains("same node 100 %"), "{good:?}");
        let stray = judged(|at| Some(("aws", if at < 0.1 { Tier::Zone } else { Tier::Node })));
        assert!(!stray.ok && stray.wrong.contains("the same node"), "{stray:?}");
        let failed = judged(|at| (at > 0.0).then_some(("aws", Tier::Node)));
        assert!(!failed.ok && failed.wrong.contains("1 requests failed"), "{failed:?}");
    }

    #[test]
    fn backends_that_leave() {
        let judged = |what: &dyn Fn(f64) -> Option<(&'static str, Tier)>| {
            unready("t".into(), "c".into(), &gcp(), &watched(Some(0.4), what))
        };
        let after = |moment: f64| {
            move |at| Some(if at < moment { ("aws", Tier::Node) } else { ("gcp", Tier::Elsewhere) })
        };
        let good = judged(&after(0.6));
        assert!(good.ok && good.note.contains("gcp 100 %"), "{good:?}");
        assert!((190.0..=200.0).contains(&good.change_ms.unwrap()), "{good:?}");
        let at_once = judged(&after(0.0));
        assert!(at_once.ok && at_once.change_ms == Some(0.0), "{at_once:?}");
        let never = judged(&after(9.0));
        assert!(!never.ok && never.wrong.contains("gcp"), "{never:?}");
        let lossy = judged(&|at| if at > 0.5 && at < 0.51 { None } else { after(0.6)(at) });
        assert!(!lossy.ok && lossy.wrong.contains("failed"), "{lossy:?}");
    }

    #[test]
    fn clouds_that_die() {
        let judged = |from: f64, to: f64| {
            let what = move |at| {
                if at >= from && at < to {
                    None
                } else if at < from {
                    Some(("aws", Tier::Node))
                } else {
                    Some(("gcp", Tier::Elsewhere))
                }
            };
            killed("t".into(), "c".into(), &gcp(), &watched(Some(0.4), what))
        };
        let good = judged(0.4, 0.9);
        assert!(good.ok && good.note.contains("last failed request 495 ms"), "{good:?}");
        assert_eq!(good.all.failures(), 100);
        let none = judged(0.4, 0.4);
        assert!(none.ok && none.note.contains("no request failed"), "{none:?}");
        let slow = judged(0.4, 1.45);
        assert!(!slow.ok && slow.wrong.contains("less than 1000"), "{slow:?}");
        let early = judged(0.2, 0.9);
        assert!(!early.ok && early.wrong.contains("before the kill"), "{early:?}");
    }
}
