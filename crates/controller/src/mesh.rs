//! What the cluster's MeshNodes ought to be: ranges for nodes that nobody else gives any, and what agents reported. Nodes,
//! reports and MeshNodes in, steps out; each touches one node. Time is an argument; nothing here waits or writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::Complaint;
use cluster::kubernetes::meshnode::{Event, Held, Reported};
use engine::ranges::Ranges;
use ipnet::IpNet;

/// A node without ranges gets one after this long: whoever else gives nodes their ranges (kube-controller-manager, a
/// cloud) does it at once.
const SETTLE: Duration = Duration::from_secs(2);

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make the node's MeshNode, or change it, so that it gives these ranges.
    Give {
        /// Which node.
        node: String,
        /// Possibly none: the MeshNode is there for what the agent reports.
        ranges: Vec<IpNet>,
    },
    /// Write down what its agent reported.
    Report {
        /// Which node.
        node: String,
        /// What.
        reported: Reported,
    },
    /// Remove the MeshNode: its Node is gone.
    Remove {
        /// Which node.
        node: String,
        /// The MeshNode's uid.
        uid: String,
    },
}

impl Step {
    /// The node that it is about.
    pub(crate) fn node(&self) -> &str {
        match self {
            Self::Give { node, .. } | Self::Report { node, .. } | Self::Remove { node, .. } => node,
        }
    }
}

/// A Node, and what is known of it beside its MeshNode.
#[derive(Debug)]
struct Node {
    /// The ranges that everybody is told: its own, or those of its MeshNode.
    ranges: Vec<IpNet>,
    since: Duration,
}

/// All nodes and MeshNodes.
#[derive(Debug)]
pub(crate) struct Mesh {
    nodes: BTreeMap<String, Node>,
    nodes_synced: bool,
    held: BTreeMap<String, Held>,
    held_synced: bool,
    reports: BTreeMap<String, Reported>,
    ranges: Ranges,
    /// What was given and is not seen in a MeshNode yet.
    given: BTreeMap<String, Vec<IpNet>>,
    /// Nodes for which nothing was left, and why.
    exhausted: BTreeMap<String, String>,
    /// Nodes to look at.
    dirty: BTreeSet<String>,
    /// Nodes to look at later.
    later: BTreeSet<(Duration, String)>,
    /// Nodes about which something is being written.
    busy: BTreeSet<String>,
    /// Nodes whose complaints may be others.
    changed: BTreeSet<String>,
}

impl Mesh {
    pub(crate) fn new(ranges: Ranges) -> Self {
        Self {
            nodes: BTreeMap::new(),
            nodes_synced: false,
            held: BTreeMap::new(),
            held_synced: false,
            reports: BTreeMap::new(),
            ranges,
            given: BTreeMap::new(),
            exhausted: BTreeMap::new(),
            dirty: BTreeSet::new(),
            later: BTreeSet::new(),
            busy: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// A Node is now so.
    pub(crate) fn handle_node(&mut self, name: &str, ranges: &[IpNet], now: Duration) {
        let since = self.nodes.get(name).map_or(now, |node| node.since);
        self.nodes.insert(name.into(), Node { ranges: ranges.to_vec(), since });
        self.look_again(name);
    }

    /// A Node is gone.
    pub(crate) fn handle_node_gone(&mut self, name: &str) {
        self.nodes.remove(name);
        self.reports.remove(name);
        self.look_again(name);
    }

    /// All Nodes are known.
    pub(crate) fn handle_nodes_synced(&mut self) {
        self.nodes_synced = true;
        self.look_at_all();
    }

    /// What an agent reported.
    pub(crate) fn handle_report(&mut self, name: &str, reported: Reported) {
        self.reports.insert(name.into(), reported);
        self.dirty.insert(name.into());
    }

    /// What is said of MeshNodes.
    pub(crate) fn handle_held(&mut self, event: Event) {
        match event {
            Event::Upsert(name, held) => {
                // What we have written ourselves may be known already.
                let known = self.held.get(&name).filter(|known| known.uid == held.uid);
                if known.is_some_and(|known| known.version > held.version) {
                    return;
                }
                if !held.pod_cidrs.is_empty() {
                    self.given.remove(&name);
                }
                self.held.insert(name.clone(), held);
                self.look_again(&name);
            }
            Event::Delete(name) => {
                self.held.remove(&name);
                self.look_again(&name);
            }
            Event::Synced => {
                self.held_synced = true;
                self.look_at_all();
            }
        }
    }

    /// What the node's MeshNode says that its agent reported.
    pub(crate) fn reported(&self, name: &str) -> Option<&Reported> {
        self.held.get(name)?.reported.as_ref()
    }

    /// Whether an agent has reported to us.
    pub(crate) fn has_report(&self, name: &str) -> bool {
        self.reports.contains_key(name)
    }

    /// Every node's report, as the MeshNodes have it.
    pub(crate) fn all_reported(&self) -> Vec<(String, Reported)> {
        let reported = |(name, held): (&String, &Held)| Some((name.clone(), held.reported.clone()?));
        self.held.iter().filter_map(reported).collect()
    }

    /// A step was done; the MeshNode is now so, or gone.
    pub(crate) fn handle_done(&mut self, name: &str, held: Option<Held>) {
        self.busy.remove(name);
        self.handle_held(match held {
            Some(held) => Event::Upsert(name.into(), held),
            None => Event::Delete(name.into()),
        });
    }

    /// A step was not done, or is not known to be: it is looked at again at that time.
    pub(crate) fn handle_failed(&mut self, name: &str, again: Duration) {
        self.busy.remove(name);
        self.later.insert((again, name.into()));
    }

    /// Somebody else writes from now on: what we meant to give is theirs to give.
    pub(crate) fn step_down(&mut self) {
        self.busy.clear();
        self.reports.clear();
        for name in std::mem::take(&mut self.given).into_keys() {
            self.look_again(&name);
        }
    }

    /// We write from now on: everything is looked at.
    pub(crate) fn step_up(&mut self) {
        self.look_at_all();
    }

    /// What to write next, one step for a node at a time. Nothing before all Nodes and MeshNodes are known.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Step> {
        if !self.nodes_synced || !self.held_synced {
            return None;
        }
        while let Some((at, _)) = self.later.first()
            && *at <= now
            && let Some((_, name)) = self.later.pop_first()
        {
            self.dirty.insert(name);
        }
        while let Some(name) = self.dirty.pop_first() {
            if self.busy.contains(&name) {
                continue; // it is looked at again when that is done
            }
            if let Some(step) = self.step(&name, now) {
                self.busy.insert(name);
                return Some(step);
            }
        }
        None
    }

    /// When there may be something to write, other than now.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.later.first().map(|(at, _)| *at)
    }

    fn step(&mut self, name: &str, now: Duration) -> Option<Step> {
        let Some(node) = self.nodes.get(name) else {
            let held = self.held.get(name)?;
            return Some(Step::Remove { node: name.into(), uid: held.uid.clone() });
        };
        let held = self.held.get(name).map(|held| held.pod_cidrs.clone());
        let ranges = match held.clone().unwrap_or_default() {
            // It has others, and those count.
            held if !node.ranges.is_empty() && node.ranges != held => Vec::new(),
            held if !held.is_empty() => held,
            _ if !node.ranges.is_empty() => Vec::new(),
            _ if now < node.since + SETTLE => {
                self.later.insert((node.since + SETTLE, name.into()));
                Vec::new()
            }
            _ => self.give(name),
        };
        let node = || name.to_string();
        let reported = self.reports.get(name);
        if held.as_ref().is_none_or(|held| *held != ranges)
            && (held.is_some() || reported.is_some() || !ranges.is_empty())
        {
            return Some(Step::Give { node: node(), ranges });
        }
        let reported = reported.filter(|reported| self.reported(name) != Some(*reported))?;
        Some(Step::Report { node: node(), reported: reported.clone() })
    }

    fn give(&mut self, name: &str) -> Vec<IpNet> {
        if let Some(given) = self.given.get(name) {
            return given.clone();
        }
        match self.ranges.give(name) {
            Ok(ranges) => {
                self.exhausted.remove(name);
                self.changed.insert(name.into());
                self.given.insert(name.into(), ranges.clone());
                ranges
            }
            Err(exhausted) => {
                self.exhausted.insert(name.into(), exhausted.to_string());
                self.changed.insert(name.into());
                Vec::new()
            }
        }
    }

    /// What is wrong with a node's ranges.
    pub(crate) fn complaints(&self, name: &str) -> Vec<Complaint> {
        let mut all = Vec::new();
        for overlap in self.ranges.overlaps(name) {
            let message = format!(
                "its range {} shares addresses with node {}'s {}: give one of them another",
                overlap.range,
                overlap.other,
                text(self.ranges.held(&overlap.other))
            );
            all.push(Complaint { reason: "PodRangeTwice", message });
        }
        if let Some(why) = self.exhausted.get(name) {
            let message = format!("it gets no range for its pods: {why}; add a range to cluster.podCIDRs");
            all.push(Complaint { reason: "PodRangesExhausted", message });
        }
        for problem in self.held.get(name).iter().flat_map(|held| &held.unreadable) {
            let message = format!("its MeshNode: {problem}");
            all.push(Complaint { reason: "MeshNodeUnreadable", message });
        }
        all
    }

    /// The nodes whose complaints may be others since this was asked last.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    fn look_at_all(&mut self) {
        self.dirty.extend(self.nodes.keys().chain(self.held.keys()).cloned());
    }

    /// Works out anew what a node holds.
    fn look_again(&mut self, name: &str) {
        self.dirty.insert(name.into());
        let own = self.nodes.get(name).map(|node| node.ranges.as_slice()).unwrap_or_default();
        let held = self.held.get(name).map(|held| held.pod_cidrs.as_slice()).unwrap_or_default();
        if !self.nodes.contains_key(name) || !own.is_empty() || !held.is_empty() {
            self.given.remove(name);
            self.exhausted.remove(name);
        }
        let given = self.given.get(name).map(Vec::as_slice).unwrap_or_default();
        let holds = [own, held, given].into_iter().find(|ranges| !ranges.is_empty()).unwrap_or_default();
        let touched = self.ranges.claim(name, holds);
        if !touched.is_empty() {
            // What was given back may be what others wait for.
            self.dirty.extend(self.exhausted.keys().cloned());
        }
        self.changed.extend(touched);
        self.changed.insert(name.into());
    }
}

fn text(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
