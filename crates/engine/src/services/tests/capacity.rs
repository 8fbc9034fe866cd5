//! More than the data path can hold: who is refused, and that nobody else notices.

use model::NodePort;
use proptest::prelude::*;

use super::*;

/// A service of so many endpoints; `shares` has the same ones as every other that shares.
#[derive(Debug, Clone)]
struct Wanted {
    name: u8,
    endpoints: u8,
    outside: bool,
    shares: bool,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (0u8..40, 0u8..6, any::<bool>(), any::<bool>()).prop_map(|(name, endpoints, outside, shares)| Wanted {
        name,
        endpoints,
        outside,
        shares,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    (0usize..30, 0usize..30, 0usize..40).prop_map(|(frontends, outside, backends)| Limits {
        frontends,
        outside,
        backends,
    })
}

fn world_of(wanted: &[Wanted]) -> World {
    let mut world = three_clouds(Vec::new(), Vec::new());
    world.nodes.get_mut(&node_name("a/1")).unwrap().private_ips = vec!["172.16.0.1".parse().unwrap()];
    for Wanted { name, endpoints, outside, shares } in wanted {
        let n = *name;
        let mut one = service("a", &format!("s{n:03}"), &[&format!("10.101.0.{n}")], false);
        if *outside {
            one.access.external_local = n % 2 == 0;
            one.access.node_ports = vec![NodePort {
                port: port(80),
                protocol: Protocol::Tcp,
                node_port: port(30_000 + u16::from(n)),
            }];
            one.access.load_balancer_ips = vec![[198, 51, 100, n].into()];
        }
        let mut all = BTreeMap::new();
        for e in 0..*endpoints {
            let of = if *shares { 200 } else { n };
            let node = if e % 2 == 0 { "a/1" } else { "a/2" };
            let pod =
                endpoint("a", &format!("s{n:03}"), &format!("p{e}"), &format!("10.0.{of}.{e}"), Some(node));
            all.insert(pod.key.name.clone(), pod);
        }
        world.endpoints.insert(one.key.clone(), all);
        world.services.insert(one.key.clone(), one);
    }
    world
}

fn with_view<T>(world: &World, f: impl FnOnce(&View<'_>) -> T) -> T {
    let (me, dead, node_ports) = (node_name("a/1"), BTreeSet::new(), NodePortAddresses::All);
    f(&View { dead: &dead, node_ports: &node_ports, ..View::new(world, &me) })
}

/// The whole plan, and what is left of it.
fn fit(world: &World, held: &BTreeMap<Frontend, Ladder>, limits: &Limits) -> (Services, Services) {
    with_view(world, |view| {
        let whole = plan(view);
        let mut fitted = whole.clone();
        fitted.fit(view, held, limits);
        (whole, fitted)
    })
}

/// Which services have something in a plan, by their virtual addresses.
fn served(plan: &Services) -> BTreeSet<std::net::IpAddr> {
    let virtual_ = |frontend: &&Frontend| frontend.ip.to_string().starts_with("10.101.");
    plan.frontends.keys().filter(virtual_).map(|frontend| frontend.ip).collect()
}

fn used(plan: &Services) -> [usize; 3] {
    plan.fills(&Limits { frontends: 0, outside: 0, backends: 0 }).map(|fill| fill.used)
}

proptest! {
    #[test]
    fn whole_or_not_at_all(before in prop::collection::vec(wanted(), 0..12), more in prop::collection::vec(wanted(), 0..12), limits in limits()) {
        let world = world_of(&before);
        let (whole, first) = fit(&world, &BTreeMap::new(), &limits);
        let at_most = [limits.frontends, limits.outside, limits.backends];
        let fits = |plan: &Services| used(plan).into_iter().zip(at_most).all(|(used, limit)| used <= limit);
        prop_assert!(fits(&first));
        if fits(&whole) {
            prop_assert_eq!(&first, &whole, "there is room for all");
        }
        // What is there is as it was planned, with its sets and no others; each that is not is said, once.
        prop_assert!(first.frontends.iter().all(|(f, ladder)| whole.frontends.get(f) == Some(ladder)));
        prop_assert!(first.outside.iter().all(|(f, to)| whole.outside.get(f) == Some(to)));
        let ladders = first.frontends.values().chain(first.outside.values().map(|to| &to.ladder));
        let sets: BTreeSet<SetId> = ladders.filter(|l| !l.tiers.is_empty()).map(|l| l.set).collect();
        prop_assert_eq!(&sets, &first.sets.keys().copied().collect::<BTreeSet<_>>());
        prop_assert!(first.sets.iter().all(|(id, set)| whole.sets.get(id) == Some(set)));
        let refused = &first.problems[whole.problems.len()..];
        let names: BTreeSet<_> = refused.iter().map(|problem| problem.loser().clone()).collect();
        prop_assert_eq!(names.len(), refused.len());
        prop_assert_eq!(served(&whole).len(), served(&first).len() + refused.len());
        for explained in with_view(&world, explain) {
            let loser = Claimant { key: explained.service, import: false };
            let there = explained.frontends.iter().filter(|f| first.frontends.contains_key(f)).count();
            let want = if names.contains(&loser) { 0 } else { explained.frontends.len() };
            prop_assert_eq!(there, want, "a part of {}", loser);
            let outside = explained.outside.iter().filter(|to| first.outside.contains_key(&to.frontend)).count();
            prop_assert_eq!(outside, if want == 0 { 0 } else { explained.outside.len() });
        }
        // Others that come take nothing from those that are served.
        let known: BTreeSet<u8> = before.iter().map(|wanted| wanted.name).collect();
        let mut all = before;
        all.extend(more.into_iter().filter(|wanted| !known.contains(&wanted.name)));
        let (_, second) = fit(&world_of(&all), &first.frontends, &limits);
        prop_assert!(fits(&second));
        prop_assert!(served(&first).is_subset(&served(&second)));
    }
}

#[test]
fn who_is_refused_and_what_is_said() {
    let one = |name, endpoints| Wanted { name, endpoints, outside: false, shares: false };
    let world = world_of(&[one(1, 9), one(2, 9), one(3, 8)]);
    let limits = Limits { frontends: 10, outside: 10, backends: 5 };
    let said = |held: &[&str]| {
        let key = |ip: &&str| Frontend { ip: ip.parse().unwrap(), protocol: Protocol::Tcp, port: port(80) };
        let held = held.iter().map(|ip| (key(ip), Ladder::default())).collect();
        fit(&world, &held, &limits).1.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let refused = |name: &str| {
        format!(
            "service a/demo/{name} is not served: the data path's map of backends is full, and who is served already \
             comes first; have fewer services or endpoints in one cluster, or smaller weights"
        )
    };
    assert_eq!(said(&[]), [refused("s002")], "the last by name that does not fit");
    assert_eq!(said(&["10.101.0.2"]), [refused("s001")], "but not one that is served");
    let near = |used| Fill { map: "backends", used, limit: 10 };
    assert!(!near(8).is_near() && near(9).is_near());
    assert_eq!(
        near(9).to_string(),
        "the data path's map of backends has 9 of 10 entries: when it is full, new services are refused; have fewer \
         services or endpoints in one cluster, or smaller weights"
    );
}
