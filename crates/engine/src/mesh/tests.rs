mod outside;
mod preshared;
mod topology;

use super::*;
use crate::testing::{cluster, mesh_settings, meshed, node_name, world};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Two clusters of two nodes each, dual stack; `a/1` is me.
fn two_clusters() -> World {
    let slices = |c: u8, n: u8| [format!("10.{c}.{n}.0/24"), format!("fd00:{c}:0:{n}::/64")];
    let node = |name: &str, c: u8, n: u8| {
        let [v4, v6] = slices(c, n);
        meshed(name, c * 10 + n, &[&v4, &v6])
    };
    let mut a = cluster("a", 1, &["10.1.0.0/16", "fd00:1::/48"]);
    a.service_cidrs = vec![net("10.101.0.0/16"), net("fd00:101::/112")];
    let b = cluster("b", 2, &["10.2.0.0/16", "fd00:2::/48"]);
    world(
        vec![a, b],
        vec![node("a/1", 1, 1), node("a/2", 1, 2), node("b/1", 2, 1), node("b/2", 2, 2)],
        vec![],
        vec![],
    )
}

fn plan_of(world: &World) -> Mesh {
    plan(world, &node_name("a/1"), &mesh_settings(), &Seen::default())
}

/// The plan as an operator would type it.
fn text(mesh: &Mesh) -> Vec<String> {
    let mut lines = Vec::new();
    for address in &mesh.tunnel.addresses {
        lines.push(format!("address {address}"));
    }
    for (key, peer) in &mesh.tunnel.peers {
        let ips: Vec<_> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        let endpoint = peer.endpoint.map_or("none".to_string(), |e| e.to_string());
        lines.push(format!("peer {} endpoint {endpoint} allowed-ips {}", key.0[0], ips.join(",")));
    }
    for ((to, metric), route) in &mesh.routes {
        let source = route.source.map(|s| format!(" src {s}")).unwrap_or_default();
        lines.push(format!("{:?} {to} metric {metric}{source}", route.via).to_lowercase());
    }
    lines
}

#[test]
fn a_full_mesh() {
    let mesh = plan_of(&two_clusters());
    assert_eq!(mesh.problems, []);
    assert_eq!(
        text(&mesh),
        [
            "address 10.1.1.1/32",
            "address fd00:1:0:1::1/128",
            "peer 12 endpoint 198.18.0.12:51820 allowed-ips 10.1.2.0/24,fd00:1:0:2::/64",
            "peer 21 endpoint 198.18.0.21:51820 allowed-ips 10.2.1.0/24,fd00:2:0:1::/64",
            "peer 22 endpoint 198.18.0.22:51820 allowed-ips 10.2.2.0/24,fd00:2:0:2::/64",
            "blackhole 10.1.0.0/16 metric 4096",
            "tunnel 10.1.2.0/24 metric 100 src 10.1.1.1",
            "blackhole 10.2.0.0/16 metric 4096",
            "tunnel 10.2.1.0/24 metric 100 src 10.1.1.1",
            "tunnel 10.2.2.0/24 metric 100 src 10.1.1.1",
            "unreachable 10.101.0.0/16 metric 4096",
            "blackhole fd00:1::/48 metric 4096",
            "tunnel fd00:1:0:2::/64 metric 100 src fd00:1:0:1::1",
            "blackhole fd00:2::/48 metric 4096",
            "tunnel fd00:2:0:1::/64 metric 100 src fd00:1:0:1::1",
            "tunnel fd00:2:0:2::/64 metric 100 src fd00:1:0:1::1",
            "unreachable fd00:101::/112 metric 4096",
        ]
    );
    let ranges = ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/48", "fd00:2::/48"];
    assert_eq!(mesh.guarded, ranges.map(net).into());
    assert_eq!((mesh.tunnel.mtu, mesh.tunnel.port), (1420, 51820));
}

#[test]
fn without_a_key_there_is_no_tunnel_and_the_dead_end_stays() {
    let mut world = two_clusters();
    world.nodes.get_mut(&node_name("b/1")).unwrap().public_key = None;
    let mesh = plan_of(&world);
    assert_eq!(mesh.tunnel.peers.len(), 2);
    assert!(!mesh.routes.contains_key(&(net("10.2.1.0/24"), TUNNEL_METRIC)));
    assert!(mesh.routes.contains_key(&(net("10.2.0.0/16"), LAST_RESORT_METRIC)));
    assert_eq!(mesh.problems, []);
}

#[test]
fn a_node_nobody_knows_yet_guards_and_waits() {
    let mesh = plan(&two_clusters(), &node_name("a/9"), &mesh_settings(), &Seen::default());
    assert_eq!(mesh.problems, [Problem::Myself(node_name("a/9"))]);
    assert!(mesh.tunnel.peers.is_empty() && mesh.tunnel.addresses.is_empty());
    assert_eq!(mesh.guarded.len(), 4);
    assert!(mesh.routes.values().all(|route| route.via != RouteVia::Tunnel));
}

#[test]
fn a_family_i_do_not_speak_is_left_to_the_dead_end() {
    let mut world = two_clusters();
    world.nodes.get_mut(&node_name("a/1")).unwrap().pod_cidrs.pop();
    let mesh = plan_of(&world);
    assert!(!mesh.routes.iter().any(|((to, _), r)| to.addr().is_ipv6() && r.via == RouteVia::Tunnel));
    assert!(mesh.routes.contains_key(&(net("fd00:2::/48"), LAST_RESORT_METRIC)));
}

#[test]
fn extra_ranges_are_guarded() {
    let fail_closed = vec!["10.99.1.2/16".parse().unwrap()];
    let mesh = plan(
        &two_clusters(),
        &node_name("a/1"),
        &Settings { fail_closed, ..mesh_settings() },
        &Seen::default(),
    );
    assert!(mesh.guarded.contains(&net("10.99.0.0/16")));
}

#[test]
fn claims_that_are_not_granted() {
    let edit = |name: &'static str, change: fn(&mut Node)| {
        move |world: &mut World| change(world.nodes.get_mut(&node_name(name)).unwrap())
    };
    type Edit = Box<dyn Fn(&mut World)>;
    // (what, the change, the problem's words, ranges that must not lead into a tunnel, peers)
    let cases: Vec<(&str, Edit, &str, &[&str], usize)> = vec![
        (
            "a slice that moved",
            Box::new(edit("a/2", |n| n.pod_cidrs = vec!["10.1.3.0/24".parse().unwrap()])),
            "",
            &["10.1.2.0/24"],
            3,
        ),
        (
            "the same slice twice",
            Box::new(edit("b/2", |n| n.pod_cidrs[0] = "10.2.1.0/24".parse().unwrap())),
            "node b/2's pod range 10.2.1.0/24 overlaps node b/1's",
            &["10.2.2.0/24"],
            3,
        ),
        (
            "my slice is mine, whoever comes first by name",
            Box::new(|world: &mut World| {
                let node = meshed("a/0", 99, &["10.1.1.128/25"]);
                world.nodes.insert(node.name.clone(), node);
            }),
            "node a/0's pod range 10.1.1.128/25 overlaps node a/1's",
            &["10.1.1.128/25"],
            3,
        ),
        (
            "another cluster's range",
            Box::new(edit("b/1", |n| n.pod_cidrs[0] = "10.1.7.0/24".parse().unwrap())),
            "node b/1's pod range 10.1.7.0/24 is outside cluster b's",
            &["10.1.7.0/24", "10.2.1.0/24"],
            3,
        ),
        (
            "everything",
            Box::new(edit("b/1", |n| n.pod_cidrs = vec!["0.0.0.0/0".parse().unwrap()])),
            "node b/1's pod range 0.0.0.0/0 is outside",
            &["0.0.0.0/0"],
            2,
        ),
        (
            "my key",
            Box::new(edit("b/1", |n| n.public_key = Some(PublicKey([11; 32])))),
            "node b/1 shows node a/1's WireGuard key",
            &["10.2.1.0/24"],
            2,
        ),
        (
            "another's key",
            Box::new(edit("b/2", |n| n.public_key = Some(PublicKey([21; 32])))),
            "node b/2 shows node b/1's WireGuard key",
            &["10.2.2.0/24"],
            2,
        ),
        (
            "a cluster that claims my cluster's range",
            Box::new(|world: &mut World| {
                let thief = cluster("0", 9, &["10.1.128.0/17"]);
                world.clusters.insert(thief.name.clone(), thief);
            }),
            "cluster 0's pod range 10.1.128.0/17 overlaps cluster a's",
            &[],
            3,
        ),
        (
            "a cluster that claims the machines",
            Box::new(|world: &mut World| {
                let thief = cluster("z", 9, &["198.18.0.0/15"]);
                world.clusters.insert(thief.name.clone(), thief);
            }),
            "cluster z's pod range 198.18.0.0/15 contains this node's own address 198.18.0.11",
            &[],
            3,
        ),
    ];
    for (what, change, words, not_routed, peers) in cases {
        let mut world = two_clusters();
        change(&mut world);
        let mesh = plan_of(&world);
        let said: Vec<_> = mesh.problems.iter().map(ToString::to_string).collect();
        match words {
            "" => assert_eq!(said, [""; 0], "{what}"),
            words => assert!(said.iter().any(|s| s.contains(words)), "{what}: {said:?}"),
        }
        for range in not_routed {
            assert!(!mesh.routes.contains_key(&(net(range), TUNNEL_METRIC)), "{what}: {range}");
        }
        assert_eq!(mesh.tunnel.peers.len(), peers, "{what}");
        assert_eq!(mesh, plan_of(&world), "{what}: deterministic");
        assert!(
            mesh.guarded.iter().all(|r| !r.contains(&"198.18.0.11".parse::<IpAddr>().unwrap())),
            "{what}"
        );
    }
}

#[test]
fn keepalive_only_from_behind_a_nat() {
    let mut world = two_clusters();
    assert!(plan_of(&world).tunnel.peers.values().all(|p| p.keepalive == 0));
    let me = world.nodes.get_mut(&node_name("a/1")).unwrap();
    (me.private_ips, me.public_ips) = (vec![IpAddr::from([172, 16, 0, 1])], vec![]);
    assert!(plan_of(&world).tunnel.peers.values().all(|p| p.keepalive == 25));
}

#[test]
fn five_thousand_nodes() {
    let mut nodes = Vec::new();
    let clusters =
        (1..=50u8).map(|c| cluster(&format!("c{c}"), c.into(), &[&format!("10.{c}.0.0/16")])).collect();
    for c in 1..=50u8 {
        for n in 0..100u8 {
            let mut key = [0; 32];
            (key[0], key[1]) = (c, n);
            let mut node = meshed(&format!("c{c}/n{n}"), 1, &[&format!("10.{c}.{n}.0/24")]);
            node.public_key = Some(PublicKey(key));
            nodes.push(node);
        }
    }
    let mesh = plan(
        &world(clusters, nodes, vec![], vec![]),
        &node_name("c1/n0"),
        &mesh_settings(),
        &Seen::default(),
    );
    assert_eq!((mesh.tunnel.peers.len(), mesh.problems.len()), (4_999, 0));
    assert_eq!(mesh.routes.len(), 4_999 + 50);
}

#[test]
fn outside_the_mesh_pods_show_the_nodes_address() {
    let masquerade = |world: &World, settings| {
        let mesh = plan(world, &node_name("a/1"), &settings, &Seen::default());
        let Masquerade { sources, except } = mesh.masquerade;
        let text = |ranges: BTreeSet<IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
        (text(sources), text(except))
    };
    let world = two_clusters();
    assert_eq!(masquerade(&world, mesh_settings()), (vec![], vec![]), "unless it is left alone");
    let own = vec!["10.1.1.0/24".to_string(), "fd00:1:0:1::/64".into()];
    let mesh =
        ["10.1.0.0/16", "10.2.0.0/16", "10.101.0.0/16", "fd00:1::/48", "fd00:2::/48", "fd00:101::/112"];
    let all = Settings { masquerade: Some(vec![]), ..mesh_settings() };
    assert_eq!(masquerade(&world, all), (own.clone(), mesh.map(String::from).to_vec()));
    let some = Settings {
        masquerade: Some(vec![net("10.0.0.0/8"), net("192.0.2.7/24")]),
        fail_closed: vec![net("fd00:1:0:5::/64")],
        ..mesh_settings()
    };
    let except = ["10.0.0.0/8", "192.0.2.0/24", "fd00:1::/48", "fd00:2::/48", "fd00:101::/112"];
    assert_eq!(masquerade(&world, some), (own, except.map(String::from).to_vec()), "ranges never overlap");
    let without_me = crate::testing::world(vec![cluster("a", 1, &["10.1.0.0/16"])], vec![], vec![], vec![]);
    let all = Settings { masquerade: Some(vec![]), ..mesh_settings() };
    assert_eq!(masquerade(&without_me, all).0, Vec::<String>::new(), "a node without a slice has no pods");
}

#[test]
fn beside_kube_proxy_service_addresses_are_left_alone() {
    let unserved = |unserved| {
        let mesh = plan(
            &two_clusters(),
            &node_name("a/1"),
            &Settings { unserved, ..mesh_settings() },
            &Seen::default(),
        );
        mesh.routes.values().filter(|route| route.via == RouteVia::Unreachable).count()
    };
    assert_eq!((unserved(Unserved::Refuse), unserved(Unserved::Leave)), (2, 0));
}

#[test]
fn a_narrow_way_is_a_route_of_its_own_size() {
    let mtus = |mtu: u32| {
        let seen = Seen { narrow: [(node_name("b/1"), mtu)].into(), ..Seen::default() };
        let mesh = plan(&two_clusters(), &node_name("a/1"), &mesh_settings(), &seen);
        ["10.2.1.0/24", "fd00:2:0:1::/64", "10.2.2.0/24"].map(|to| mesh.routes[&(net(to), TUNNEL_METRIC)].mtu)
    };
    assert_eq!(mtus(1340), [Some(1340), Some(1340), None]);
    assert_eq!(mtus(1200), [Some(1200), Some(1280), None], "IPv6 has no less");
}

#[test]
fn next_keys_are_believed_beside_the_others() {
    let key = |n: u8| PublicKey([n; 32]);
    let plan_with = |next: &[(&str, u8)], knows_two_keys: bool| {
        let mut world = two_clusters();
        for (name, next) in next {
            let node = world.nodes.get_mut(&node_name(name)).unwrap();
            node.mesh.rekeying.next_key = Some(key(*next));
        }
        plan(&world, &node_name("a/1"), &Settings { knows_two_keys, ..mesh_settings() }, &Seen::default())
    };
    let others = |mesh: &Mesh| {
        let peers = mesh.tunnel.peers.iter();
        peers.map(|(key, peer)| (key.0[0], peer.other_key.map(|key| key.0[0]))).collect::<Vec<_>>()
    };
    let mesh = plan_with(&[("a/2", 50), ("b/1", 51)], true);
    assert_eq!(others(&mesh), [(12, Some(50)), (21, Some(51)), (22, None)]);
    assert!(mesh.problems.is_empty());
    let kernel = plan_with(&[("a/2", 50)], false);
    assert_eq!(others(&kernel), [(12, None), (21, None), (22, None)], "the kernel has one key for each");
    // Nobody gets another's: not ours, nor one that is used, nor one that another of our cluster will have.
    for (name, next, winner) in [("b/1", 11, "a/1"), ("b/1", 22, "b/2"), ("b/2", 50, "a/2")] {
        let mesh = plan_with(&[("a/2", 50), (name, next)], true);
        let loser = others(&mesh).into_iter().find(|(key, _)| *key == if name == "b/1" { 21 } else { 22 });
        assert_eq!(loser.and_then(|(_, next)| next), None);
        let (loser, winner) = (node_name(name), winner.to_string());
        assert_eq!(mesh.problems, [Problem::NextKey { key: key(next), loser, winner }]);
    }
    // It is what the plan says, so there is nothing to do; then it is the only one.
    let (now, then) = (plan_with(&[("a/2", 50)], true), plan_with(&[], true));
    let state = |mesh: &Mesh| crate::plan::State { tunnel: mesh.tunnel.clone(), ..Default::default() };
    assert!(crate::plan::diff(&state(&now), &state(&now)).is_empty());
    assert_eq!(crate::plan::diff(&state(&then), &state(&now)).len(), 1);
}
