//! What the data path can hold. Its maps have a size: what does not fit is refused a service at a time, so that no entry is
//! ever half there, and those that are served go on being served.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::offer::{Dialled, Offer};
use super::outside::Entry;
use super::standpoint::Standpoint;
use super::{Problem, Services, View};
use crate::plan::{self, Frontend, Ladder, Outside, SetId};

/// From here on an operator hears of it: parts of a hundred.
const NEARLY: usize = 80;

/// How many entries the data path's maps can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What sockets dial.
    pub frontends: usize,
    /// What packets dial, where that leads elsewhere.
    pub outside: usize,
    /// Pages of backends ([`plan::pages`]).
    pub backends: usize,
}

/// How full a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Which.
    pub map: &'static str,
    /// How many entries it is planned to hold.
    pub used: usize,
    /// How many it can hold.
    pub limit: usize,
}

impl Fill {
    /// Whether somebody ought to know.
    pub fn is_near(&self) -> bool {
        self.used.saturating_mul(100) > self.limit.saturating_mul(NEARLY)
    }

    fn is_over(&self) -> bool {
        self.used > self.limit
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, used, limit } = self;
        write!(
            f,
            "the data path's map of {map} has {used} of {limit} entries: when it is full, new services are refused; have \
             fewer services or endpoints in one cluster, or smaller weights"
        )
    }
}

/// What something takes, or has taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) frontends: usize,
    pub(super) outside: usize,
    pub(super) backends: usize,
}

impl Load {
    fn and(self, more: Self) -> Self {
        Self {
            frontends: self.frontends + more.frontends,
            outside: self.outside + more.outside,
            backends: self.backends + more.backends,
        }
    }

    /// The first map that it is too much for.
    fn exceeds(self, limits: &Limits) -> Option<&'static str> {
        self.fills(limits).into_iter().find(Fill::is_over).map(|fill| fill.map)
    }

    pub(super) fn fills(self, limits: &Limits) -> [Fill; 3] {
        [
            Fill { map: "frontends", used: self.frontends, limit: limits.frontends },
            Fill { map: "outside frontends", used: self.outside, limit: limits.outside },
            Fill { map: "backends", used: self.backends, limit: limits.backends },
        ]
    }
}

impl Services {
    /// How full the maps are with it.
    pub fn fills(&self, limits: &Limits) -> [Fill; 3] {
        self.load().fills(limits)
    }

    fn load(&self) -> Load {
        Load {
            frontends: self.frontends.len(),
            outside: self.outside.len(),
            backends: self.sets.values().map(plan::pages).sum(),
        }
    }

    /// Leaves out whole services until the rest fits, and says which. Those of which something is in `held` already come
    /// first, then services before imports, then by name.
    pub fn fit(&mut self, view: &View<'_>, held: &BTreeMap<Frontend, Ladder>, limits: &Limits) {
        if self.load().exceeds(limits).is_none() {
            return;
        }
        let standpoint = Standpoint::new(view);
        let mut granted = standpoint.granted().0;
        let is_served = |frontends: &[Dialled<'_>]| frontends.iter().any(|f| held.contains_key(&f.dialled));
        // A stable sort: by name among equals.
        granted.sort_by_key(|(_, frontends)| !is_served(frontends));
        let whole = std::mem::take(self);
        self.node_addresses = whole.node_addresses;
        self.direct = whole.direct;
        self.problems = whole.problems;
        let mut load = Load::default();
        for (offer, frontends) in granted {
            let part = Part::of(&standpoint, &whole.frontends, &whole.outside, (offer, &frontends));
            let new = part.sets().filter(|id| !self.sets.contains_key(id)).collect::<BTreeSet<SetId>>();
            let size = |id: &SetId| whole.sets.get(id).map_or(0, plan::pages);
            let more = Load {
                frontends: part.frontends.len(),
                outside: part.outside.len(),
                backends: new.iter().map(size).sum(),
            };
            if let Some(map) = load.and(more).exceeds(limits) {
                self.problems.push(full(offer, map));
                continue;
            }
            load = load.and(more);
            self.sets.extend(new.iter().filter_map(|id| Some((*id, whole.sets.get(id)?.clone()))));
            self.frontends.extend(part.frontends.iter().map(|(f, ladder)| (*f, (*ladder).clone())));
            self.outside.extend(part.outside.iter().map(|(f, to)| (*f, (*to).clone())));
        }
        let asked: BTreeSet<_> = self.outside.values().filter_map(|to| to.ladder.table_key()).collect();
        self.tables = whole.tables.into_iter().filter(|(key, _)| asked.contains(key)).collect();
        if !self.frontends.keys().any(|frontend| frontend.ip.is_unspecified()) {
            self.node_addresses.clear();
        }
    }
}

fn full(offer: Offer<'_>, map: &'static str) -> Problem {
    Problem::Full { loser: offer.claimant(), map }
}

/// What is one service's of a plan.
struct Part<'a> {
    frontends: Vec<(Frontend, &'a Ladder)>,
    outside: Vec<(Frontend, &'a Outside)>,
}

impl<'a> Part<'a> {
    fn of(
        standpoint: &Standpoint<'_>,
        frontends: &'a BTreeMap<Frontend, Ladder>,
        outside: &'a BTreeMap<Frontend, Outside>,
        (offer, granted): (Offer<'_>, &[Dialled<'_>]),
    ) -> Self {
        let mut part = Self { frontends: Vec::new(), outside: Vec::new() };
        let taken = |frontend: &Frontend| frontends.contains_key(frontend);
        for dialled in granted {
            let at = dialled.dialled;
            part.frontends.extend(frontends.get(&at).map(|ladder| (at, ladder)));
            let entry = Entry::new(offer, dialled, standpoint, taken);
            let at = entry.into_iter().flat_map(|entry| entry.frontends);
            part.outside.extend(at.filter_map(|f| Some((f, outside.get(&f)?))));
        }
        part
    }

    fn sets(&self) -> impl Iterator<Item = SetId> {
        let ladders = self.frontends.iter().map(|(_, ladder)| *ladder);
        let ladders = ladders.chain(self.outside.iter().map(|(_, to)| &to.ladder));
        ladders.filter(|ladder| !ladder.tiers.is_empty()).map(|ladder| ladder.set)
    }
}
