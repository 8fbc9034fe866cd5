//! Gateways that forward badly: they are relieved of half of what they carry, then of all of it.
//!
//! What a gateway carries answers badly if answers are lost or late, so probes of the nodes behind it tell; nodes that
//! are dead do not count, they are [`super::Gateways`]'. A gateway is relieved only while the others of its location do
//! better, as far as this node can know: those that carry nothing for it are tried, and when they turn out to be as bad
//! everything goes back, for it is not the gateway then. What was relieved comes back in steps too, and a gateway that
//! has to be relieved again soon is so for twice as long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::NodeName;

use super::answers::{Answers, IN_VAIN};
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

/// What was asked by another way does not come any more after so long.
const SETTLED: Duration = Duration::from_secs(IN_VAIN.as_secs() + 1);

/// When others have shown whether they do better: the far ends have to find out, too, and go by them.
const TRIAL: Duration = Duration::from_secs(20);

/// For how long a gateway is relieved the first time, and at most.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// Watches how well gateways forward. Call [`Relief::follow`] now and then with what was answered.
#[derive(Debug, Default)]
pub struct Relief {
    gateways: BTreeMap<NodeName, Gateway>,
    /// Over whom each node is reached, and since when.
    ways: BTreeMap<NodeName, (NodeName, Duration)>,
    relieved: BTreeMap<NodeName, Share>,
    followed: Duration,
}

#[derive(Debug)]
struct Gateway {
    asked: f64,
    bad: f64,
    relieved: Option<Share>,
    since: Duration,
    /// What share of its answers was bad when it was relieved.
    before: f64,
    lasting: Duration,
    /// Whether it has got back some of what it was relieved of.
    is_back: bool,
    not_before: Duration,
}

impl Gateway {
    fn new() -> Self {
        let [since, not_before] = [Duration::ZERO; 2];
        Self {
            asked: 0.0,
            bad: 0.0,
            relieved: None,
            since,
            before: 0.0,
            lasting: FIRST,
            is_back: false,
            not_before,
        }
    }

    /// Begins to count anew.
    fn relieve(&mut self, share: Option<Share>, now: Duration) {
        (self.asked, self.bad, self.relieved, self.since) = (0.0, 0.0, share, now);
    }

    fn is_known(&self) -> bool {
        self.relieved.is_some() || self.asked > 0.5 || self.lasting > FIRST
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
        for gateway in self.gateways.values_mut() {
            (gateway.asked, gateway.bad) = (gateway.asked * fading, gateway.bad * fading);
        }
        self.ways.retain(|node, _| via.contains_key(node));
        for (node, hop) in via.iter().filter(|(node, hop)| node != hop) {
            let way = self.ways.entry(node.clone()).or_insert_with(|| (hop.clone(), now));
            if way.0 != *hop {
                *way = (hop.clone(), now);
            }
            if let Some(heard) = answers.get(node).filter(|_| now >= way.1 + SETTLED) {
                let gateway = self.gateways.entry(hop.clone()).or_insert_with(Gateway::new);
                gateway.asked += f64::from(heard.asked);
                gateway.bad += f64::from(heard.bad);
            }
        }
        self.gateways.retain(|name, gateway| groups.contains_key(name) && gateway.is_known());
        let names: Vec<NodeName> = self.gateways.keys().cloned().collect();
        for name in names {
            let others = self.others(&name, groups);
            let gateway = self.gateways.get_mut(&name).expect("it is among the names");
            if !gateway.judge(others, now) {
                // It was in vain, and would be the other way round.
                let (group, not_before) = (groups[&name], gateway.not_before);
                let same = |name: &NodeName| groups.get(name) == Some(&group);
                for (_, other) in self.gateways.iter_mut().filter(|(name, _)| same(name)) {
                    other.not_before = other.not_before.max(not_before);
                }
            }
        }
        let relieved = self.gateways.iter().filter_map(|(name, g)| Some((name.clone(), g.relieved?)));
        let relieved = relieved.collect();
        std::mem::replace(&mut self.relieved, relieved) != self.relieved
    }

    /// How the others of a gateway's group do: nothing if there are none that could carry more.
    fn others(&self, name: &NodeName, groups: &BTreeMap<NodeName, u32>) -> Option<Others> {
        let group = groups[name];
        let others: BTreeSet<&NodeName> = groups
            .iter()
            .filter(|(other, of)| **of == group && *other != name)
            .map(|(name, _)| name)
            .collect();
        let free = |other: &&&NodeName| self.gateways.get(**other).is_none_or(|g| g.relieved.is_none());
        others.iter().find(free)?;
        let counted = others.iter().filter_map(|other| self.gateways.get(*other));
        let (asked, bad) = counted.fold((0.0, 0.0), |(asked, bad), g| (asked + g.asked, bad + g.bad));
        Some(Others { bad: (asked >= ENOUGH).then(|| bad / asked) })
    }

    /// Gateways that are to be relieved, and of what.
    pub fn relieved(&self) -> &BTreeMap<NodeName, Share> {
        &self.relieved
    }
}

/// The other gateways of a location.
struct Others {
    /// What share of their answers is bad, if enough is known.
    bad: Option<f64>,
}

impl Gateway {
    /// Follows what was counted. Returns whether it is not that others do as badly in its place.
    fn judge(&mut self, others: Option<Others>, now: Duration) -> bool {
        let lasted = now.saturating_sub(self.since);
        let Some(others) = others else {
            // Nobody is left that could do it in its place.
            if self.relieved.is_some() {
                self.give_back(now);
            }
            return true;
        };
        let better = |than: f64| others.bad.map(|bad| bad <= than * BETTER);
        if self.relieved.is_some() && lasted >= TRIAL && better(self.before) == Some(false) {
            self.give_back(now);
            return false;
        }
        let share = self.bad / self.asked.max(1.0);
        let is_bad = self.asked >= ENOUGH && self.bad >= ENOUGH_BAD && share >= BAD;
        if is_bad
            && self.relieved != Some(Share::All)
            && now >= self.not_before
            && better(share) != Some(false)
        {
            if std::mem::take(&mut self.is_back) {
                self.lasting = (self.lasting * 2).min(LONGEST);
            }
            let more = if self.relieved.is_none() { Share::Half } else { Share::All };
            if more == Share::Half {
                self.before = share;
            }
            self.relieve(Some(more), now);
        } else if self.relieved.is_some() && lasted >= self.lasting {
            let less = (self.relieved == Some(Share::All)).then_some(Share::Half);
            self.relieve(less, now);
            self.is_back = true;
        } else if self.relieved.is_none() && lasted >= self.lasting * 2 {
            // It has done well for long.
            (self.is_back, self.lasting) = (false, FIRST);
        }
        true
    }

    /// It was in vain, and is not tried again soon.
    fn give_back(&mut self, now: Duration) {
        self.relieve(None, now);
        self.lasting = (self.lasting * 2).min(LONGEST);
        self.not_before = now + self.lasting;
    }
}

#[cfg(test)]
#[path = "tests/relief.rs"]
mod tests;
