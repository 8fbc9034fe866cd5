use std::collections::BTreeSet;

use model::{Endpoint, EndpointPort, Protocol, ServicePort, Tier, World};

mod agreed;
mod capacity;
mod direct;
mod ejected;
mod from_outside;
mod hints;
mod imports;
mod outside;
mod preferences;
mod refused;
mod spillover;

use super::*;
use crate::testing::{cluster_name, endpoint, node, node_name, port, service, service_key, world};

/// Three clusters; `a` has two regions, one of them with two zones; `a/1` is me.
fn three_clouds(services: Vec<model::Service>, endpoints: Vec<Endpoint>) -> World {
    let nodes = vec![
        node("a/1", "west", "west-1"),
        node("a/2", "west", "west-1"),
        node("a/3", "west", "west-2"),
        node("a/4", "east", "west-1"),
        node("b/1", "west", "west-1"),
        node("c/1", "north", "north-1"),
    ];
    let clusters = ["a", "b", "c"].iter().zip(1..).map(|(name, id)| crate::testing::cluster(name, id, &[]));
    world(clusters.collect(), nodes, services, endpoints)
}

/// `echo` in all three, global, with a backend on every node: the last byte of its address says which.
fn echo_everywhere() -> World {
    let backends = [
        ("a", 1, "a/1"),
        ("a", 2, "a/2"),
        ("a", 3, "a/3"),
        ("a", 4, "a/4"),
        ("b", 5, "b/1"),
        ("c", 6, "c/1"),
    ];
    three_clouds(
        ["a", "b", "c"].map(|c| service(c, "echo", &["10.101.0.1"], true)).into(),
        backends
            .map(|(c, n, node)| endpoint(c, "echo", &format!("echo-{n}"), &format!("10.0.0.{n}"), Some(node)))
            .into(),
    )
}

fn edit(world: &mut World, cluster: &str, pod: &str, change: impl Fn(&mut Endpoint)) {
    let of_service = world.endpoints.get_mut(&service_key(cluster, "echo")).unwrap();
    change(of_service.get_mut(pod).unwrap());
}

/// What an agent keeps for itself.
const RESERVED: &[Reserved] =
    &[Reserved { protocol: Protocol::Tcp, port: 9641, purpose: "the agent's metrics and health" }];

/// What `me` makes of it, with `c` nearer than `b`.
struct Seen {
    plan: Services,
    explained: Vec<Explained>,
}

fn see(world: &World, me: &str, dead: &[&str]) -> Seen {
    see_with(world, me, dead, &NodePortAddresses::All)
}

fn see_with(world: &World, me: &str, dead: &[&str], node_ports: &NodePortAddresses) -> Seen {
    let dead: BTreeSet<_> = dead.iter().map(|n| node_name(n)).collect();
    let ranking = [cluster_name("c"), cluster_name("b")];
    let me = node_name(me);
    let view =
        View { dead: &dead, ranking: &ranking, reserved: RESERVED, node_ports, ..View::new(world, &me) };
    assert_eq!(plan(&view), plan(&view), "deterministic");
    Seen { plan: plan(&view), explained: explain(&view) }
}

impl Seen {
    /// The ladder behind an address: `node[1] zone[2,2]`, with each backend's last byte.
    fn ladder(&self, ip: &str) -> String {
        let (_, ladder) =
            self.plan.frontends.iter().find(|(f, _)| f.ip.to_string() == ip).expect("a frontend");
        let last_byte = |ip: &std::net::IpAddr| ip.to_string().rsplit(['.', ':']).next().unwrap().to_string();
        let rungs = ladder.tiers.iter().map(|span| {
            let backends =
                &self.plan.sets[&ladder.set][span.begin as usize..(span.begin + span.count) as usize];
            let backends: Vec<_> = backends.iter().map(|b| last_byte(&b.ip)).collect();
            format!("{}[{}]", span.tier, backends.join(","))
        });
        rungs.collect::<Vec<_>>().join(" ")
    }

    /// `pod share why` of each backend of the only service.
    fn standings(&self) -> Vec<String> {
        let backends = self.explained[0].backends.iter();
        backends
            .map(|b| format!("{} {:.2} {}", b.endpoint.name, b.share, b.why).trim_end().to_string())
            .collect()
    }
}

#[test]
fn the_ladder_from_every_node() {
    let world = echo_everywhere();
    for (me, want) in [
        ("a/1", "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]"),
        ("a/2", "node[2] zone[1] region[3] cluster[4] elsewhere[6] elsewhere[5]"),
        ("a/3", "node[3] region[1,2] cluster[4] elsewhere[6] elsewhere[5]"),
        ("a/4", "node[4] cluster[1,2,3] elsewhere[6] elsewhere[5]"),
        ("b/1", "node[5] elsewhere[6] elsewhere[1,2,3,4]"),
        ("c/1", "node[6] elsewhere[5] elsewhere[1,2,3,4]"),
        ("a/unknown", "cluster[1,2,3,4] elsewhere[6] elsewhere[5]"),
    ] {
        assert_eq!(see(&world, me, &[]).ladder("10.101.0.1"), want, "{me}");
    }
}

#[test]
fn what_changes_the_ladder() {
    type Edit = Box<dyn Fn(&mut World)>;
    let e = |cluster: &'static str, pod: &'static str, change: fn(&mut Endpoint)| -> Edit {
        Box::new(move |world| edit(world, cluster, pod, change))
    };
    let s = |cluster: &'static str, change: fn(&mut model::Service)| -> Edit {
        Box::new(move |world| change(world.services.get_mut(&service_key(cluster, "echo")).unwrap()))
    };
    let cases: Vec<(&str, Edit, &str)> = vec![
        (
            "unready leaves",
            e("a", "echo-1", |e| e.ready = false),
            "zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "weight 0 leaves",
            e("a", "echo-2", |e| e.weight = 0),
            "node[1] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "weights are relative",
            e("a", "echo-1", |e| e.weight = 7),
            "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "twice the weight stands twice",
            e("a", "echo-2", |e| {
                e.node = Some(node_name("a/1"));
                e.weight = 2;
            }),
            "node[1,2,2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "no node is somewhere in the cluster",
            e("a", "echo-1", |e| e.node = None),
            "zone[2] region[3] cluster[1,4] elsewhere[6] elsewhere[5]",
        ),
        (
            "an unknown node too",
            e("a", "echo-1", |e| e.node = Some(node_name("a/9"))),
            "zone[2] region[3] cluster[1,4] elsewhere[6] elsewhere[5]",
        ),
        (
            "another family is kept apart",
            e("a", "echo-1", |e| e.ips = vec!["fd00::1".parse().unwrap()]),
            "zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "another protocol does not answer",
            e("a", "echo-1", |e| e.ports[0].protocol = Protocol::Udp),
            "zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "the sole port answers under any name",
            e("a", "echo-1", |e| e.ports[0].name = "web".into()),
            "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "one address twice is one backend",
            e("a", "echo-2", |e| {
                e.ips = vec!["10.0.0.1".parse().unwrap()];
                e.node = Some(node_name("a/1"));
            }),
            "node[1] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        ("mine is not global", s("a", |s| s.global = false), "node[1] zone[2] region[3] cluster[4]"),
        (
            "theirs is not global",
            s("c", |s| s.global = false),
            "node[1] zone[2] region[3] cluster[4] elsewhere[5]",
        ),
        (
            "theirs is not a service",
            Box::new(|w| drop(w.services.remove(&service_key("c", "echo")))),
            "node[1] zone[2] region[3] cluster[4] elsewhere[5]",
        ),
        (
            "an empty zone equals nothing",
            Box::new(|w| {
                for node in w.nodes.values_mut() {
                    node.topology.zone.clear();
                }
            }),
            "node[1] region[2,3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "an empty region equals nothing",
            Box::new(|w| {
                for node in w.nodes.values_mut() {
                    node.topology.region.clear();
                }
            }),
            "node[1] cluster[2,3,4] elsewhere[6] elsewhere[5]",
        ),
        ("nobody left: refuse", Box::new(|w| w.endpoints.clear()), ""),
    ];
    for (what, change, want) in cases {
        let mut world = echo_everywhere();
        change(&mut world);
        assert_eq!(see(&world, "a/1", &[]).ladder("10.101.0.1"), want, "{what}");
    }
}

#[test]
fn nobody_left_is_an_empty_ladder() {
    let mut world = echo_everywhere();
    world.endpoints.clear();
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.plan.frontends.values().collect::<Vec<_>>(), [&Ladder::default()]);
    assert!(seen.plan.sets.is_empty());
}

#[test]
fn a_plan_does_not_depend_on_health() {
    let world = echo_everywhere();
    assert_eq!(see(&world, "a/1", &[]).plan, see(&world, "a/1", &["a/1", "a/2", "c/1"]).plan);
}

#[test]
fn the_same_backends_are_one_set() {
    let mut world = echo_everywhere();
    let mut twin = service("a", "twin", &["10.101.0.2"], false);
    twin.global = true;
    world.services.insert(twin.key.clone(), twin);
    for cluster in ["b", "c"] {
        let twin = service(cluster, "twin", &[], true);
        world.services.insert(twin.key.clone(), twin);
    }
    for cluster in ["a", "b", "c"] {
        let copies = world.endpoints[&service_key(cluster, "echo")].clone();
        world.endpoints.insert(service_key(cluster, "twin"), copies);
    }
    let seen = see(&world, "a/1", &[]);
    assert_eq!((seen.plan.frontends.len(), seen.plan.sets.len()), (2, 1));
}

#[test]
fn ports_are_matched_by_name_and_families_kept_apart() {
    let mut echo = service("a", "echo", &["10.101.0.1", "fd00:101::1"], false);
    let named = |name: &str, protocol, n| ServicePort::new(name, protocol, port(n));
    echo.ports = vec![
        named("web", Protocol::Tcp, 80),
        named("admin", Protocol::Tcp, 81),
        named("dns", Protocol::Udp, 53),
    ];
    let mut pod = endpoint("a", "echo", "echo-1", "10.0.0.1", Some("a/1"));
    pod.ips.push("fd00::1".parse().unwrap());
    let offers = |name: &str, protocol, n| EndpointPort::new(name, protocol, port(n));
    pod.ports = vec![offers("admin", Protocol::Tcp, 8081), offers("any", Protocol::Udp, 5353)];
    let seen = see(&three_clouds(vec![echo], vec![pod]), "a/1", &[]);
    let answers: Vec<_> = seen
        .plan
        .frontends
        .iter()
        .map(|(f, ladder)| {
            let backend = seen.plan.sets.get(&ladder.set).map(|set| format!("{}:{}", set[0].ip, set[0].port));
            format!("{} {}/{} {}", f.ip, f.port, f.protocol, backend.unwrap_or("refused".into()))
        })
        .collect();
    assert_eq!(
        answers,
        [
            "10.101.0.1 80/TCP refused",
            "10.101.0.1 81/TCP 10.0.0.1:8081",
            "10.101.0.1 53/UDP 10.0.0.1:5353",
            "fd00:101::1 80/TCP refused",
            "fd00:101::1 81/TCP fd00::1:8081",
            "fd00:101::1 53/UDP fd00::1:5353",
        ]
    );
}

#[test]
fn two_services_with_one_address() {
    let services =
        vec![service("a", "echo", &["10.101.0.1"], false), service("a", "later", &["10.101.0.1"], false)];
    let seen = see(&three_clouds(services, vec![]), "a/1", &[]);
    let said: Vec<_> = seen.plan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "service a/demo/later asks for 10.101.0.1 port 80/TCP, which service a/demo/echo has, and is not served there: change one of them"
        ]
    );
}

#[test]
fn more_clusters_than_rungs() {
    let mut world = echo_everywhere();
    for n in 0..40_u8 {
        let name = format!("x{n:02}");
        let cluster = crate::testing::cluster(&name, 100 + u64::from(n), &[]);
        world.clusters.insert(cluster.name.clone(), cluster);
        let twin = service(&name, "echo", &[], true);
        world.services.insert(twin.key.clone(), twin);
        let pod = endpoint(&name, "echo", "echo-0", &format!("10.9.{n}.{}", 100 + n), None);
        world.endpoints.entry(pod.key.service.clone()).or_default().insert("echo-0".into(), pod);
    }
    let seen = see(&world, "a/1", &[]);
    let ladder = seen.plan.frontends.values().next().unwrap();
    assert_eq!(ladder.tiers.len(), Ladder::MAX_TIERS);
    // Four rungs of mine, c, b, nine more clusters, and the other thirty-one together.
    assert_eq!(ladder.tiers[15].count, 31);
    assert_eq!(seen.plan.sets[&ladder.set].len(), 46);
    let ranks: Vec<_> = seen.explained[0].backends.iter().map(|b| b.rank).collect();
    assert_eq!(ranks, [0, 0, 0, 0].into_iter().chain(0..42).collect::<Vec<_>>());
}

#[test]
fn huge_weights_are_scaled_down() {
    let mut world = echo_everywhere();
    for (pod, weight) in [("echo-1", u16::MAX), ("echo-2", 300), ("echo-3", 1)] {
        edit(&mut world, "a", pod, |e| {
            e.node = Some(node_name("a/1"));
            e.weight = weight;
        });
    }
    let seen = see(&world, "a/1", &[]);
    let ladder = seen.plan.frontends.values().next().unwrap();
    assert_eq!(ladder.tiers[0].count, ladder::MAX_WEIGHT + 1 + 1);
}

#[test]
fn explained() {
    type Edit = Box<dyn Fn(&mut World)>;
    let nothing: Edit = Box::new(|_| ());
    let cases: Vec<(&str, Edit, &[&str], [&str; 6])> = vec![
        (
            "all is well",
            nothing,
            &[],
            [
                "echo-1 1.00",
                "echo-2 0.00 a nearer tier answers: node",
                "echo-3 0.00 a nearer tier answers: node",
                "echo-4 0.00 a nearer tier answers: node",
                "echo-6 0.00 a nearer tier answers: node",
                "echo-5 0.00 a nearer tier answers: node",
            ],
        ),
        (
            "two in a zone share",
            Box::new(|w| edit(w, "a", "echo-3", |e| e.node = Some(node_name("a/2")))),
            &["a/1"],
            [
                "echo-1 0.00 its node does not answer",
                "echo-2 0.50",
                "echo-3 0.50",
                "echo-4 0.00 a nearer tier answers: zone",
                "echo-6 0.00 a nearer tier answers: zone",
                "echo-5 0.00 a nearer tier answers: zone",
            ],
        ),
        (
            "reasons",
            Box::new(|w| {
                edit(w, "a", "echo-1", |e| e.ready = false);
                edit(w, "a", "echo-2", |e| (e.ready, e.terminating) = (false, true));
                edit(w, "a", "echo-3", |e| e.weight = 0);
                edit(w, "a", "echo-4", |e| e.ports.clear());
            }),
            &["c/1"],
            [
                "echo-1 0.00 not ready",
                "echo-2 0.00 terminating",
                "echo-3 0.00 weight 0",
                "echo-4 0.00 no port or address that fits the service",
                "echo-6 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-5 1.00",
            ],
        ),
        (
            "all dead",
            Box::new(|w| edit(w, "a", "echo-2", |e| e.ips = vec!["10.0.0.1".parse().unwrap()])),
            &["a/1", "a/2", "a/3", "a/4", "b/1", "c/1"],
            [
                "echo-1 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-2 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-3 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-4 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-6 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-5 0.00 no node of its cluster answers: the cluster or the link is down",
            ],
        ),
        (
            "headless",
            Box::new(|w| w.services.get_mut(&service_key("a", "echo")).unwrap().vips.clear()),
            &[],
            [
                "echo-1 0.00 headless: clients choose by DNS",
                "echo-2 0.00 headless: clients choose by DNS",
                "echo-3 0.00 headless: clients choose by DNS",
                "echo-4 0.00 headless: clients choose by DNS",
                "echo-6 0.00 headless: clients choose by DNS",
                "echo-5 0.00 headless: clients choose by DNS",
            ],
        ),
    ];
    for (what, change, dead, want) in cases {
        let mut world = echo_everywhere();
        change(&mut world);
        assert_eq!(see(&world, "a/1", dead).standings(), want, "{what}");
    }
}

#[test]
fn a_duplicate_is_named() {
    let mut world = echo_everywhere();
    edit(&mut world, "a", "echo-2", |e| {
        (e.ips, e.node) = (vec!["10.0.0.1".parse().unwrap()], Some(node_name("a/1")))
    });
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.standings()[..2], ["echo-1 1.00", "echo-2 0.00 another endpoint has its address"]);
    assert_eq!(seen.explained[0].backends[1].tier, Tier::Node);
}

#[test]
fn the_kernel_remembers_the_ranking() {
    let world = echo_everywhere();
    let Services { frontends, sets, .. } = see(&world, "a/1", &[]).plan;
    let observed = crate::plan::State { frontends, sets, ..Default::default() };
    assert_eq!(remembered_ranking(&observed, &world), [cluster_name("c"), cluster_name("b")]);
    assert_eq!(remembered_ranking(&Default::default(), &world), []);
    // Nodes that nobody knows any more say nothing, and neither does a ladder without its set.
    assert_eq!(remembered_ranking(&observed, &World::default()), []);
    assert_eq!(remembered_ranking(&crate::plan::State { sets: Default::default(), ..observed }, &world), []);
}

#[test]
fn ten_thousand_services() {
    let mut world = three_clouds(vec![], vec![]);
    for n in 0..10_000_u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let name = format!("s{n}");
        let vip = format!("10.101.{high}.{low}");
        let service = service("a", &name, &[&vip], true);
        world.services.insert(service.key.clone(), service);
        for b in 1..=4 {
            let ip = format!("10.{b}.{high}.{low}");
            let pod = endpoint("a", &name, &format!("{name}-{b}"), &ip, Some(&format!("a/{b}")));
            world.endpoints.entry(pod.key.service.clone()).or_default().insert(pod.key.name.clone(), pod);
        }
    }
    let me = node_name("a/1");
    let plan = plan(&View::new(&world, &me));
    assert_eq!((plan.frontends.len(), plan.sets.len()), (10_000, 10_000));
}
