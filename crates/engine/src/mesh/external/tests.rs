use model::mesh::{Gateway, Granularity};

use super::*;
use crate::mesh::{Settings, TUNNEL_METRIC, plan};
use crate::testing::{cluster, cluster_name, mesh_settings, meshed, node_name, world};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn settings() -> Settings {
    Settings { masquerade: Some(Vec::new()), ..mesh_settings() }
}

fn peer(name: &str, n: u8, allowed: &[&str]) -> Peer {
    let (cluster, name) = name.split_once('/').unwrap();
    Peer {
        name: PeerName::new(cluster_name(cluster), name).unwrap(),
        public_key: PublicKey([n; 32]),
        allowed_ips: allowed.iter().map(|range| net(range)).collect(),
        endpoint: None,
        keepalive: 0,
        preshared_key: None,
        gateways: Gateways::All,
        allow: [model::Allow::Pods].into(),
        expires: None,
        labels: Default::default(),
    }
}

fn named(nodes: &[&str]) -> Gateways {
    Gateways::Named(nodes.iter().map(ToString::to_string).collect())
}

/// Two clusters of two nodes each, dual stack, and these peers.
fn with(peers: &[Peer]) -> World {
    let node = |name: &str, c: u8, n: u8| {
        let slices = [format!("10.{c}.{n}.0/24"), format!("fd00:{c}:0:{n}::/64")];
        meshed(name, c * 10 + n, &[&slices[0], &slices[1]])
    };
    let mut a = cluster("a", 1, &["10.1.0.0/16", "fd00:1::/48"]);
    a.service_cidrs = vec![net("10.101.0.0/16")];
    let b = cluster("b", 2, &["10.2.0.0/16", "fd00:2::/48"]);
    let nodes = vec![node("a/1", 1, 1), node("a/2", 1, 2), node("b/1", 2, 1), node("b/2", 2, 2)];
    let mut world = world(vec![a, b], nodes, vec![], vec![]);
    world.peers.extend(peers.iter().map(|peer| (peer.name.clone(), peer.clone())));
    world
}

/// Where a node sends what is for a range: the first byte of a key.
fn towards(world: &World, node: &str, range: &str) -> Option<u8> {
    let mesh = plan(world, &node_name(node), &settings(), &Seen::default());
    let routed = mesh.routes.contains_key(&(net(range), TUNNEL_METRIC));
    let owner = mesh.tunnel.peers.iter().find(|(_, peer)| peer.allowed_ips.contains(&net(range)));
    assert_eq!(routed, owner.is_some(), "{node} {range}");
    owner.map(|(key, _)| key.0[0])
}

fn problems(world: &World) -> Vec<String> {
    plan(world, &node_name("a/1"), &settings(), &Seen::default())
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn one_gateway_and_everybody_through_it() {
    let laptop =
        Peer { gateways: named(&["gone", "2"]), ..peer("a/alice", 99, &["10.254.1.1/32", "fd99::1/128"]) };
    let world = with(&[laptop]);
    assert_eq!(problems(&world), Vec::<String>::new());
    for range in ["10.254.1.1/32", "fd99::1/128"] {
        for (node, key) in [("a/1", 12), ("a/2", 99), ("b/1", 12), ("b/2", 12)] {
            assert_eq!(towards(&world, node, range), Some(key), "{node}");
        }
    }
    let mesh = plan(&world, &node_name("b/1"), &settings(), &Seen::default());
    assert!(mesh.guarded.contains(&net("10.254.1.1/32")), "never in the clear");
    assert!(mesh.routes.contains_key(&(net("10.254.1.1/32"), LAST_RESORT_METRIC)), "nor by another way");
    assert!(mesh.masquerade.except.iter().any(|range| range.contains(&net("10.254.1.1/32"))));
}

#[test]
fn a_peer_behind_a_narrow_way_is_sent_what_its_gateway_gets() {
    let ranges = ["10.254.1.1/32", "fd99::1/128"];
    let world = with(&[Peer { gateways: named(&["2"]), ..peer("a/alice", 99, &ranges) }]);
    let seen =
        Seen { narrow: [(node_name("a/2"), 1340), (node_name("a/1"), 1300)].into(), ..Seen::default() };
    for (node, mtu) in [("b/1", Some(1340)), ("a/1", Some(1340)), ("a/2", None)] {
        let mesh = plan(&world, &node_name(node), &settings(), &seen);
        assert_eq!(ranges.map(|range| mesh.routes[&(net(range), TUNNEL_METRIC)].mtu), [mtu; 2], "{node}");
    }
    // Of several, the one by which it goes.
    let world = with(&[peer("a/office", 99, &["192.168.77.0/24"])]);
    let first = best_gateway(&world, &cluster_name("a"), "office").unwrap().name.clone();
    for (out, mtu) in
        [(vec![], seen.narrow[&first]), (vec![first.clone()], 1340 + 1300 - seen.narrow[&first])]
    {
        let seen = Seen { out: out.into_iter().collect(), ..seen.clone() };
        let mesh = plan(&world, &node_name("b/1"), &settings(), &seen);
        assert_eq!(mesh.routes[&(net("192.168.77.0/24"), TUNNEL_METRIC)].mtu, Some(mtu));
    }
}

#[test]
fn who_has_gateways_of_its_own_goes_through_them() {
    let mut world = with(&[Peer { gateways: named(&["2"]), ..peer("a/alice", 99, &["10.254.1.1/32"]) }]);
    for (n, name) in ["b/1", "b/2"].into_iter().enumerate() {
        let node = world.nodes.get_mut(&node_name(name)).unwrap();
        node.location = "hall".into();
        node.private_ips = vec![format!("172.16.7.{n}").parse().unwrap()];
        node.mesh.granularity = Granularity::Location;
        node.mesh.gateway = if n == 0 { Gateway::Wanted } else { Gateway::Neutral };
    }
    let key = |name| world.nodes[&node_name(name)].public_key.unwrap().0[0];
    assert_eq!(towards(&world, "b/1", "10.254.1.1/32"), Some(key("a/2")));
    assert_eq!(towards(&world, "b/2", "10.254.1.1/32"), Some(key("b/1")));
}

#[test]
fn all_nodes_have_the_tunnel_and_other_clusters_go_through_one() {
    let world = with(&[peer("a/office", 99, &["192.168.77.0/24"])]);
    assert_eq!(towards(&world, "a/1", "192.168.77.0/24"), Some(99));
    assert_eq!(towards(&world, "a/2", "192.168.77.0/24"), Some(99));
    let first = best_gateway(&world, &cluster_name("a"), "office").unwrap();
    let key = first.public_key.unwrap().0[0];
    assert_eq!(towards(&world, "b/1", "192.168.77.0/24"), Some(key));
    assert_eq!(towards(&world, "b/2", "192.168.77.0/24"), Some(key));
    let standings = standings(&world, &cluster_name("a"), 0, &mut Vec::new());
    assert_eq!(standings[0].gateways[0].name, first.name, "the same for both questions");
}

#[test]
fn nodes_without_a_public_address_go_through_those_with_one() {
    let mut world = with(&[peer("a/office", 99, &["192.168.77.0/24"])]);
    let node = world.nodes.get_mut(&node_name("a/2")).unwrap();
    node.private_ips = std::mem::take(&mut node.public_ips);
    assert_eq!(towards(&world, "a/1", "192.168.77.0/24"), Some(99));
    assert_eq!(towards(&world, "a/2", "192.168.77.0/24"), Some(11));
    world.nodes.values_mut().for_each(|node| node.public_ips.clear());
    assert_eq!(towards(&world, "a/2", "192.168.77.0/24"), Some(99), "none has: all are alike");
}

#[test]
fn what_is_refused() {
    let world = with(&[
        peer("a/a", 90, &["10.254.1.1/32", "10.254.1.1/32", "10.254.1.0/30"]),
        peer("a/b", 91, &["10.254.1.2/32", "10.254.9.9/32"]),
        peer("a/c", 90, &["10.254.2.1/32"]),
        peer("a/d", 12, &["10.254.2.2/32"]),
        peer("a/e", 92, &["10.1.5.5/32", "10.101.0.7/32", "198.18.0.0/24", "0.0.0.0/0"]),
        Peer { gateways: named(&["gone"]), ..peer("a/f", 93, &["10.254.3.1/32"]) },
        Peer { expires: Some(0), ..peer("a/g", 94, &["10.254.4.1/32"]) },
    ]);
    let found = problems(&world);
    let expected = [
        "peer a/b's range 10.254.1.2/32 overlaps peer a/a's and is left out: the first by name has it",
        "peer a/c has the WireGuard key of peer a/a",
        "peer a/d has the WireGuard key of node a/2",
        "peer a/e's range 0.0.0.0/0 overlaps addresses of pods of cluster a",
        "peer a/f has no gateway",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(towards(&world, "a/1", "10.254.1.0/30"), Some(90));
    assert_eq!(towards(&world, "a/1", "10.254.9.9/32"), Some(91), "the rest of a peer counts");
    for gone in ["10.254.2.1/32", "10.254.2.2/32", "10.254.3.1/32", "10.254.4.1/32"] {
        assert_eq!(towards(&world, "a/1", gone), None, "{gone}");
    }
    for (range, of) in [
        ("10.1.5.5/32", "pods of cluster a"),
        ("10.2.0.0/30", "pods of cluster b"),
        ("10.101.0.7/32", "services"),
        ("198.18.0.12/31", "node a/2"),
    ] {
        let found = problems(&with(&[peer("a/x", 99, &[range])]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("overlaps addresses of {of}")), "{found:?}");
    }
}

#[test]
fn the_own_clusters_peers_come_first() {
    let world = with(&[peer("a/z", 98, &["10.254.1.1/32"]), peer("b/a", 99, &["10.254.1.1/32"])]);
    assert_eq!(towards(&world, "a/1", "10.254.1.1/32"), Some(98));
    assert_eq!(towards(&world, "b/1", "10.254.1.1/32"), Some(99));
}

#[test]
fn endpoints() {
    let office = |host| Peer {
        endpoint: Some(PeerEndpoint { host, port: model::Port::new(51820).unwrap() }),
        keepalive: 25,
        ..peer("a/office", 99, &["192.168.77.0/24"])
    };
    let dial = |host, resolved: &[(&str, &str)]| {
        let resolved = resolved.iter().map(|(name, ip)| (name.to_string(), vec![ip.parse().unwrap()]));
        let seen = Seen { resolved: resolved.collect(), ..Seen::default() };
        let mesh = plan(&with(&[office(host)]), &node_name("a/1"), &settings(), &seen);
        let end = &mesh.tunnel.peers[&PublicKey([99; 32])];
        assert_eq!(end.keepalive, 25);
        (end.endpoint.map(|endpoint| endpoint.to_string()), mesh.problems.len())
    };
    let ip = |text: &str| PeerHost::Ip(text.parse().unwrap());
    let name = || PeerHost::dns("office.example").unwrap();
    assert_eq!(dial(ip("203.0.113.7"), &[]), (Some("203.0.113.7:51820".into()), 0));
    assert_eq!(dial(ip("2001:db8::7"), &[]), (Some("[2001:db8::7]:51820".into()), 0));
    assert_eq!(dial(ip("10.2.0.7"), &[]), (None, 1), "inside the mesh");
    assert_eq!(dial(ip("192.168.77.1"), &[]), (None, 1), "behind itself");
    assert_eq!(dial(name(), &[]), (None, 0), "not resolved: it harms nobody");
    assert_eq!(dial(name(), &[("office.example", "203.0.113.8")]), (Some("203.0.113.8:51820".into()), 0));
}

#[test]
fn who_may_leave_the_mesh() {
    let world = with(&[
        Peer { allow: Default::default(), ..peer("a/a", 90, &["10.254.1.1/32"]) },
        peer("a/b", 91, &["10.254.1.2/32"]),
        Peer {
            allow: ["0.0.0.0/0".parse().unwrap()].into(),
            gateways: named(&["2"]),
            ..peer("a/c", 92, &["10.254.1.3/32"])
        },
    ]);
    let leaving = |node| -> Vec<String> {
        let sources = plan(&world, &node_name(node), &settings(), &Seen::default()).masquerade.sources;
        sources.iter().map(ToString::to_string).filter(|range| range.starts_with("10.254")).collect()
    };
    assert_eq!(leaving("a/1"), ["10.254.1.1/32"]);
    assert_eq!(leaving("a/2"), ["10.254.1.1/32", "10.254.1.3/32"]);
    assert_eq!(leaving("b/1"), Vec::<String>::new());
}

#[test]
fn what_a_peer_configures() {
    let one = Peer { gateways: named(&["2"]), ..peer("a/alice", 99, &["10.254.1.1/32"]) };
    let world = with(&[one, peer("a/office", 98, &["192.168.77.0/24"])]);
    let all = standings(&world, &cluster_name("a"), 0, &mut Vec::new());
    let text = |ranges: &BTreeSet<IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let alice = remotes(&world, &all[0]);
    assert_eq!(alice.len(), 1);
    assert_eq!(alice[0].endpoint, "198.18.0.12:51820".parse().ok());
    assert_eq!(
        text(&alice[0].pods),
        ["10.1.0.0/16", "10.2.0.0/16", "192.168.77.0/24", "fd00:1::/48", "fd00:2::/48"]
    );
    assert_eq!(text(&alice[0].services), ["10.101.0.0/16"]);
    assert_eq!(alice[0].mesh_ips.len(), 2);
    let office = remotes(&world, &all[1]);
    assert_eq!(office.len(), 2);
    assert!(office[0].pods.len() > 4 && office[1].pods.len() == 2, "the first is in front of all the rest");
}

#[test]
fn a_node_that_goes_moves_its_own_peers_only() {
    let mut world = with(&[]);
    for n in 3..=9u8 {
        let slice = format!("10.1.{n}.0/24");
        let node = meshed(&format!("a/{n}"), 100 + n, &[&slice]);
        world.nodes.insert(node.name.clone(), node);
    }
    let chosen = |world: &World, n: u32| {
        best_gateway(world, &cluster_name("a"), &format!("p{n}")).unwrap().name.clone()
    };
    let before: Vec<NodeName> = (0..200).map(|n| chosen(&world, n)).collect();
    let used: BTreeSet<&NodeName> = before.iter().collect();
    assert_eq!(used.len(), 9, "all are used");
    world.nodes.remove(&node_name("a/5"));
    for (n, was) in (0..200).zip(&before) {
        let now = chosen(&world, n);
        assert!(now == *was || *was == node_name("a/5"), "{n}");
    }
}

#[test]
fn what_owners_are_told() {
    let mut gone = peer("a/gone", 41, &["10.254.1.21/32"]);
    gone.gateways = named(&["nowhere"]);
    let mut late = peer("a/late", 42, &["10.254.1.22/32"]);
    late.gateways = named(&["3"]);
    let mut inside = peer("a/inside", 23, &["10.254.1.23/32"]);
    let at = |ip: &str| PeerEndpoint {
        host: PeerHost::Ip(ip.parse().unwrap()),
        port: model::Port::new(7).unwrap(),
    };
    inside.endpoint = Some(at("10.2.1.7"));
    let mut expired = peer("a/first", 24, &["10.254.1.1/32"]);
    expired.expires = Some(7);
    let mut world = with(&[
        gone,
        late,
        inside,
        expired,
        peer("a/alice", 1, &["10.254.1.1/32"]),
        peer("a/bob", 2, &["10.254.1.1/32", "10.101.0.1/32"]),
        // The key of node a/2.
        peer("a/carol", 12, &["10.254.1.3/32"]),
        peer("a/dave", 2, &["10.254.1.4/32"]),
        // Other clusters are told by their own.
        peer("b/bob", 31, &["10.254.1.1/32"]),
    ]);
    // One that has not said its key yet.
    let mut silent = meshed("a/3", 13, &["10.1.3.0/24"]);
    silent.public_key = None;
    world.nodes.insert(silent.name.clone(), silent);
    let reasons = |now: i64| -> Vec<(String, Vec<&str>)> {
        let found = wrong(&world, &cluster_name("a"), now).into_iter();
        let of_peer = |problems: Vec<Problem>| problems.iter().filter_map(|p| Some(p.of_peer()?.1)).collect();
        found.map(|(name, problems)| (name.peer.to_string(), of_peer(problems))).collect()
    };
    let rest = [
        ("bob".to_string(), vec!["AddressNotForPeers", "AddressTaken"]),
        ("carol".to_string(), vec!["KeyTaken"]),
        ("dave".to_string(), vec!["KeyTaken"]),
        ("gone".to_string(), vec!["GatewayMissing"]),
        ("inside".to_string(), vec!["EndpointInsideMesh"]),
    ];
    assert_eq!(reasons(7), rest);
    // Before it expires, `first` comes behind alice by name.
    let before = reasons(6);
    assert_eq!(
        before.iter().filter(|one| !rest.contains(one)).collect::<Vec<_>>(),
        [&("first".into(), vec!["AddressTaken"])]
    );
}

#[test]
fn a_gateway_that_is_out_is_left_for_the_next() {
    let world = with(&[peer("a/alice", 31, &["10.254.1.1/32"])]);
    let order: Vec<NodeName> =
        gateways(&world, world.peers.values().next().unwrap()).iter().map(|node| node.name.clone()).collect();
    assert_eq!(order.len(), 2);
    let key = |node: &NodeName| world.nodes[node].public_key.unwrap();
    for (out, expected) in
        [(&[][..], &order[0]), (&order[..1], &order[1]), (&order[1..], &order[0]), (&order, &order[0])]
    {
        let seen = Seen { out: out.iter().cloned().collect(), ..Seen::default() };
        let mesh = plan(&world, &node_name("b/1"), &settings(), &seen);
        let owners: Vec<PublicKey> = mesh
            .tunnel
            .peers
            .iter()
            .filter(|(_, peer)| peer.allowed_ips.contains(&net("10.254.1.1/32")))
            .map(|(key, _)| *key)
            .collect();
        assert_eq!(owners, [key(expected)], "{out:?}");
    }
}
