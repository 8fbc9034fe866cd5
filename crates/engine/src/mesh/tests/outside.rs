//! Ranges beside the mesh.

use model::mesh::Granularity;

use super::*;

/// Three locations of cluster `a` with a gateway and another node each (`a/10` and `a/11`, `a/20` …), and `b/50`.
fn scene() -> World {
    let node = |name: &str, n: u8| {
        let cluster = if name.starts_with("b/") { 2 } else { 1 };
        let mut node = meshed(name, n, &[&format!("10.{cluster}.{n}.0/24")]);
        node.location = format!("l{}", n / 10);
        node.private_ips = vec![IpAddr::from([172, 16, n / 10, n])];
        node.mesh.granularity = Granularity::Location;
        if !n.is_multiple_of(10) {
            node.public_ips.clear();
        }
        node
    };
    let nodes = ["a/10", "a/11", "a/20", "a/21", "a/30", "a/31", "b/50"];
    let nodes = nodes.map(|name| node(name, name[2..].parse().unwrap())).into();
    let clusters = vec![cluster("a", 1, &["10.1.0.0/16"]), cluster("b", 2, &["10.2.0.0/16"])];
    world(clusters, nodes, vec![], vec![])
}

fn put(world: &mut World, name: &str, ranges: &[&str]) {
    let node = world.nodes.get_mut(&node_name(name)).unwrap();
    node.mesh.allowed_location_ips = ranges.iter().copied().map(net).collect();
}

/// Which peer a range leads to, and whether there is a route.
fn leads(world: &World, me: &str, range: &str) -> Option<String> {
    let mesh = plan(world, &node_name(me), &mesh_settings(), &Seen::default());
    let (key, _) = mesh.tunnel.peers.iter().find(|(_, peer)| peer.allowed_ips.contains(&net(range)))?;
    assert!(mesh.routes.contains_key(&(net(range), TUNNEL_METRIC)));
    Some(world.nodes.values().find(|node| node.public_key == Some(*key)).unwrap().name.to_string())
}

#[test]
fn others_reach_them_by_gateways_to_the_node() {
    let mut world = scene();
    put(&mut world, "a/21", &["192.0.2.0/24"]);
    for (me, expected) in [
        ("a/10", Some("a/20")),
        ("a/11", Some("a/10")),
        ("a/20", Some("a/21")),
        ("a/21", None),
        ("a/31", Some("a/30")),
        ("b/50", None), // another cluster's traffic is led nowhere
    ] {
        assert_eq!(leads(&world, me, "192.0.2.0/24").as_deref(), expected, "{me}");
    }
    put(&mut world, "a/21", &[]);
    assert_eq!(leads(&world, "a/10", "192.0.2.0/24"), None);
    put(&mut world, "b/50", &["192.0.2.0/24"]);
    assert_eq!(leads(&world, "a/10", "192.0.2.0/24"), None);
    assert_eq!(leads(&world, "b/50", "192.0.2.0/24"), None);
}

#[test]
fn who_delivers_shows_its_own_address() {
    let mut world = scene();
    put(&mut world, "a/21", &["192.0.2.0/24", "172.16.2.0/24"]);
    let all = Settings { masquerade: Some(vec![]), ..mesh_settings() };
    let sources = |world: &World, me: &str| {
        let mesh = plan(world, &node_name(me), &all, &Seen::default());
        mesh.masquerade.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sources(&world, "a/21"), "10.1.0.0/16 10.2.0.0/16");
    assert_eq!(sources(&world, "a/20"), "10.1.0.0/16 10.2.0.0/16", "it stands on 172.16.2.0/24 itself");
    assert_eq!(sources(&world, "a/10"), "10.1.10.0/24");
    put(&mut world, "a/21", &["192.0.2.0/24"]);
    assert_eq!(sources(&world, "a/20"), "10.1.20.0/24");
}

#[test]
fn ranges_that_are_not_granted() {
    type Case = (
        &'static str,
        &'static [(&'static str, &'static [&'static str])],
        &'static str,
        &'static [(&'static str, &'static str)],
    );
    // (what, who claims what; what is said; what leads where from a/10)
    let cases: &[Case] = &[
        (
            "of two locations the last by name keeps a range",
            &[("a/21", &["192.0.2.0/24"]), ("a/31", &["192.0.2.128/25"])],
            "node a/21's allowed-location-ips 192.0.2.0/24 overlaps node a/31's",
            &[("192.0.2.128/25", "a/30")],
        ),
        (
            "of two nodes of a location the first",
            &[("a/20", &["192.0.2.0/24"]), ("a/21", &["192.0.2.0/24"])],
            "node a/21's allowed-location-ips 192.0.2.0/24 overlaps node a/20's",
            &[("192.0.2.0/24", "a/20")],
        ),
        (
            "one that begins before the pods' counts around them",
            &[("a/21", &["10.1.0.0/12", "192.0.2.0/24"])],
            "",
            &[("10.0.0.0/12", "a/20"), ("192.0.2.0/24", "a/20")],
        ),
        (
            "one that is the pods'",
            &[("a/21", &["10.1.0.0/15", "10.1.21.0/24", "192.0.2.0/24"])],
            "node a/21's allowed-location-ips 10.1.21.0/24 begins inside cluster a's pod ranges",
            &[("10.0.0.0/15", "a/20"), ("192.0.2.0/24", "a/20")],
        ),
        (
            "one that a tunnel leads through",
            &[("a/21", &["198.18.0.0/15", "192.0.2.0/24"])],
            "node a/21's allowed-location-ips 198.18.0.0/15 contains 198.18.0.20",
            &[("192.0.2.0/24", "a/20")],
        ),
        (
            "everything",
            &[("a/21", &["0.0.0.0/0"])],
            "node a/21's allowed-location-ips 0.0.0.0/0 contains",
            &[],
        ),
    ];
    for (what, claims, words, granted) in cases {
        let mut world = scene();
        claims.iter().for_each(|(name, ranges)| put(&mut world, name, ranges));
        let mesh = plan(&world, &node_name("a/10"), &mesh_settings(), &Seen::default());
        let said: Vec<String> = mesh.problems.iter().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|said| said.contains(words)) || words.is_empty() && said.is_empty(),
            "{what}: {said:?}"
        );
        let pods =
            |range: &&IpNet| ["10.1.0.0/16", "10.2.0.0/16"].iter().any(|pods| net(pods).contains(*range));
        let ranges =
            mesh.tunnel.peers.values().flat_map(|peer| &peer.allowed_ips).filter(|range| !pods(range));
        assert_eq!(ranges.count(), granted.len(), "{what}");
        for (range, hop) in *granted {
            assert_eq!(leads(&world, "a/10", range).as_deref(), Some(*hop), "{what}");
        }
    }
}
