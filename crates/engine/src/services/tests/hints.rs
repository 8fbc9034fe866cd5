//! Kubernetes' words about topology, from the objects on: what the rows of `select`'s table are made of.

use model::{Hints, Topology};

use super::select::{Reach, Seen, Verdict, choose};
use super::*;

/// An endpoint, and where its node stands.
type Placed = (Endpoint, Topology);

/// An endpoint of `a/echo` on a node, and where that node stands.
fn at(node: &str, zone: &str, hints: Hints) -> Placed {
    let mut endpoint = endpoint("a", "echo", node, "10.0.0.1", Some(node));
    endpoint.hints = hints;
    (endpoint, Topology { region: "west".into(), zone: zone.into(), ..Topology::default() })
}

fn given(zones: &[&str], nodes: &[&str]) -> Hints {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Hints::Given { zones: owned(zones), nodes: owned(nodes) }
}

/// The last letters of those that `a/1` in zone `z1` of `west` gets.
fn taken(endpoints: &[Placed], mine: &str) -> String {
    let me = node_name("a/1");
    let mine = Topology { region: "west".into(), zone: mine.into(), ..Topology::default() };
    let seen: Vec<Seen> =
        endpoints.iter().map(|(endpoint, its)| Seen::new(endpoint, Some(its), &me, &mine)).collect();
    let verdicts = choose(Reach::Cluster, &seen);
    let taken = endpoints.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::In);
    taken.map(|((endpoint, _), _)| endpoint.key.name.chars().last().unwrap()).collect()
}

#[test]
fn hints_as_they_are_written() {
    let zone = |zones: &[&str]| given(zones, &[]);
    let own_node = || Hints::OwnNode;
    let rows: Vec<(&str, Vec<Placed>, &str)> = vec![
        ("zones by name", vec![at("a/1", "z1", zone(&["z1"])), at("a/2", "z2", zone(&["z2"]))], "1"),
        (
            "zones by name, wherever the endpoint is",
            vec![at("a/1", "z1", zone(&["z2"])), at("a/2", "z2", zone(&["z1"]))],
            "2",
        ),
        (
            "a zone that no node has",
            vec![at("a/1", "z1", zone(&["mars"])), at("a/2", "z2", zone(&["mars"]))],
            "12",
        ),
        (
            "one of them for a zone that no node has",
            vec![at("a/1", "z1", zone(&["mars"])), at("a/2", "z2", zone(&["z1"]))],
            "2",
        ),
        (
            "some with hints, one without",
            vec![at("a/1", "z1", zone(&["z1"])), at("a/2", "z2", Hints::None)],
            "12",
        ),
        (
            "by name and by rule, mixed",
            vec![at("a/1", "z1", Hints::OwnZone), at("a/2", "z2", zone(&["z2"]))],
            "1",
        ),
        (
            "own zone",
            vec![
                at("a/1", "z1", Hints::OwnZone),
                at("a/2", "z1", Hints::OwnZone),
                at("a/3", "z2", Hints::OwnZone),
            ],
            "12",
        ),
        (
            "own zone, on a node without one",
            vec![at("a/1", "z1", Hints::OwnZone), at("a/2", "", Hints::OwnZone)],
            "12",
        ),
        (
            "own node",
            vec![at("a/1", "z1", own_node()), at("a/2", "z1", own_node()), at("a/3", "z2", own_node())],
            "1",
        ),
        (
            "own node, none on mine: own zone",
            vec![at("a/2", "z1", own_node()), at("a/3", "z2", own_node())],
            "2",
        ),
        (
            "own node, none on mine nor in my zone",
            vec![at("a/2", "z2", own_node()), at("a/3", "z3", own_node())],
            "23",
        ),
        (
            "nodes and zones by name",
            vec![at("a/1", "z1", given(&["z1"], &["1"])), at("a/2", "z1", given(&["z1"], &["2"]))],
            "1",
        ),
        (
            "nodes by name, none mine: zones",
            vec![at("a/2", "z1", given(&["z1"], &["2"])), at("a/3", "z2", given(&["z2"], &["3"]))],
            "2",
        ),
        (
            "nodes by name alone, none mine: all",
            vec![at("a/2", "z1", given(&[], &["2"])), at("a/3", "z2", given(&[], &["3"]))],
            "23",
        ),
        (
            "nodes by name, one without: zones",
            vec![at("a/1", "z1", given(&["z1"], &["1"])), at("a/2", "z1", zone(&["z1"]))],
            "12",
        ),
    ];
    for (what, endpoints, want) in rows {
        assert_eq!(taken(&endpoints, "z1"), want, "{what}");
    }
    let in_two = [at("a/1", "z1", zone(&["z1"])), at("a/2", "z2", zone(&["z2"]))];
    assert_eq!(taken(&in_two, ""), "12", "without a zone of its own a client has no hint");
    assert_eq!(taken(&in_two, "z3"), "12", "nor in a zone that none is for");
}

#[test]
fn a_zone_is_one_within_a_region_of_a_provider() {
    let mut world = echo_everywhere();
    let provide = |world: &mut World, node: &str, provider: &str| {
        world.nodes.get_mut(&node_name(node)).unwrap().topology.provider = provider.into();
    };
    for node in ["a/1", "a/3"] {
        provide(&mut world, node, "aws");
    }
    provide(&mut world, "a/2", "gce");
    assert_eq!(
        see(&world, "a/1", &[]).ladder("10.101.0.1"),
        "node[1] region[3] cluster[2,4] elsewhere[6] elsewhere[5]",
        "west-1 of another provider is another place"
    );
    provide(&mut world, "a/2", "aws");
    assert!(see(&world, "a/1", &[]).ladder("10.101.0.1").starts_with("node[1] zone[2] region[3]"));
}

/// What is by design not as with kube-proxy: those that hints choose are on dead nodes, and the others take over.
#[test]
fn when_all_whom_hints_choose_are_dead_the_ladder_goes_on() {
    let mut world = echo_everywhere();
    for endpoint in world.endpoints.get_mut(&service_key("a", "echo")).unwrap().values_mut() {
        endpoint.hints = Hints::OwnNode;
    }
    assert_eq!(
        see(&world, "a/1", &["a/1"]).standings()[..3],
        [
            "echo-1 0.00 its node does not answer",
            "echo-2 1.00",
            "echo-3 0.00 its hints are for other nodes or zones"
        ]
    );
}

/// Each family has endpoints of its own, and its own hints.
#[test]
fn two_families() {
    let mut world = echo_everywhere();
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.vips.push("fd00:101::1".parse().unwrap());
    for (pod, ip) in [("echo-2", "fd00::2"), ("echo-3", "fd00::3")] {
        edit(&mut world, "a", pod, |e| e.ips.push(ip.parse().unwrap()));
    }
    for pod in ["echo-2", "echo-3"] {
        edit(&mut world, "a", pod, |e| e.hints = Hints::OwnZone);
    }
    let seen = see(&world, "a/1", &[]);
    assert_eq!(
        seen.ladder("10.101.0.1"),
        "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        "of IPv4 two have no hints"
    );
    assert_eq!(seen.ladder("fd00:101::1"), "zone[2] region[3]", "of IPv6 all have");
}

/// `publishNotReadyAddresses` and absent conditions are read before this; here readiness is what it is.
#[test]
fn internal_policy_local() {
    let mut world = echo_everywhere();
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.internal_local = true;
    assert_eq!(see(&world, "a/1", &[]).ladder("10.101.0.1"), "node[1]");
    edit(&mut world, "a", "echo-1", |e| (e.ready, e.serving, e.terminating) = (false, true, true));
    assert_eq!(
        see(&world, "a/1", &[]).ladder("10.101.0.1"),
        "node[1]",
        "serving and terminating, none ready here"
    );
    edit(&mut world, "a", "echo-1", |e| e.serving = false);
    assert_eq!(see(&world, "a/1", &[]).ladder("10.101.0.1"), "", "no longer serving");
    assert_eq!(see(&world, "b/1", &[]).ladder("10.101.0.1"), "node[5] elsewhere[6] elsewhere[2,3,4]");
}

/// Ports are matched by name, so one name may be another number on every endpoint.
#[test]
fn named_and_remapped_ports() {
    let mut world = echo_everywhere();
    let named = |name: &str, number| ServicePort {
        name: name.into(),
        port: port(number),
        protocol: Protocol::Tcp,
        app_protocol: String::new(),
    };
    let at = |name: &str, number| EndpointPort::new(name, Protocol::Tcp, port(number));
    for cluster in ["a", "b", "c"] {
        let service = world.services.get_mut(&service_key(cluster, "echo")).unwrap();
        service.ports = vec![named("http", 80), named("admin", 81)];
    }
    edit(&mut world, "a", "echo-1", |e| e.ports = vec![at("http", 8080), at("admin", 9000)]);
    edit(&mut world, "a", "echo-2", |e| e.ports = vec![at("http", 3000)]);
    edit(&mut world, "a", "echo-3", |e| e.ports = vec![at("admin", 80)]);
    let seen = see(&world, "a/1", &[]);
    let behind = |number| {
        let ladder = &seen.plan.frontends.iter().find(|(f, _)| f.port == port(number)).unwrap().1;
        let set = &seen.plan.sets[&ladder.set];
        set.iter().map(|b| format!("{}:{}", b.ip, b.port)).collect::<Vec<_>>()
    };
    assert_eq!(
        behind(80),
        ["10.0.0.1:8080", "10.0.0.2:3000"],
        "who has the name, at its number; nobody by number"
    );
    assert_eq!(behind(81), ["10.0.0.1:9000", "10.0.0.3:80"]);
}

#[test]
fn what_is_another_proxys_or_nobodys() {
    let mut world = echo_everywhere();
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.other_proxy = true;
    assert_eq!(see(&world, "a/1", &[]).plan.frontends.len(), 0, "service-proxy-name");
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    (service.access.other_proxy, service.headless, service.vips) = (false, true, vec![]);
    service.access.node_ports =
        vec![model::NodePort { port: port(80), protocol: Protocol::Tcp, node_port: port(30080) }];
    assert_eq!(see(&world, "a/1", &[]).plan.frontends.len(), 0, "headless");
}

/// One of many changes: a set of its own takes the place of the old one, and nothing else is touched. What is connected
/// already does not ask again.
#[test]
fn five_thousand_endpoints_in_place() {
    let mut world = three_clouds(vec![service("a", "echo", &["10.101.0.1"], false)], vec![]);
    for n in 0..5_000_u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let (pod, ip) = (format!("echo-{n}"), format!("10.1.{high}.{low}"));
        let endpoint = endpoint("a", "echo", &pod, &ip, Some(&format!("a/{}", 1 + n % 4)));
        world.endpoints.entry(endpoint.key.service.clone()).or_default().insert(pod, endpoint);
    }
    let state = |world: &World| {
        let Services { frontends, sets, .. } = see(world, "a/1", &[]).plan;
        crate::plan::State { frontends, sets, ..Default::default() }
    };
    let before = state(&world);
    assert_eq!(before.sets.values().map(Vec::len).sum::<usize>(), 5_000);
    edit(&mut world, "a", "echo-17", |e| e.ready = false);
    let after = state(&world);
    assert_eq!(after.sets.values().map(Vec::len).sum::<usize>(), 4_999);
    let ops: Vec<_> = crate::plan::diff(&before, &after).iter().map(|op| op.kind().to_string()).collect();
    assert_eq!(ops, ["add_set", "set_frontend", "delete_set"]);
    edit(&mut world, "a", "echo-17", |e| e.ready = true);
    assert_eq!(state(&world), before, "and back to the very same");
}
