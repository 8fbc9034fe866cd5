//! Gateways that forward badly: they are relieved of half of what they carry, then of all of it.
//!
//! What a gateway carries answers badly if answers are lost or late, so probes of the nodes behind it tell; nodes that
//! are dead do not count, they are [`super::Gateways`]'. Where most of them answer well it is not the gateway, but
//! something farther on. A gateway is relieved only while the others of its location do
//! better, as far as this node can know: those that carry nothing for it are tried, and when they turn out to be as bad
//! everything goes back, for it is not the gateway then. What was relieved comes back in steps too, and a gateway that
//! has to be relieved again soon is so for twice as long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::NodeName;

use super::answers::Answers;
use crate::mesh::Share;

/// How often answers are looked through.
const EVERY: Duration = Duration::from_secs(1);

/// What was counted is worth half after so long.
const HALF_LIFE: f64 = 7.0;

/// So many answers, and so many of them bad, are needed before anything is thought of it.
const ENOUGH: f64 = 10.0;
const ENOUGH_BAD: f64 = 4.0;

/// Bad is whoever carries so that this share of all answers is lost or late.
const BAD: f64 = 0.1;

/// Others do better if theirs is at most this part of it.
const BETTER: f64 = 0.5;

/// Of a node that is reached over another gateway the other end learns, too, and moves: until then nothing is counted.
const SETTLED: Duration = Duration::from_secs(2);

/// When others have shown whether they do better: the far ends have to find out, too, and go by them.
const TRIAL: Duration = Duration::from_secs(20);

/// For how long a gateway is relieved the first time, and at most.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// How long nothing is tried after it was in vain, the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Watches how well gateways forward. Call [`Relief::follow`] now and then with what was answered.
#[derive(Debug, Default)]
pub struct Relief {
    gateways: BTreeMap<NodeName, Gateway>,
    /// How each node is reached that stands behind one.
    ways: BTreeMap<NodeName, Way>,
    relieved: BTreeMap<NodeName, Share>,
    followed: Duration,
}

#[derive(Debug)]
struct Way {
    over: NodeName,
    since: Duration,
    heard: Heard,
}

/// How well somebody is heard.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    asked: f64,
    bad: f64,
}

impl Heard {
    /// What share is bad.
    fn share(self) -> f64 {
        self.bad / self.asked.max(1.0)
    }
}

#[derive(Debug)]
struct Gateway {
    relieved: Option<Share>,
    since: Duration,
    /// What share of its answers was bad when it was relieved.
    before: f64,
    lasting: Duration,
    /// Whether it has got back some of what it was relieved of.
    is_back: bool,
    /// For how long nothing is tried after it was in vain.
    pause: Duration,
    not_before: Duration,
}

impl Gateway {
    fn new(now: Duration) -> Self {
        let (relieved, before, not_before) = (None, 0.0, Duration::ZERO);
        Self { relieved, since: now, before, lasting: FIRST, is_back: false, pause: FIRST_PAUSE, not_before }
    }
}

impl Relief {
    /// Whether it is time.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.followed + EVERY
    }

    /// Takes in over whom everybody is reached, which gateways stand in for each other (by the number of their group), and
    /// what was answered since the last time. Returns whether others are to be relieved than before.
    pub fn follow(
        &mut self,
        via: &BTreeMap<NodeName, NodeName>,
        groups: &BTreeMap<NodeName, u32>,
        answers: &BTreeMap<NodeName, Answers>,
        now: Duration,
    ) -> bool {
        let passed = now.saturating_sub(std::mem::replace(&mut self.followed, now));
        let fading = (-passed.as_secs_f64() / HALF_LIFE).exp2();
        self.ways.retain(|node, _| via.contains_key(node));
        for (node, hop) in via.iter().filter(|(node, hop)| node != hop) {
            let new = || Way { over: hop.clone(), since: now, heard: Heard::default() };
            let way = self.ways.entry(node.clone()).or_insert_with(new);
            if way.over != *hop {
                *way = new();
            }
            let Heard { asked, bad } = way.heard;
            way.heard = Heard { asked: asked * fading, bad: bad * fading };
            if let Some(heard) = answers.get(node).filter(|_| now >= way.since + SETTLED) {
                way.heard.asked += f64::from(heard.asked);
                way.heard.bad += f64::from(heard.bad);
            }
        }
        self.gateways.retain(|name, _| groups.contains_key(name));
        for name in groups.keys() {
            self.gateways.entry(name.clone()).or_insert_with(|| Gateway::new(now));
            self.judge(name, groups, now);
        }
        let relieved = self.gateways.iter().filter_map(|(name, g)| Some((name.clone(), g.relieved?)));
        let relieved = relieved.collect();
        std::mem::replace(&mut self.relieved, relieved) != self.relieved
    }

    /// The others of a gateway's group; nobody if none of them could carry more.
    fn others(&self, name: &NodeName, groups: &BTreeMap<NodeName, u32>) -> BTreeSet<NodeName> {
        let of_group = groups.iter().filter(|(other, group)| **group == groups[name] && *other != name);
        let others: BTreeSet<NodeName> = of_group.map(|(other, _)| other.clone()).collect();
        let is_free = |other: &NodeName| self.gateways.get(other).is_none_or(|g| g.relieved.is_none());
        if others.iter().any(is_free) { others } else { BTreeSet::new() }
    }

    /// How well nodes are heard over gateways: what share is bad of the node in the middle, of all that was asked; nothing
    /// if that is too little.
    fn heard_over(&self, is_one: impl Fn(&NodeName) -> bool) -> Option<Heard> {
        let known = self.ways.values().filter(|way| is_one(&way.over) && way.heard.asked >= 1.0);
        let mut heard: Vec<Heard> = known.map(|way| way.heard).collect();
        heard.sort_by(|a, b| a.share().total_cmp(&b.share()));
        let asked: f64 = heard.iter().map(|heard| heard.asked).sum();
        let middle = heard.get(heard.len().saturating_sub(1) / 2)?;
        (asked >= ENOUGH).then(|| Heard { asked, bad: middle.share() * asked })
    }

    /// What share of the answers through a gateway is bad, if it is the gateway.
    fn badness(&self, name: &NodeName) -> Option<f64> {
        let heard = self.heard_over(|over| over == name)?;
        (heard.bad >= ENOUGH_BAD && heard.share() >= BAD).then(|| heard.share())
    }

    /// Follows what was counted.
    fn judge(&mut self, name: &NodeName, groups: &BTreeMap<NodeName, u32>, now: Duration) {
        let others = self.others(name, groups);
        let bad_by_others = self.heard_over(|over| others.contains(over)).map(Heard::share);
        let are_no_better = |than: f64| bad_by_others.is_some_and(|bad| bad > than * BETTER);
        let badness = self.badness(name).filter(|bad| !others.is_empty() && !are_no_better(*bad));
        let gateway = self.gateways.get_mut(name).expect("all of a group are there");
        let (relieved, lasted) = (gateway.relieved, now.saturating_sub(gateway.since));
        if relieved.is_some() && others.is_empty() {
            // Nobody is left that could do it in its place.
            self.relieve(name, None, now);
        } else if relieved.is_some() && lasted >= TRIAL && are_no_better(gateway.before) {
            let not_before = now + gateway.pause;
            gateway.pause = (gateway.pause * 2).min(LONGEST);
            // The other way round it would be in vain, too.
            let same = |other: &NodeName| groups.get(other) == groups.get(name);
            for (_, other) in self.gateways.iter_mut().filter(|(other, _)| same(other)) {
                other.not_before = other.not_before.max(not_before);
            }
            self.relieve(name, None, now);
        } else if let Some(bad) =
            badness.filter(|_| relieved != Some(Share::All) && now >= gateway.not_before)
        {
            if std::mem::take(&mut gateway.is_back) {
                gateway.lasting = (gateway.lasting * 2).min(LONGEST);
            }
            if relieved.is_none() {
                gateway.before = bad;
            }
            let share = if relieved.is_none() { Share::Half } else { Share::All };
            self.relieve(name, Some(share), now);
        } else if relieved.is_some() && lasted >= gateway.lasting {
            gateway.is_back = true;
            self.relieve(name, (relieved == Some(Share::All)).then_some(Share::Half), now);
        } else if relieved.is_none() && lasted >= gateway.lasting * 2 {
            // It has done well for long.
            (gateway.is_back, gateway.lasting) = (false, FIRST);
        }
    }

    /// Begins to count anew.
    fn relieve(&mut self, name: &NodeName, share: Option<Share>, now: Duration) {
        let gateway = self.gateways.get_mut(name).expect("it is judged");
        (gateway.relieved, gateway.since) = (share, now);
        for way in self.ways.values_mut().filter(|way| way.over == *name) {
            way.heard = Heard::default();
        }
    }

    /// Gateways that are to be relieved, and of what.
    pub fn relieved(&self) -> &BTreeMap<NodeName, Share> {
        &self.relieved
    }
}

#[cfg(test)]
#[path = "tests/relief.rs"]
mod tests;
