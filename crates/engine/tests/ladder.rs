//! What the ladder promises, checked with a picker that walks it as the data path does.

mod support;

use causeway_engine as engine;

use std::collections::{BTreeMap, BTreeSet};

use engine::plan::{Backend, Ladder, NodeId, Set};
use engine::services::{self, Services, View, Why};
use model::{ClusterName, Node, Service, Tier};
use proptest::prelude::*;
use support::{Situation, me, situation};

/// Draws so often before it looks at one backend after the other.
const DRAWS: usize = 4;

/// The data path's algorithm: the nearest rung with a backend whose node is not dead, but for what a rung lets go on; in it a random one, on a dead
/// one drawn again a few times, then the next alive one from there.
fn pick(
    ladder: &Ladder,
    set: &Set,
    dead: &BTreeSet<NodeId>,
    mut random: impl FnMut() -> u32,
) -> Option<(Tier, Backend)> {
    let spilled =
        |n: &usize| *n + 1 == ladder.tiers.len() || random() % 65_536 >= u32::from(ladder.tiers[*n].passes);
    let begin = (0..ladder.tiers.len()).find(spilled).unwrap_or(0);
    for span in ladder.tiers[begin..].iter().chain(&ladder.tiers[..begin]) {
        let at = |n: u32| set[(span.begin + n % span.count) as usize];
        let alive = |backend: &Backend| !dead.contains(&backend.node);
        let drawn = (0..DRAWS).map(|_| at(random())).find(alive);
        let start = random();
        let found =
            drawn.or_else(|| (0..span.count).map(|n| at(start.wrapping_add(n) % span.count)).find(alive));
        if let Some(backend) = found {
            return Some((span.tier, backend));
        }
    }
    None
}

fn plan_and_explain(situation: &Situation) -> (Services, Vec<services::Explained>) {
    let Situation { world, dead, ranking } = situation;
    let me = me();
    let view = View { dead, ranking, ..View::new(world, &me) };
    (services::plan(&view), services::explain(&view))
}

fn set_of<'a>(plan: &'a Services, ladder: &Ladder) -> &'a Set {
    static EMPTY: Set = Set::new();
    if ladder.set == 0 { &EMPTY } else { &plan.sets[&ladder.set] }
}

/// Every ready backend of a service with its weight, found the long way round.
fn ready<'a>(situation: &'a Situation, service: &'a Service) -> impl Iterator<Item = &'a model::Endpoint> {
    let sharing = |other: &&Service| {
        other.key == service.key || (other.key.name == service.key.name && other.global && service.global)
    };
    let world = &situation.world;
    let sources = world.services.values().filter(sharing);
    sources
        .flat_map(|s| world.endpoints.get(&s.key).into_iter().flatten())
        .map(|(_, e)| e)
        .filter(|e| e.ready)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_an_unhealthy_backend_while_a_healthy_one_exists(situation in situation(), seed in any::<u32>()) {
        let (plan, _) = plan_and_explain(&situation);
        let dead: BTreeSet<_> = situation.dead.iter().map(Node::id).collect();
        let mut random = seed;
        for ladder in plan.frontends.values() {
            let set = set_of(&plan, ladder);
            let nearest = ladder.tiers.iter().find(|span| {
                let rung = &set[span.begin as usize..(span.begin + span.count) as usize];
                rung.iter().any(|b| !dead.contains(&b.node))
            });
            for _ in 0..16 {
                let picked = pick(ladder, set, &dead, || {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    random >> 16
                });
                let spills = ladder.tiers.iter().any(|span| span.passes > 0);
                prop_assert_eq!(picked.is_some(), nearest.is_some());
                prop_assert!(spills || picked.map(|(tier, _)| tier) == nearest.map(|span| span.tier));
                prop_assert!(picked.is_none_or(|(_, backend)| !dead.contains(&backend.node)));
            }
        }
    }

    #[test]
    fn rungs_cover_the_set_in_order(situation in situation()) {
        let (plan, _) = plan_and_explain(&situation);
        let used: BTreeSet<_> = plan.frontends.values().map(|l| l.set).filter(|id| *id != 0).collect();
        prop_assert_eq!(used, plan.sets.keys().copied().collect::<BTreeSet<_>>(), "no set without a ladder");
        for ladder in plan.frontends.values() {
            let set = set_of(&plan, ladder);
            prop_assert_eq!(ladder.set == 0, set.is_empty());
            prop_assert!(ladder.tiers.len() <= Ladder::MAX_TIERS);
            prop_assert!(ladder.tiers.is_sorted_by_key(|span| span.tier));
            let mut next = 0;
            for span in &ladder.tiers {
                prop_assert_eq!(span.begin, next);
                prop_assert!(span.count > 0);
                next += span.count;
            }
            prop_assert_eq!(next as usize, set.len());
        }
    }

    #[test]
    fn every_ready_backend_stands_as_often_as_it_weighs(situation in situation()) {
        let (plan, _) = plan_and_explain(&situation);
        let refused = plan.problems.iter().map(|problem| &problem.loser().key);
        let refused: BTreeSet<_> = refused.collect();
        let me = me();
        let mine = situation.world.services.values().filter(|s| s.key.cluster == me.cluster);
        for service in mine.filter(|s| !refused.contains(&s.key)) {
            for (ip, port) in service.vips.iter().flat_map(|ip| service.ports.iter().map(move |p| (ip, p))) {
                let frontend = engine::plan::Frontend { ip: *ip, protocol: port.protocol, port: port.port };
                let ladder = &plan.frontends[&frontend];
                let set = set_of(&plan, ladder);
                let mut wanted: BTreeMap<Backend, u32> = BTreeMap::new();
                // Two clusters that claim one address stand on two rungs, each with a weight of its own.
                let mut claimed: BTreeMap<Backend, BTreeSet<&ClusterName>> = BTreeMap::new();
                for endpoint in ready(&situation, service) {
                    let of_protocol = |p: &&model::EndpointPort| p.protocol == port.protocol;
                    let offered: Vec<_> = endpoint.ports.iter().filter(of_protocol).collect();
                    let asked = service.ports.iter().filter(|p| p.protocol == port.protocol).count();
                    let named = offered.iter().find(|p| p.name == port.name);
                    let sole = offered.first().filter(|_| offered.len() == 1 && asked == 1);
                    let Some(target) = named.or(sole) else { continue };
                    let Some(address) = endpoint.ips.iter().find(|a| a.is_ipv4() == ip.is_ipv4()) else { continue };
                    let node = endpoint.node.as_ref().map_or(0, Node::id);
                    let backend = Backend { ip: *address, port: target.port, node };
                    claimed.entry(backend).or_default().insert(&endpoint.key.service.cluster);
                    let weight = wanted.entry(backend).or_default();
                    *weight = (*weight).max(endpoint.weight.into());
                }
                wanted.retain(|_, weight| *weight > 0);
                prop_assert_eq!(
                    set.iter().collect::<BTreeSet<_>>(),
                    wanted.keys().collect::<BTreeSet<_>>(),
                );
                for span in &ladder.tiers {
                    // In proportion: the weights of a rung may be reduced by a common factor.
                    let rung = &set[span.begin as usize..(span.begin + span.count) as usize];
                    let times = |b: &Backend| rung.iter().filter(|other| *other == b).count() as u32;
                    let pairs = rung.iter().zip(&rung[1..]);
                    for (a, b) in pairs.filter(|(a, b)| claimed[a].len() == 1 && claimed[b].len() == 1) {
                        prop_assert_eq!(times(a) * wanted[b], times(b) * wanted[a]);
                    }
                }
            }
        }
    }

    #[test]
    fn explained_as_planned(situation in situation()) {
        let (plan, explained) = plan_and_explain(&situation);
        for service in &explained {
            let shares: f64 = service.backends.iter().map(|b| b.share).sum();
            prop_assert!(shares.abs() < 1e-9 || (shares - 1.0).abs() < 1e-9, "shares add up to {shares}");
            prop_assert!(service.backends.is_sorted_by_key(|b| (b.tier, b.rank)));
            for backend in &service.backends {
                prop_assert_eq!(backend.share > 0.0, backend.why == Why::InRotation);
                prop_assert!(backend.healthy || backend.share == 0.0);
                let planned = plan.sets.values().flatten().any(|b| backend.ips.contains(&b.ip));
                prop_assert!(planned || backend.share == 0.0);
            }
        }
    }
}
