//! Which cluster comes first, which words of Kubernetes narrow whom: every annotation and field against every situation
//! that decides.

use model::{Hints, Prefer, Service, Spread};

use super::*;

type Edit = Box<dyn Fn(&mut World)>;

fn service_of(cluster: &'static str, change: impl Fn(&mut Service) + 'static) -> Edit {
    Box::new(move |world| change(world.services.get_mut(&service_key(cluster, "echo")).unwrap()))
}

/// My cluster's service prefers so.
fn prefer(prefer: Prefer) -> Edit {
    service_of("a", move |s| s.traffic.prefer = prefer.clone())
}

fn weights(prefer: Prefer, weights: &'static [(&'static str, u16)]) -> Edit {
    service_of("a", move |s| {
        s.traffic.prefer = prefer.clone();
        s.traffic.cluster_weights = weights.iter().map(|(c, w)| (cluster_name(c), *w)).collect();
    })
}

/// Every endpoint of the clusters is so.
fn all(clusters: &'static [&'static str], change: fn(&mut Endpoint)) -> Edit {
    Box::new(move |world| {
        for (key, endpoints) in &mut world.endpoints {
            if clusters.contains(&key.cluster.as_str()) {
                endpoints.values_mut().for_each(change);
            }
        }
    })
}

fn both(first: Edit, second: Edit) -> Edit {
    Box::new(move |world| {
        first(world);
        second(world);
    })
}

fn ending(e: &mut Endpoint) {
    (e.ready, e.serving, e.terminating) = (false, true, true);
}

fn unready(e: &mut Endpoint) {
    (e.ready, e.serving) = (false, false);
}

const LADDER: &str = "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]";

#[test]
fn which_cluster_comes_first() {
    let clusters = |names: &[&str]| Prefer::Clusters(names.iter().map(|name| cluster_name(name)).collect());
    let cases: Vec<(&str, Edit, &str)> = vec![
        ("ladder", prefer(Prefer::Ladder), LADDER),
        ("none: all alike", prefer(Prefer::Even), "elsewhere[1,2,3,4,5,6]"),
        ("local: mine, then all others", prefer(Prefer::Local), "cluster[1,2,3,4] elsewhere[5,6]"),
        ("remote: all others, then mine", prefer(Prefer::Remote), "elsewhere[5,6] cluster[1,2,3,4]"),
        ("local by the ladder", prefer(Prefer::LadderLocal), LADDER),
        (
            "remote by the ladder",
            prefer(Prefer::LadderRemote),
            "elsewhere[6] elsewhere[5] node[1] zone[2] region[3] cluster[4]",
        ),
        (
            "a list, mine in it",
            prefer(clusters(&["b", "a", "c"])),
            "elsewhere[5] node[1] zone[2] region[3] cluster[4] elsewhere[6]",
        ),
        (
            "a list, the others by the ladder",
            prefer(clusters(&["b"])),
            "elsewhere[5] node[1] zone[2] region[3] cluster[4] elsewhere[6]",
        ),
        ("a list of clusters that are not there", prefer(clusters(&["x", "y"])), LADDER),
        (
            "even inside the cluster",
            service_of("a", |s| s.traffic.spread = Spread::Even),
            "cluster[1,2,3,4] elsewhere[6] elsewhere[5]",
        ),
        // What Cilium's code does with who is active.
        (
            "local, none of mine ready: the others",
            both(prefer(Prefer::Local), all(&["a"], unready)),
            "elsewhere[5,6]",
        ),
        (
            "local, mine ending: the others",
            both(prefer(Prefer::Local), all(&["a"], ending)),
            "elsewhere[5,6]",
        ),
        (
            "local, one of mine ready: it alone comes first",
            both(
                both(prefer(Prefer::Local), all(&["a"], unready)),
                Box::new(|w| edit(w, "a", "echo-4", |e| e.ready = true)),
            ),
            "cluster[4] elsewhere[5,6]",
        ),
        (
            "local, mine ending, nobody else ready: mine as long as they serve",
            both(both(prefer(Prefer::Local), all(&["a"], ending)), all(&["b", "c"], unready)),
            "cluster[1,2,3,4]",
        ),
        (
            "local, mine in maintenance: the others",
            both(prefer(Prefer::Local), all(&["a"], |e| e.weight = 0)),
            "elsewhere[5,6]",
        ),
        (
            "remote, no other ready: mine",
            both(prefer(Prefer::Remote), all(&["b", "c"], unready)),
            "cluster[1,2,3,4]",
        ),
        (
            "remote, nobody else lends: mine",
            both(
                prefer(Prefer::Remote),
                both(service_of("b", |s| s.shared = false), service_of("c", |s| s.shared = false)),
            ),
            "cluster[1,2,3,4]",
        ),
        (
            "none, mine not global: the preference has nothing to order",
            both(prefer(Prefer::Even), service_of("a", |s| s.global = false)),
            "cluster[1,2,3,4]",
        ),
        // Sharing.
        (
            "theirs is global and not shared: it takes and does not give",
            service_of("c", |s| s.shared = false),
            "node[1] zone[2] region[3] cluster[4] elsewhere[5]",
        ),
        ("mine is global and not shared: it still takes", service_of("a", |s| s.shared = false), LADDER),
        // Weights of clusters.
        (
            "0 drains",
            weights(Prefer::Ladder, &[("c", 0)]),
            "node[1] zone[2] region[3] cluster[4] elsewhere[5]",
        ),
        ("0 for mine", weights(Prefer::Ladder, &[("a", 0)]), "elsewhere[6] elsewhere[5]"),
        ("0 for all: refused", weights(Prefer::Even, &[("a", 0), ("b", 0), ("c", 0)]), ""),
        (
            "in proportion where clusters share a rung",
            weights(Prefer::Even, &[("b", 3), ("c", 2)]),
            "elsewhere[1,2,3,4,5,5,5,6,6]",
        ),
        (
            "times an endpoint's own",
            both(
                weights(Prefer::Remote, &[("b", 3)]),
                Box::new(|w| edit(w, "c", "echo-6", |e| e.weight = 2)),
            ),
            "elsewhere[5,5,5,6,6] cluster[1,2,3,4]",
        ),
        (
            "the same for all is none",
            weights(Prefer::Even, &[("a", 7), ("b", 7), ("c", 7)]),
            "elsewhere[1,2,3,4,5,6]",
        ),
    ];
    for (what, change, want) in cases {
        let mut world = echo_everywhere();
        change(&mut world);
        assert_eq!(see(&world, "a/1", &[]).ladder("10.101.0.1"), want, "{what}");
    }
}

#[test]
fn what_is_not_shared_is_not_seen_from_elsewhere() {
    let mut world = echo_everywhere();
    world.services.get_mut(&service_key("a", "echo")).unwrap().shared = false;
    assert_eq!(see(&world, "b/1", &[]).ladder("10.101.0.1"), "node[5] elsewhere[6]");
}

#[test]
fn kubernetes_words() {
    let hints = |hints: Hints| -> Edit {
        Box::new(move |world| {
            for endpoint in world.endpoints.get_mut(&service_key("a", "echo")).unwrap().values_mut() {
                endpoint.hints = hints.clone();
            }
        })
    };
    let given = |zones: &[&str], nodes: &[&str]| Hints::Given {
        zones: zones.iter().map(ToString::to_string).collect(),
        nodes: nodes.iter().map(ToString::to_string).collect(),
    };
    let local = || service_of("a", |s| s.access.internal_local = true);
    let cases: Vec<(&str, &str, Edit, &str)> = vec![
        (
            "same zone: those of it alike; the rest only in need",
            "a/1",
            hints(Hints::OwnZone),
            "zone[1,2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "a zone of another region is another zone",
            "a/4",
            hints(Hints::OwnZone),
            "node[4] cluster[1,2,3] elsewhere[6] elsewhere[5]",
        ),
        (
            "same node",
            "a/1",
            hints(Hints::OwnNode),
            "node[1] zone[2] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "same node, not here: same zone",
            "a/2",
            both(hints(Hints::OwnNode), Box::new(|w| edit(w, "a", "echo-2", |e| e.ready = false))),
            "zone[1] region[3] cluster[4] elsewhere[6] elsewhere[5]",
        ),
        (
            "hints of a slice",
            "a/1",
            both(
                hints(given(&["west-2"], &[])),
                Box::new(|w| {
                    edit(w, "a", "echo-4", |e| {
                        e.hints = Hints::Given { zones: vec!["west-1".into()], nodes: vec![] };
                    });
                }),
            ),
            "cluster[4] node[1] zone[2] region[3] elsewhere[6] elsewhere[5]",
        ),
        (
            "one without: none counts",
            "a/1",
            both(
                hints(given(&["west-1"], &[])),
                Box::new(|w| edit(w, "a", "echo-4", |e| e.hints = Hints::None)),
            ),
            LADDER,
        ),
        ("hints for a zone that has no node: the ladder", "a/1", hints(given(&["west-9"], &["9"])), LADDER),
        (
            "hints and Cilium's affinity: within my cluster, the hints",
            "a/1",
            both(hints(Hints::OwnZone), prefer(Prefer::Local)),
            "zone[1,2] cluster[3,4] elsewhere[5,6]",
        ),
        ("internalTrafficPolicy Local: this node or nobody", "a/1", local(), "node[1]"),
        (
            "internalTrafficPolicy Local, other clusters' endpoints are not on this node either",
            "a/1",
            both(local(), Box::new(|w| edit(w, "a", "echo-1", |e| e.ready = false))),
            "",
        ),
        (
            "internalTrafficPolicy Local, ending",
            "a/1",
            both(local(), Box::new(|w| edit(w, "a", "echo-1", ending))),
            "node[1]",
        ),
        (
            "nobody ready anywhere: those that end and still serve",
            "a/1",
            both(all(&["a"], ending), all(&["b", "c"], unready)),
            "node[1] zone[2] region[3] cluster[4]",
        ),
    ];
    for (what, me, change, want) in cases {
        let mut world = echo_everywhere();
        change(&mut world);
        assert_eq!(see(&world, me, &[]).ladder("10.101.0.1"), want, "{what}");
    }
}

#[test]
fn other_addresses_lead_where_the_virtual_one_does_whatever_the_policy() {
    let mut world = echo_everywhere();
    let service = world.services.get_mut(&service_key("a", "echo")).unwrap();
    service.access.internal_local = true;
    service.access.external_local = true;
    service.access.external_ips = vec!["192.0.2.7".parse().unwrap()];
    service.access.load_balancer_ips = vec!["192.0.2.8".parse().unwrap()];
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.ladder("10.101.0.1"), "node[1]");
    assert_eq!(seen.ladder("192.0.2.7"), LADDER);
    assert_eq!(seen.ladder("192.0.2.8"), LADDER);
}

#[test]
fn nobody_takes_a_virtual_address_with_an_external_one() {
    let mut world = echo_everywhere();
    let mut thief = service("a", "a-thief", &[], false);
    thief.access.external_ips = vec!["10.101.0.1".parse().unwrap()];
    world.services.insert(thief.key.clone(), thief);
    let seen = see(&world, "a/1", &[]);
    assert_eq!(seen.ladder("10.101.0.1"), LADDER);
    assert_eq!(seen.plan.problems.len(), 1);
    assert!(seen.plan.problems[0].to_string().starts_with("service a/demo/a-thief asks for 10.101.0.1"));
}

#[test]
fn another_proxys_service_is_not_ours() {
    let mut world = echo_everywhere();
    world.services.get_mut(&service_key("a", "echo")).unwrap().access.other_proxy = true;
    let seen = see(&world, "a/1", &[]);
    assert!(seen.plan.frontends.is_empty());
    assert_eq!(seen.explained[0].backends[0].why, Why::Unserved);
}

#[test]
fn why_not() {
    let cases: Vec<(&str, Edit, &[&str], [&str; 6])> = vec![
        (
            "a cluster that is preferred answers",
            prefer(Prefer::Remote),
            &["c/1"],
            [
                "echo-1 0.00 a cluster that the service prefers answers",
                "echo-2 0.00 a cluster that the service prefers answers",
                "echo-3 0.00 a cluster that the service prefers answers",
                "echo-4 0.00 a cluster that the service prefers answers",
                "echo-6 0.00 no node of its cluster answers: the cluster or the link is down",
                "echo-5 1.00",
            ],
        ),
        (
            "hints, a drained cluster",
            both(weights(Prefer::Ladder, &[("c", 0)]), all(&["a"], |e| e.hints = Hints::OwnZone)),
            &["a/2"],
            [
                "echo-1 1.00",
                "echo-2 0.00 its node does not answer",
                "echo-3 0.00 its hints are for other nodes or zones",
                "echo-4 0.00 its hints are for other nodes or zones",
                "echo-6 0.00 its cluster's weight is 0",
                "echo-5 0.00 a nearer tier answers: zone",
            ],
        ),
        (
            "policy",
            service_of("a", |s| s.access.internal_local = true),
            &[],
            [
                "echo-1 1.00",
                "echo-2 0.00 internalTrafficPolicy is Local, and it is on another node",
                "echo-3 0.00 internalTrafficPolicy is Local, and it is on another node",
                "echo-4 0.00 internalTrafficPolicy is Local, and it is on another node",
                "echo-6 0.00 internalTrafficPolicy is Local, and it is on another node",
                "echo-5 0.00 internalTrafficPolicy is Local, and it is on another node",
            ],
        ),
        (
            "three to one",
            weights(Prefer::Remote, &[("b", 3)]),
            &[],
            [
                "echo-1 0.00 a cluster that the service prefers answers",
                "echo-2 0.00 a cluster that the service prefers answers",
                "echo-3 0.00 a cluster that the service prefers answers",
                "echo-4 0.00 a cluster that the service prefers answers",
                "echo-6 0.25",
                "echo-5 0.75",
            ],
        ),
    ];
    for (what, change, dead, want) in cases {
        let mut world = echo_everywhere();
        change(&mut world);
        assert_eq!(see(&world, "a/1", dead).standings(), want, "{what}");
    }
}
