//! Who does without whom, of those that fail connects.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn address(n: u8) -> SocketAddr {
    format!("10.0.0.{n}:8080").parse().unwrap()
}

/// Backends of `echo` by the last byte of their address: the first one was ejected first.
fn ejected(backends: &[u8]) -> Ejected {
    let connects = Connects { established: 1, refused: 2, unanswered: 1 };
    let ejections = backends.iter().zip(1..).map(|(n, second)| {
        let since = Duration::from_secs(second);
        (address(*n), Ejection { since, left: Duration::from_millis(6_001), connects })
    });
    ejections.collect()
}

fn see_without(world: &World, dead: &[&str], backends: &[u8]) -> Seen {
    let (me, ejected) = (node_name("a/1"), ejected(backends));
    let dead: BTreeSet<_> = dead.iter().map(|n| node_name(n)).collect();
    let ranking = [cluster_name("c"), cluster_name("b")];
    let node_ports = &NodePortAddresses::All;
    let balancing = &LoadBalancing::default();
    let view = View {
        dead: &dead,
        ranking: &ranking,
        node_ports,
        ejected: &ejected,
        balancing,
        ..View::new(world, &me)
    };
    Seen { plan: plan(&view), explained: explain(&view) }
}

const ALL: &str = "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]";

#[test]
fn never_more_than_half_and_the_first_ones_first() {
    let world = echo_everywhere();
    for (backends, want) in [
        (&[][..], ALL),
        (&[1], "zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]"),
        (&[6, 2], "node[1] region[3] cluster[4] elsewhere[5]"),
        (&[1, 2, 3], "cluster[4] elsewhere[6] elsewhere[5]"),
        (&[4, 3, 2, 1], "node[1] elsewhere[6] elsewhere[5]"),
        (&[1, 2, 3, 4, 5, 6], "cluster[4] elsewhere[6] elsewhere[5]"),
        (&[9], ALL),
    ] {
        assert_eq!(see_without(&world, &[], backends).ladder("10.101.0.1"), want, "{backends:?}");
    }
}

#[test]
fn who_cannot_answer_anyhow_does_not_count() {
    let mut world = echo_everywhere();
    for pod in ["echo-2", "echo-3"] {
        edit(&mut world, "a", pod, |e| e.ready = false);
    }
    // Of 1, 4, 5 and 6 two are on nodes that do not answer.
    let seen = see_without(&world, &["b/1", "c/1"], &[5, 1, 4]);
    assert_eq!(seen.ladder("10.101.0.1"), "cluster[4] elsewhere[6] elsewhere[5]");
    let seen = see_without(&world, &["a/4", "b/1", "c/1"], &[1]);
    assert_eq!(
        seen.ladder("10.101.0.1"),
        "node[1] cluster[4] elsewhere[6] elsewhere[5]",
        "nobody else answers"
    );
}

#[test]
fn what_is_said() {
    let world = echo_everywhere();
    let seen = see_without(&world, &[], &[1]);
    let why = "ejected for 7 s more: 3 of 4 connects failed (2 refused, 1 unanswered)";
    assert_eq!(seen.standings()[..2], [format!("echo-1 0.00 {why}"), "echo-2 1.00".into()]);
    assert!(!seen.explained[0].backends[0].healthy);
    assert_eq!(seen.explained[0].doubts, []);
    let seen = see_without(&world, &[], &[1, 2, 3, 4]);
    assert_eq!(seen.explained[0].doubts, [Doubt::Failing { backends: 1 }]);
    assert!(seen.explained[0].doubts[0].to_string().starts_with("1 of its ready backends fail connects"));
}

#[test]
fn it_is_missed_as_one_that_is_not_ready() {
    let pods = |n: u8| endpoint("a", "echo", &format!("echo-{n}"), &format!("10.0.0.{n}"), Some("a/1"));
    let mut endpoints: Vec<Endpoint> = (1..=3).map(pods).collect();
    endpoints.extend(
        (4..=7).map(|n| endpoint("a", "echo", &format!("echo-{n}"), &format!("10.0.0.{n}"), Some("a/2"))),
    );
    let world = three_clouds(vec![service("a", "echo", &["10.101.0.1"], false)], endpoints);
    let seen = see_without(&world, &[], &[1, 2]);
    assert_eq!(seen.ladder("10.101.0.1"), "node[3] zone[4,5,6,7]");
    let passes: Vec<_> = seen.explained[0].rungs[0].iter().map(|step| (step.ready, step.capacity)).collect();
    assert_eq!(passes, [(1, 3), (4, 4)]);
    assert!((seen.explained[0].rungs[0][0].passes - 1.0 / 3.0).abs() < 0.001);
}

#[test]
fn datagrams_are_another_matter() {
    let mut world = echo_everywhere();
    for service in world.services.values_mut() {
        service.ports[0].protocol = Protocol::Udp;
    }
    for endpoint in world.endpoints.values_mut().flat_map(|of| of.values_mut()) {
        endpoint.ports[0].protocol = Protocol::Udp;
    }
    assert_eq!(see_without(&world, &[], &[1, 2]).ladder("10.101.0.1"), ALL);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is ejected, at least half of those that are ready on living nodes stay.
    #[test]
    fn no_service_is_emptied(
        unready in vec(any::<bool>(), 6),
        dead in proptest::sample::subsequence(vec!["a/1", "a/2", "a/3", "a/4", "b/1", "c/1"], 0..=6),
        backends in proptest::sample::subsequence(vec![1, 2, 3, 4, 5, 6], 0..=6).prop_shuffle(),
    ) {
        let mut world = echo_everywhere();
        for of in world.endpoints.values_mut() {
            for endpoint in of.values_mut() {
                let n: usize = endpoint.key.name["echo-".len()..].parse().unwrap();
                endpoint.ready = !unready[n - 1];
            }
        }
        let (whole, seen) = (see_without(&world, &dead, &[]), see_without(&world, &dead, &backends));
        let living = |seen: &Seen| {
            let dead: BTreeSet<_> = dead.iter().map(|node| model::Node::id(&node_name(node))).collect();
            let all = seen.plan.sets.values().flatten().map(|b| (b.ip, b.node));
            all.filter(|(_, node)| !dead.contains(node)).map(|(ip, _)| ip).collect::<BTreeSet<_>>()
        };
        let (all, left) = (living(&whole), living(&seen));
        prop_assert!(left.len() * 2 >= all.len(), "{left:?} of {all:?}");
        prop_assert!(left.is_subset(&all));
        let gone = all.difference(&left).filter(|ip| !backends.iter().any(|n| address(*n).ip() == **ip)).count();
        prop_assert_eq!(gone, 0, "nobody else is left out");
    }
}
