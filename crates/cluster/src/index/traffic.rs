//! The annotations that join services over clusters: ours, Cilium's, and Cilium's from before they were renamed. Of
//! several spellings the first that is there counts, ours before Cilium's. What cannot be read is said and counts as left
//! out; the rest of the object is as good as ever.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use model::{ClusterName, Prefer, Spread, Traffic};

use super::complaint::{complain, short};
use crate::Complaint;

/// Whether a service is one with its namesakes in other clusters.
const GLOBAL: [&str; 3] = ["causeway.io/global", "service.cilium.io/global", "io.cilium/global-service"];
/// Whether, being global, it lends its endpoints.
const SHARED: [&str; 3] = ["causeway.io/shared", "service.cilium.io/shared", "io.cilium/shared-service"];
/// Which cluster comes first, in Cilium's words.
const AFFINITY: [&str; 2] = ["service.cilium.io/affinity", "io.cilium/service-affinity"];
/// Which cluster comes first, in ours.
const PREFER: &str = "causeway.io/prefer";
/// How the own cluster's backends stand to each other.
const TRAFFIC: &str = "causeway.io/traffic";
/// What each cluster's backends are worth.
const CLUSTER_WEIGHTS: &str = "causeway.io/cluster-weights";
/// What each cluster's backends are meant to carry together.
const CAPACITY: &str = "causeway.io/capacity";

/// The most clusters that one annotation names.
const MOST_CLUSTERS: usize = 511;
/// The most that a cluster's backends are declared to carry.
const MOST_CAPACITY: u32 = 1_000_000;

type Annotations = BTreeMap<String, String>;

/// What the annotations of a service say of other clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) global: bool,
    pub(super) shared: bool,
    pub(super) traffic: Traffic,
}

impl Joined {
    pub(super) fn new(annotations: Option<&Annotations>, unsaid: Spread, found: &mut Vec<Complaint>) -> Self {
        let none = Annotations::new();
        let annotations = annotations.unwrap_or(&none);
        let global = flag(annotations, &GLOBAL, false, found);
        // As Cilium has it: what is not global is not shared, whatever it says.
        let shared = global && flag(annotations, &SHARED, true, found);
        let mut traffic = traffic(annotations, unsaid, found);
        if global && !annotations.contains_key(PREFER) {
            traffic.prefer = affinity(annotations, found).unwrap_or(traffic.prefer);
        }
        Self { global, shared, traffic }
    }
}

/// Whether the annotations make a service global.
pub fn is_global(annotations: Option<&Annotations>) -> bool {
    annotations.is_some_and(|annotations| flag(annotations, &GLOBAL, false, &mut Vec::new()))
}

/// How `causeway.io/prefer`, `causeway.io/traffic`, `causeway.io/cluster-weights` and `causeway.io/capacity` spread the
/// clients of a service, or of the import of one that carries them as exported annotations. `unsaid` is how the own
/// cluster's backends stand to each other where none says.
pub fn traffic(annotations: &Annotations, unsaid: Spread, found: &mut Vec<Complaint>) -> Traffic {
    let weights = annotations.get(CLUSTER_WEIGHTS).map(|text| WEIGHTS.read(text, found));
    let cluster_weights: BTreeMap<ClusterName, u16> = weights.unwrap_or_default();
    let capacities = annotations.get(CAPACITY).map(|text| CAPACITIES.read(text, found)).unwrap_or_default();
    let prefer = annotations.get(PREFER).and_then(|text| prefer(text, found)).unwrap_or_else(|| {
        // A weight between clusters that stand one after the other would say nothing.
        if cluster_weights.values().any(|weight| *weight > 1) { Prefer::Even } else { Prefer::Ladder }
    });
    let spread = annotations.get(TRAFFIC).and_then(|text| spread(text, found)).unwrap_or(unsaid);
    Traffic { prefer, spread, cluster_weights, capacities }
}

/// The first of the annotations that is there.
fn first<'a>(annotations: &'a Annotations, keys: &[&'static str]) -> Option<(&'static str, &'a str)> {
    keys.iter().find_map(|key| Some((*key, annotations.get(*key)?.as_str())))
}

/// Cilium's reading: `true` in any case, and nothing else.
fn flag(annotations: &Annotations, keys: &[&'static str], absent: bool, found: &mut Vec<Complaint>) -> bool {
    let Some((key, text)) = first(annotations, keys) else { return absent };
    let is = text.eq_ignore_ascii_case("true");
    if !is && !text.is_empty() && !text.eq_ignore_ascii_case("false") {
        let message = format!(
            "the annotation {key} is {}, which counts as \"false\"; write \"true\" or \"false\"",
            short(text)
        );
        complain(found, "UnknownFlag", message);
    }
    is
}

fn affinity(annotations: &Annotations, found: &mut Vec<Complaint>) -> Option<Prefer> {
    let (key, text) = first(annotations, &AFFINITY)?;
    match text.to_ascii_lowercase().as_str() {
        "none" | "" => Some(Prefer::Even),
        "local" => Some(Prefer::Local),
        "remote" => Some(Prefer::Remote),
        _ => {
            let message = format!(
                "the annotation {key} is {}, which is no affinity; it counts as left out; write \"none\", \"local\" or \
                 \"remote\"",
                short(text)
            );
            complain(found, "UnknownAffinity", message);
            None
        }
    }
}

fn prefer(text: &str, found: &mut Vec<Complaint>) -> Option<Prefer> {
    match text.trim() {
        "ladder" => return Some(Prefer::Ladder),
        "local" => return Some(Prefer::LadderLocal),
        "remote" => return Some(Prefer::LadderRemote),
        "even" => return Some(Prefer::Even),
        _ => {}
    }
    let mut clusters: Vec<ClusterName> = Vec::new();
    let mut wrong = None;
    // A comma at the end lets a list be of one, even if its name is one of the words.
    for name in text.trim().strip_suffix(',').unwrap_or(text).split(',').map(str::trim) {
        match ClusterName::new(name) {
            Ok(name) if clusters.contains(&name) => wrong = Some(format!("names {name} twice")),
            Ok(name) => clusters.push(name),
            Err(_) => wrong = Some(format!("has {}, which is no cluster's name", short(name))),
        }
    }
    if clusters.len() > MOST_CLUSTERS {
        wrong = Some(format!("names {} clusters, and there are at most {MOST_CLUSTERS}", clusters.len()));
    }
    let Some(wrong) = wrong else { return Some(Prefer::Clusters(clusters)) };
    let message = format!(
        "the annotation {PREFER} is {} and {wrong}; it counts as left out; write \"ladder\", \"local\", \"remote\", \
         \"even\", or clusters in their order with commas between them: \"aws,gcp\"",
        short(text)
    );
    complain(found, "UnknownPreference", message);
    None
}

fn spread(text: &str, found: &mut Vec<Complaint>) -> Option<Spread> {
    match text.trim() {
        "ladder" => Some(Spread::Ladder),
        "even" => Some(Spread::Even),
        _ => {
            let message = format!(
                "the annotation {TRAFFIC} is {}, which is no way to spread clients; it counts as left out; write \
                 \"ladder\" or \"even\"",
                short(text)
            );
            complain(found, "UnknownTraffic", message);
            None
        }
    }
}

/// An annotation that says a number for each cluster: `aws=3,gcp=1`.
struct Numbers<N> {
    key: &'static str,
    least: N,
    most: N,
    /// What each number is.
    gives: &'static str,
    reason: &'static str,
}

const WEIGHTS: Numbers<u16> = Numbers {
    key: CLUSTER_WEIGHTS,
    least: 0,
    most: super::HEAVIEST,
    gives: "a weight",
    reason: "UnknownClusterWeight",
};

const CAPACITIES: Numbers<u32> =
    Numbers { key: CAPACITY, least: 1, most: MOST_CAPACITY, gives: "a capacity", reason: "UnknownCapacity" };

impl<N: FromStr + PartialOrd + Display> Numbers<N> {
    /// Each cluster that can be read counts, whatever stands beside it.
    fn read(&self, text: &str, found: &mut Vec<Complaint>) -> BTreeMap<ClusterName, N> {
        let Self { key, least, most, gives, reason } = self;
        let mut numbers = BTreeMap::new();
        let mut wrong: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').and_then(|(name, number)| {
                let number = number.trim().parse::<N>().ok();
                let number = number.filter(|number| (least..=most).contains(&number))?;
                Some((ClusterName::new(name.trim()).ok()?, number))
            });
            match pair {
                Some((name, number)) if numbers.len() < MOST_CLUSTERS && !numbers.contains_key(&name) => {
                    numbers.insert(name, number);
                }
                _ => wrong.push(part),
            }
        }
        if let Some(one) = wrong.first() {
            let message = format!(
                "the annotation {key} has {}, which gives no cluster {gives}; it counts as left out, {}; write each \
                 cluster once, with a whole number from {least} to {most}: \"aws=3,gcp=1\"",
                short(one),
                if wrong.len() > 1 {
                    format!("as do {} more", wrong.len() - 1)
                } else {
                    "the others count".into()
                },
            );
            complain(found, reason, message);
        }
        numbers
    }
}

#[cfg(test)]
mod tests;
