//! Which gateways are to be left alone: those that do not answer, and those that answer and carry nothing.
//!
//! A gateway is judged by what is heard through it. When every node that is reached through it has fallen silent while
//! it answers itself, it is suspected, and others carry these nodes. If one of them is heard then, the gateway does not
//! forward, whatever it says of itself: it is tried again after a while, and after twice that when it fails again. If
//! none is, it was not the gateway: the nodes themselves are gone, and nothing stays moved that others know nothing of.
//! One that did not answer has to answer for a while before it carries anything again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::NodeName;

/// How long a gateway that was silent has to answer before it is one again.
const STEADY: Duration = Duration::from_secs(3);

/// How long others have to show that they do better than one that is suspected.
const TRIAL: Duration = Duration::from_millis(1_200);

/// How long a gateway may carry nodes before it is suspected, if none was heard: longer than a trial, of which it may be
/// a part.
const GRACE: Duration = Duration::from_millis(1_500);

/// How long a gateway that carries nothing is left alone the first time.
const FIRST: Duration = Duration::from_secs(15);

/// The longest that it is left alone.
const LONGEST: Duration = Duration::from_secs(600);

/// How long one that was suspected in vain is not suspected again, unless it carries something meanwhile.
const AGAIN: Duration = Duration::from_secs(60);

/// The gateways of the mesh, as this node finds them. Call [`Gateways::follow`] when a verdict or a plan is new, and at
/// [`Gateways::deadline`].
#[derive(Debug, Default)]
pub struct Gateways {
    suspects: BTreeMap<NodeName, Suspect>,
    /// Nodes that have been silent, and when they are believed again; none while they are silent.
    silent: BTreeMap<NodeName, Option<Duration>>,
    /// Since when each carries others.
    carrying: BTreeMap<NodeName, Duration>,
    /// Those that were suspected in vain, and until when they are not suspected again.
    cleared: BTreeMap<NodeName, Duration>,
    out: BTreeSet<NodeName>,
    deadline: Option<Duration>,
    has_begun: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspect {
    /// Whom it was to carry.
    nodes: BTreeSet<NodeName>,
    /// Whether one of them was heard by way of another.
    proved: bool,
    since: Duration,
    /// For how long it is left alone.
    lasting: Duration,
}

impl Suspect {
    /// Until when it is left alone.
    fn until(&self) -> Duration {
        self.since + if self.proved { self.lasting } else { TRIAL }
    }
}

impl Gateways {
    /// Takes in who answers, and over whom everybody is reached. Returns whether other gateways are out than before.
    pub fn follow(
        &mut self,
        via: &BTreeMap<NodeName, NodeName>,
        dead: &BTreeSet<NodeName>,
        now: Duration,
    ) -> bool {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.follow_silent(dead, now);
        let mut wake: Vec<Duration> = self.silent.values().flatten().copied().collect();

        for (name, suspect) in &mut self.suspects {
            let elsewhere = |node: &&NodeName| via.get(*node).is_some_and(|hop| hop != name);
            suspect.proved |= suspect.nodes.iter().filter(elsewhere).any(|node| !dead.contains(node));
        }
        let in_vain = |suspect: &Suspect| !suspect.proved && suspect.until() <= now;
        let cleared = self.suspects.extract_if(.., |_, suspect| in_vain(suspect));
        self.cleared.extend(cleared.map(|(name, _)| (name, now + AGAIN)));
        // One that has done well for as long as it was left alone begins anew.
        self.suspects.retain(|_, suspect| now < suspect.until() + suspect.lasting);

        let mut behind: BTreeMap<&NodeName, BTreeSet<&NodeName>> = BTreeMap::new();
        for (node, hop) in via.iter().filter(|(node, hop)| node != hop) {
            behind.entry(hop).or_default().insert(node);
        }
        self.carrying.retain(|name, _| behind.contains_key(name));
        for (hop, nodes) in behind {
            let since = *self.carrying.entry(hop.clone()).or_insert(now);
            if dead.contains(hop) {
                continue;
            }
            if nodes.iter().any(|node| !dead.contains(*node)) {
                // Whoever came from one that was silent is given up a moment later perhaps, and that is not this one's fault.
                if !is_first && since > Duration::ZERO && now < since + GRACE {
                    wake.push(since + GRACE);
                    continue;
                }
                // It carries something.
                self.cleared.remove(hop);
                self.carrying.insert(hop.clone(), Duration::ZERO);
                self.suspects.retain(|name, suspect| name != hop || suspect.until() <= now);
                continue;
            }
            let known = self.suspects.get(hop);
            let not_before = [
                (since > Duration::ZERO).then_some(since + GRACE),
                self.cleared.get(hop).copied(),
                known.map(Suspect::until),
            ];
            let not_before = not_before.into_iter().flatten().max().unwrap_or_default();
            if not_before > now {
                wake.push(not_before);
                continue;
            }
            let lasting = known.map_or(FIRST, |suspect| (suspect.lasting * 2).min(LONGEST));
            let nodes = nodes.into_iter().cloned().collect();
            self.suspects.insert(hop.clone(), Suspect { nodes, proved: false, since: now, lasting });
        }
        let left_alone = self.suspects.iter().filter(|(_, suspect)| suspect.until() > now);
        wake.extend(left_alone.clone().map(|(_, suspect)| suspect.until()));
        let out = left_alone.map(|(name, _)| name).chain(self.silent.keys()).cloned().collect();
        self.deadline = wake.into_iter().min();
        std::mem::replace(&mut self.out, out) != self.out
    }

    fn follow_silent(&mut self, dead: &BTreeSet<NodeName>, now: Duration) {
        self.silent.extend(dead.iter().map(|name| (name.clone(), None)));
        for (name, believed) in &mut self.silent {
            if believed.is_none() && !dead.contains(name) {
                *believed = Some(now + STEADY);
            }
        }
        self.silent.retain(|_, believed| believed.is_none_or(|at| at > now));
    }

    /// Those that are no gateways for now.
    pub fn out(&self) -> &BTreeSet<NodeName> {
        &self.out
    }

    /// When somebody is to be believed or suspected, if anybody.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

#[cfg(test)]
#[path = "tests/gateways.rs"]
mod tests;
