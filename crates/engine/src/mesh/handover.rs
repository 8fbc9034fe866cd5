//! Gateways that change while packets flow: make before break.
//!
//! Nodes learn at different times that somebody else is to carry a location's traffic, and what arrives over a gateway that
//! WireGuard does not believe yet, or no more, is lost. So a change that nothing forces (somebody is to be a gateway or is to be
//! none, or may carry traffic again) takes place in steps. First everybody accepts packets by the new ways too, and shakes
//! hands there. Then who becomes a gateway sends as one, then everybody sends by the new ways, then those that are gateways
//! no more; and a while later what came by the former ways is refused again. Each node counts for itself, from when it learns of
//! the change: the steps are longer than news takes. One change takes place at a time: what is to change while somebody goes over stays what it was
//! until everybody has gone over. What forces a change (a gateway that carries nothing) waits for nothing.
//! Neither does a node that joins, nor an agent that has just started: it knows of nothing that was before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::mesh::Gateway;
use model::{Node, NodeName};

use super::segment::{Place, Relieved, Segment};

/// How far a change has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Everybody accepts packets by both ways.
    #[default]
    Prepare,
    /// New gateways use the new ways.
    Gain,
    /// Everybody does but gateways that are going to be none.
    Move,
    /// They, too; and the former ways are accepted for a while.
    Leave,
}

/// When each step begins, since the change was heard of, and when all is over.
const STEPS: [(Duration, Step); 3] = [
    (Duration::from_millis(1_500), Step::Gain),
    (Duration::from_millis(2_500), Step::Move),
    (Duration::from_millis(3_500), Step::Leave),
];
const OVER: Duration = Duration::from_secs(8);

/// When the next change may begin: everybody has gone over, whoever heard of it a little later, too.
const NEXT: Duration = Duration::from_millis(4_500);

/// What a node was to its location's gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it was to be one.
    pub gateway: Gateway,
    /// Whether it was left alone.
    pub is_out: bool,
}

/// So long others may join a change, each of which has it begin anew.
const JOINED: Duration = Duration::from_secs(5);

/// What nodes count as that are something else by now, or were until lately.
pub type Standings = BTreeMap<NodeName, Standing>;

/// Gateways that are changing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changing {
    /// The nodes whose standing was another one until lately.
    pub was: Standings,
    /// How far it is.
    pub step: Step,
    /// The nodes whose change has to wait for this one's end: what they count as meanwhile.
    pub held: Standings,
}

/// Watches for changes of gateways. Call [`Handover::follow`] before every plan, and at [`Handover::deadline`].
#[derive(Debug, Default)]
pub struct Handover {
    known: Standings,
    changing: Changing,
    /// When the change began, and when the last joined it.
    first: Duration,
    since: Duration,
    deadline: Option<Duration>,
}

impl Handover {
    /// Takes in the nodes and who is left alone, and says what is changing.
    pub fn follow(
        &mut self,
        nodes: &BTreeMap<NodeName, Node>,
        out: &BTreeSet<NodeName>,
        now: Duration,
    ) -> &Changing {
        // Without a key nobody has a tunnel to it.
        let here = nodes.values().filter(|node| node.public_key.is_some());
        let is_under_way = self.deadline.is_some();
        // Until somebody has gone over more may join. News of what changed together comes in one piece to some, and to others not.
        let joins = is_under_way && now < self.since + STEPS[0].0 && now < self.first + JOINED;
        let is_busy = is_under_way && !joins && now < self.since + NEXT;
        let mut changed = Standings::new();
        self.changing.held.clear();
        for node in here {
            let is = Standing { gateway: node.mesh.gateway, is_out: out.contains(&node.name) };
            let Some(known) = self.known.get_mut(&node.name) else {
                self.known.insert(node.name.clone(), is);
                continue;
            };
            // A failure is followed at once.
            known.is_out |= is.is_out;
            let was = *known;
            if was == is {
                continue;
            }
            if is_busy {
                self.changing.held.insert(node.name.clone(), was);
            } else {
                *known = is;
                changed.insert(node.name.clone(), was);
            }
        }
        if self.known.len() > nodes.len() {
            self.known.retain(|name, _| nodes.contains_key(name));
        }
        let mut began = self.changes(nodes, &changed, out);
        let has_begun = !began.is_empty();
        if has_begun {
            self.since = now;
            if joins {
                began.append(&mut self.changing.was);
            } else {
                self.first = now;
            }
            self.changing.was = began;
        }
        self.advance(has_begun, now);
        &self.changing
    }

    /// Those of the changes that matter: others carry somebody's traffic than before.
    fn changes(
        &self,
        nodes: &BTreeMap<NodeName, Node>,
        changed: &Standings,
        out: &BTreeSet<NodeName>,
    ) -> Standings {
        let places: BTreeSet<Place> = changed.keys().filter_map(|name| Place::of(&nodes[name])).collect();
        let mut began = Standings::new();
        for place in places {
            let is_member = |node: &&Node| node.public_key.is_some() && Place::of(node) == Some(place);
            let members: Vec<&Node> = nodes.values().filter(is_member).collect();
            let is = Segment::new(members.clone(), &Standings::new());
            let was = Segment::new(members, changed);
            let nobody = Relieved::new();
            if is.carriers(out, &nobody) != was.carriers(&with_out(out, changed), &nobody) {
                let of_place = changed.iter().filter(|(name, _)| Place::of(&nodes[*name]) == Some(place));
                began.extend(of_place.map(|(name, was)| (name.clone(), *was)));
            }
        }
        began
    }

    fn advance(&mut self, began: bool, now: Duration) {
        if self.deadline.is_none() && !began {
            return;
        }
        let since = now.saturating_sub(self.since);
        if since >= OVER {
            (self.changing, self.deadline) = (Changing::default(), None);
            return;
        }
        let begun = STEPS.iter().take_while(|(after, _)| *after <= since).last();
        self.changing.step = begun.map_or(Step::Prepare, |(_, step)| *step);
        let next = STEPS.iter().map(|(after, _)| *after).chain([NEXT]).find(|after| *after > since);
        self.deadline = Some(self.since + next.unwrap_or(OVER));
    }

    /// When the next step is due, if something is changing.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

/// Those that are left alone, and those that count as such.
pub(super) fn with_out(out: &BTreeSet<NodeName>, standings: &Standings) -> BTreeSet<NodeName> {
    let count = standings.iter().filter(|(_, standing)| standing.is_out).map(|(name, _)| name);
    count.chain(out).cloned().collect()
}

impl Changing {
    /// What nodes counted as before the change.
    pub(super) fn before(&self) -> Standings {
        self.held.iter().chain(&self.was).map(|(name, standing)| (name.clone(), *standing)).collect()
    }

    /// Whether a node that carried others or does so from now on still sends by the former ways.
    pub(super) fn is_before(&self, carried: bool, carries: bool) -> bool {
        let own = match (carried, carries) {
            (false, true) => Step::Gain,
            (true, false) => Step::Leave,
            _ => Step::Move,
        };
        self.step < own
    }
}

#[cfg(test)]
#[path = "tests/handover.rs"]
mod tests;
