//! The plan of services, kept up with what changes: an endpoint costs the services of its name, not all of them.
//!
//! Which addresses a service has, how near a node is and whose twin a service is do not depend on endpoints. As long as
//! only those change, all of it is remembered; anything else is planned anew.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use model::{ClusterName, Key, NodeName, ObjectName, ServiceKey, World};
use siphasher::sip::SipHasher13;

use super::capacity::{Fill, Limits, Load};
use super::departed::addresses;
use super::direct::direct;
use super::ladder::Rung;
use super::maglev::{TableSize, table};
use super::offer::{Claimant, Dialled, Offer, Scope};
use super::outside::Entry;
use super::standpoint::{Standpoint, Survey};
use super::{Services, View};
use crate::plan::{self, Frontend, Ladder, Outside, Set, SetId, State, Table, TableKey, TierSpan, Touched};

/// Plans one node's services, and follows their endpoints. To be told of every change to the world it looks at.
#[derive(Debug, Default)]
pub struct Planner {
    /// What does not depend on endpoints; nothing when it has changed since.
    survey: Option<Arc<Survey>>,
    me: Option<NodeName>,
    ranking: Vec<ClusterName>,
    /// What each offer was granted.
    granted: BTreeMap<Claimant, Vec<Granted>>,
    /// How many ladders stand on a set.
    users: BTreeMap<SetId, usize>,
    /// Entries of the data path's map that the sets take together.
    pages: usize,
    tables: Tables,
    /// Names of services whose endpoints have changed since.
    behind: BTreeSet<ObjectName>,
    /// Whether two contents had one number: who of them moved on depends on the order of all services.
    collided: bool,
}

/// Something that is dialled: address, port and what they stand for.
#[derive(Debug)]
struct Granted {
    dialled: Frontend,
    scope: Scope,
    /// The place of the port among the offer's.
    port: usize,
}

/// The part of a plan that endpoints decide.
struct Ladders<'a> {
    frontends: &'a mut BTreeMap<Frontend, Ladder>,
    outside: &'a mut BTreeMap<Frontend, Outside>,
    sets: &'a mut BTreeMap<SetId, Set>,
    tables: &'a mut BTreeMap<TableKey, Table>,
}

impl Planner {
    /// Takes in that an object of the world has changed, came or went.
    pub fn handle_change(&mut self, key: &Key) {
        match key {
            Key::Endpoint(endpoint) => drop(self.behind.insert(endpoint.service.name.clone())),
            Key::Cluster(_) | Key::Node(_) | Key::Service(_) | Key::Import(_) => self.survey = None,
            // They say nothing of services.
            Key::Peer(_) | Key::Policy(_) | Key::Namespace(_) | Key::Pod(_) => {}
        }
    }

    /// Takes in that these backends were ejected or let back, or that it is another matter now whether they may be: their
    /// nodes have died or come back.
    pub fn handle_ejections(&mut self, world: &World, backends: &BTreeSet<SocketAddr>) {
        if backends.is_empty() {
            return;
        }
        let concerned = world.endpoints.iter().filter(|(_, endpoints)| {
            endpoints.values().flat_map(addresses).any(|address| backends.contains(&address))
        });
        self.behind.extend(concerned.map(|(service, _)| service.name.clone()));
    }

    /// Whether endpoints have changed since it planned or followed the last time.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Plans all services.
    pub fn plan(&mut self, view: &View<'_>) -> Services {
        let standpoint = Standpoint::new(view);
        let (granted, problems) = standpoint.granted();
        let mut plan = Services { problems, ..Services::default() };
        *self = Self { me: Some(view.me.clone()), ranking: view.ranking.to_vec(), ..Self::default() };
        let Services { frontends, outside, sets, tables, .. } = &mut plan;
        let mut ladders = Ladders { frontends, outside, sets, tables };
        let mut touched = Touched::default();
        for (offer, dialled) in &granted {
            self.lay(&standpoint, *offer, dialled, &mut ladders, &mut touched);
        }
        // Once everything is there that sockets dial: what somebody has at one address is no node port's there.
        for (offer, dialled) in &granted {
            self.lay_outside(&standpoint, *offer, dialled, &mut ladders, &mut touched);
            let granted = dialled.iter().map(|dialled| Granted::new(*offer, dialled)).collect();
            self.granted.insert(offer.claimant(), granted);
        }
        // The unspecified address is a node port's.
        if plan.frontends.keys().any(|frontend| frontend.ip.is_unspecified()) {
            plan.node_addresses = standpoint.node_port_addresses();
        }
        plan.direct = direct(view);
        self.survey = (!self.collided).then(|| standpoint.survey());
        plan
    }

    /// Brings the services of a state, which are those planned the last time, to the newest endpoints; says what of the
    /// state that may have changed. Nothing if all services have to be planned anew: the state's are of no use then.
    pub fn follow(&mut self, view: &View<'_>, state: &mut State) -> Option<Touched> {
        if self.me.as_ref() != Some(view.me) || self.ranking != view.ranking {
            self.survey = None;
        }
        let standpoint = Standpoint::with(view, self.survey.clone()?);
        let State { frontends, outside, sets, tables, .. } = state;
        let mut ladders = Ladders { frontends, outside, sets, tables };
        let mut touched = Touched::default();
        for name in std::mem::take(&mut self.behind) {
            // Behind a service or an import are, besides its own, endpoints of services of the same name.
            let key = ServiceKey { cluster: view.me.cluster.clone(), name };
            let service = view.world.services.get(&key).map(Offer::Service);
            let import = view.world.imports.get(&key).map(Offer::Import);
            for offer in service.into_iter().chain(import) {
                let granted = self.granted.get(&offer.claimant()).into_iter().flatten();
                let dialled: Vec<_> = granted.map(|granted| granted.of(offer)).collect();
                self.lay(&standpoint, offer, &dialled, &mut ladders, &mut touched);
                self.lay_outside(&standpoint, offer, &dialled, &mut ladders, &mut touched);
            }
        }
        if self.collided {
            self.survey = None;
            return None;
        }
        Some(touched)
    }

    /// What it planned is of no use: everything is to be planned the next time.
    pub fn forget(&mut self) {
        self.survey = None;
    }

    /// How full the maps are with a state that it planned or followed.
    pub fn fills(&self, state: &State, limits: &Limits) -> [Fill; 3] {
        let (frontends, outside) = (state.frontends.len(), state.outside.len());
        Load { frontends, outside, backends: self.pages }.fills(limits)
    }

    /// Lays the ladders behind what an offer was granted.
    fn lay<'a>(
        &mut self,
        standpoint: &Standpoint<'a>,
        offer: Offer<'a>,
        granted: &[Dialled<'a>],
        ladders: &mut Ladders<'_>,
        touched: &mut Touched,
    ) {
        let sources = standpoint.sources(offer);
        for frontend in granted {
            let rungs = standpoint.rungs(offer, frontend, &sources).rungs;
            let ladder = self.store(&rungs, offer.affinity(), ladders.sets, touched);
            let before = ladders.frontends.insert(frontend.dialled, ladder);
            if before.as_ref() != ladders.frontends.get(&frontend.dialled) {
                touched.frontends.insert(frontend.dialled);
            }
            if let Some(before) = before {
                self.release(before.set, ladders.sets, touched);
            }
        }
    }

    /// Lays those of clients outside, where they are others.
    fn lay_outside<'a>(
        &mut self,
        standpoint: &Standpoint<'a>,
        offer: Offer<'a>,
        granted: &[Dialled<'a>],
        ladders: &mut Ladders<'_>,
        touched: &mut Touched,
    ) {
        for dialled in granted {
            let taken = |frontend: &Frontend| ladders.frontends.contains_key(frontend);
            let Some(entry) = Entry::new(offer, dialled, standpoint, taken) else { continue };
            let usual = ladders.frontends.get(&dialled.dialled).cloned().unwrap_or_default();
            let otherwise = entry.otherwise(!usual.tiers.is_empty());
            let ladder = match entry.has_ladder() {
                false => usual,
                true => {
                    let sources = standpoint.sources(offer);
                    let rungs = entry.rungs(standpoint, offer, dialled, &sources).rungs;
                    let mut ladder = self.store(&rungs, offer.affinity(), ladders.sets, touched);
                    if entry.is_agreed() {
                        ladder.table =
                            self.tables.store(&ladder, standpoint.balancing.maglev, ladders, touched);
                    }
                    ladder
                }
            };
            // All of them share one ladder.
            let before = entry.frontends.first().and_then(|first| ladders.outside.get(first));
            let before = before.filter(|_| entry.has_ladder()).map(|outside| outside.ladder.clone());
            for frontend in &entry.frontends {
                let (ladder, sources) = (ladder.clone(), entry.sources.clone());
                let now = Outside { ladder, masquerade: entry.masquerade(), otherwise, sources };
                if ladders.outside.get(frontend) != Some(&now) {
                    touched.frontends.insert(*frontend);
                    ladders.outside.insert(*frontend, now);
                }
            }
            if let Some(before) = before {
                self.tables.release(&before, ladders.tables, touched);
                self.release(before.set, ladders.sets, touched);
            }
        }
    }

    /// Lays the rungs end to end, shares the set with whoever has the same one, and says which part is which rung.
    fn store(
        &mut self,
        rungs: &[Rung<'_>],
        affinity: u32,
        sets: &mut BTreeMap<SetId, Set>,
        touched: &mut Touched,
    ) -> Ladder {
        let mut set = Set::new();
        let mut tiers = Vec::with_capacity(rungs.len());
        let index = |len: usize| u32::try_from(len).expect("a set is indexed by u32");
        for rung in rungs {
            let begin = index(set.len());
            for candidate in &rung.candidates {
                set.extend(std::iter::repeat_n(candidate.backend, candidate.weight as usize));
            }
            let count = index(set.len()) - begin;
            tiers.push(TierSpan { tier: rung.tier, begin, count, passes: rung.passes });
        }
        if set.is_empty() {
            return Ladder::default();
        }
        let mut id = set_id(&set);
        // Two contents with one number: never by chance, perhaps by malice. The later one moves on.
        while sets.get(&id).is_some_and(|other| *other != set) {
            id = id.wrapping_add(1).max(1);
            self.collided = true;
        }
        *self.users.entry(id).or_default() += 1;
        if let btree_map::Entry::Vacant(free) = sets.entry(id) {
            touched.sets.insert(id);
            self.pages += plan::pages(&set);
            free.insert(set);
        }
        Ladder { set: id, tiers, affinity, table: None }
    }

    /// One ladder less stands on the set.
    fn release(&mut self, id: SetId, sets: &mut BTreeMap<SetId, Set>, touched: &mut Touched) {
        let Some(users) = self.users.get_mut(&id) else { return };
        *users -= 1;
        if *users == 0 {
            self.users.remove(&id);
            self.pages -= sets.remove(&id).map_or(0, |set| plan::pages(&set));
            touched.sets.insert(id);
        }
    }
}

/// The tables of a plan, and how many ladders ask each.
#[derive(Debug, Default)]
struct Tables {
    users: BTreeMap<TableKey, usize>,
    /// Entries of the data path's map that they take together.
    pages: usize,
}

/// So many entries of the data path's map may be taken: half of it, so that what is new finds room beside what is there.
const TABLE_PAGES: usize = 32_768;

impl Tables {
    /// The table of a ladder's first rung, shared with whoever has the same one. None where there is no room, or too much to
    /// be numbered: then a backend is drawn.
    fn store(
        &mut self,
        ladder: &Ladder,
        size: Option<TableSize>,
        ladders: &mut Ladders<'_>,
        touched: &mut Touched,
    ) -> Option<TableSize> {
        let (size, first) = (size?, ladder.tiers.first()?);
        let key = TableKey { set: ladder.set, count: first.count };
        if !ladders.tables.contains_key(&key) {
            let pages = plan::table_pages(size.places() as usize);
            if self.pages + pages > TABLE_PAGES {
                return None;
            }
            let rung = &ladders.sets.get(&ladder.set)?[..first.count as usize];
            let table = table(rung, size)?;
            self.pages += pages;
            ladders.tables.insert(key, table.into());
            touched.tables.insert(key);
        }
        *self.users.entry(key).or_default() += 1;
        Some(size)
    }

    /// One ladder less asks its table.
    fn release(&mut self, ladder: &Ladder, tables: &mut BTreeMap<TableKey, Table>, touched: &mut Touched) {
        let (Some(size), Some(key)) = (ladder.table, ladder.table_key()) else { return };
        let Some(users) = self.users.get_mut(&key) else { return };
        *users -= 1;
        if *users == 0 {
            self.users.remove(&key);
            tables.remove(&key);
            touched.tables.insert(key);
            self.pages -= plan::table_pages(size.places() as usize);
        }
    }
}

impl Granted {
    fn new(offer: Offer<'_>, Dialled { dialled, port, scope }: &Dialled<'_>) -> Self {
        let place = offer.ports().iter().position(|its| std::ptr::eq(its, *port));
        Self {
            dialled: *dialled,
            scope: *scope,
            port: place.expect("what is dialled is an offer's own port"),
        }
    }

    fn of<'a>(&self, offer: Offer<'a>) -> Dialled<'a> {
        Dialled { dialled: self.dialled, port: &offer.ports()[self.port], scope: self.scope }
    }
}

/// The number of a set's content: the same on every node, never 0.
fn set_id(set: &Set) -> SetId {
    let mut hasher = SipHasher13::new_with_keys(0x6361_7573_6577_6179, 0x7365_7400);
    set.hash(&mut hasher);
    hasher.finish().max(1)
}
