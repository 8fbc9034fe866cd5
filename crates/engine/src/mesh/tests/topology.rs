//! Who has a tunnel to whom, and whether packets get where they are sent when everybody plans for itself.

use model::mesh::{Encapsulate, Encryption, Gateway, Granularity, Transport};

use super::*;
use crate::mesh::encapsulation::Unencrypted;
use crate::mesh::segment::{Relieved, Segment, segments};

/// A node of a location, with an address of either kind where it `is_public`; its slices and key follow from `n`.
fn placed(name: &str, location: &str, n: u8, is_public: bool) -> Node {
    let cluster = if name.starts_with("b/") { 2 } else { 1 };
    let mut node =
        meshed(name, n, &[&format!("10.{cluster}.{n}.0/24"), &format!("fd00:{cluster}:0:{n}::/64")]);
    node.location = location.into();
    node.private_ips = vec![IpAddr::from([172, 16, cluster, n])];
    if !is_public {
        node.public_ips.clear();
    }
    node
}

/// Three locations of three nodes in cluster `a`: in `l1` everybody is public, in `l2` one, in `l3` two; `a/40` has no
/// private address; and two nodes of cluster `b`.
fn scene(granularity: Granularity) -> World {
    let mut alone = placed("a/40", "", 40, true);
    (alone.private_ips, alone.location) = (vec![], "40".into());
    let mut nodes = vec![
        placed("a/11", "l1", 11, true),
        placed("a/12", "l1", 12, true),
        placed("a/13", "l1", 13, true),
        placed("a/21", "l2", 21, false),
        placed("a/22", "l2", 22, true),
        placed("a/23", "l2", 23, false),
        placed("a/31", "l3", 31, true),
        placed("a/32", "l3", 32, false),
        placed("a/33", "l3", 33, true),
        alone,
        placed("b/51", "l1", 51, true),
        placed("b/52", "l1", 52, true),
    ];
    for node in nodes.iter_mut().filter(|node| node.name.cluster.as_str() == "a") {
        node.mesh.granularity = granularity;
        if granularity == Granularity::Full {
            // Of two private nodes neither finds the other.
            let [n, ..] = node.public_key.unwrap().0;
            node.public_ips = vec![IpAddr::from([198, 18, 0, n])];
        }
    }
    let clusters = vec![
        cluster("a", 1, &["10.1.0.0/16", "fd00:1::/48"]),
        cluster("b", 2, &["10.2.0.0/16", "fd00:2::/48"]),
    ];
    world(clusters, nodes, vec![], vec![])
}

fn out(names: &[&str]) -> Seen {
    Seen { out: names.iter().map(|name| node_name(name)).collect(), ..Seen::default() }
}

/// Everybody's plan, if everybody has seen the same; nobody thinks of itself that it is out.
fn everybody(world: &World, seen: &Seen) -> BTreeMap<NodeName, Mesh> {
    let plan_of = |me: &NodeName| {
        let mut seen = seen.clone();
        seen.out.remove(me);
        (me.clone(), plan(world, me, &mesh_settings(), &seen))
    };
    world.nodes.keys().map(plan_of).collect()
}

/// Whom WireGuard has for an address: the peer with the longest range.
fn peer_for(mesh: &Mesh, ip: IpAddr) -> Option<PublicKey> {
    let of = |peer: &Peer| peer.allowed_ips.iter().filter(|r| r.contains(&ip)).map(|r| r.prefix_len()).max();
    let found = mesh.tunnel.peers.iter().filter_map(|(key, peer)| Some((of(peer)?, *key)));
    found.max().map(|(_, key)| key)
}

/// Whether a packet of that source is taken from the peer.
fn believes(mesh: &Mesh, source: IpAddr, from: PublicKey) -> bool {
    let peers = &mesh.tunnel.peers;
    let sender = &peers[&from];
    peer_for(mesh, source)
        .is_some_and(|owner| owner == from || sender.group != 0 && sender.group == peers[&owner].group)
        || sender.accepted_ips.iter().any(|range| range.contains(&source))
}

/// The neighbour that an address is behind: that of the longest range.
fn neighbour_for(mesh: &Mesh, ip: IpAddr) -> Option<&Neighbour> {
    let of_ip = mesh.neighbours.iter().filter(|(range, _)| range.contains(&ip));
    of_ip.max_by_key(|(range, _)| range.prefix_len()).map(|(_, neighbour)| neighbour)
}

/// Whether a packet of that source, not encrypted, is taken from a private address.
fn hears(mesh: &Mesh, source: IpAddr, from: IpAddr, by: Transport) -> bool {
    neighbour_for(mesh, source).is_some_and(|neighbour| {
        let other = neighbour_for(mesh, from).filter(|other| other.ip == from);
        let stands_in = other.is_some_and(|other| other.group != 0 && other.group == neighbour.group);
        // A bare packet does not say who sent it.
        neighbour.takes.contains(&by) && (by == Transport::Plain || neighbour.ip == from || stands_in)
    })
}

/// The way of a packet: sent to whoever has its destination, taken from whom its source belongs to, as WireGuard has it; or
/// as neighbours have it that do not encrypt.
fn way(
    world: &World,
    plans: &BTreeMap<NodeName, Mesh>,
    from: &Node,
    to: &Node,
    v4: bool,
) -> Result<String, String> {
    let ip = |node: &Node| node.mesh_ips().into_iter().find(|ip| ip.is_ipv4() == v4).unwrap();
    let (source, destination) = (ip(from), ip(to));
    let mut at = from;
    let mut way = from.name.node.clone();
    for _ in 0..4 {
        if at.name == to.name {
            return Ok(way);
        }
        let plan = &plans[&at.name];
        if let Some(&Neighbour { ip, sends, .. }) = neighbour_for(plan, destination)
            && sends != Transport::Wireguard
        {
            let next = world.nodes.values().find(|node| node.private_ips.contains(&ip)).unwrap();
            way = format!("{way} {}", next.name.node);
            if !hears(&plans[&next.name], source, at.private_ips[0], sends) {
                return Err(format!("{way}: not from there, by {}", sends.name()));
            }
            at = next;
            continue;
        }
        let routed =
            plan.routes.keys().any(|(to, metric)| to.contains(&destination) && *metric == TUNNEL_METRIC);
        let key = peer_for(plan, destination).filter(|_| routed).ok_or(format!("{way}: nowhere to go"))?;
        let next = world.nodes.values().find(|node| node.public_key == Some(key)).unwrap();
        way = format!("{way} {}", next.name.node);
        let theirs = &plans[&next.name];
        let back = theirs.tunnel.peers.get(&at.public_key.unwrap()).ok_or(format!("{way}: no such peer"))?;
        if back.endpoint.is_none() && plan.tunnel.peers[&key].endpoint.is_none() {
            return Err(format!("{way}: neither knows where the other is"));
        }
        if !believes(theirs, source, at.public_key.unwrap()) {
            return Err(format!("{way}: not from there"));
        }
        at = next;
    }
    Err(format!("{way}: round and round"))
}

/// How many nodes packets pass on the way from each to each: the most, and all together.
fn all_pairs(world: &World, seen: &Seen) -> (usize, usize) {
    let plans = everybody(world, seen);
    let well = || world.nodes.values().filter(|node| !seen.out.contains(&node.name));
    let mut hops = Vec::new();
    for (from, to) in
        well().flat_map(|from| well().map(move |to| (from, to))).filter(|(a, b)| a.name != b.name)
    {
        for v4 in [true, false] {
            let way = way(world, &plans, from, to, v4).unwrap_or_else(|error| panic!("{error}"));
            assert!(seen.out.iter().all(|out| !way.split(' ').any(|hop| hop == out.node)), "{way}");
            hops.push(way.split(' ').count() - 1);
        }
    }
    (hops.iter().copied().max().unwrap(), hops.iter().sum())
}

#[test]
fn everybody_reaches_everybody() {
    for (granularity, lost, longest) in [
        (Granularity::Full, &[][..], 1),
        (Granularity::Location, &[], 3),
        (Granularity::Cross, &[], 3),
        (Granularity::Location, &["a/11"], 3),
        (Granularity::Location, &["a/11", "a/33"], 3),
        (Granularity::Location, &["a/11", "a/12"], 3),
        (Granularity::Cross, &["a/31"], 3),
        (Granularity::Cross, &["a/13", "a/33"], 3),
    ] {
        let (most, _) = all_pairs(&scene(granularity), &out(lost));
        assert_eq!(most, longest, "{granularity:?} without {lost:?}");
    }
}

#[test]
fn locations_of_different_granularity() {
    let mut world = scene(Granularity::Location);
    for node in world.nodes.values_mut().filter(|node| node.location == "l3") {
        node.mesh.granularity = Granularity::Full;
    }
    // `a/32` is not public: between it and the private nodes of `l2` there is a gateway, and it finds everybody else.
    assert_eq!(all_pairs(&world, &Seen::default()).0, 3);
    for node in world.nodes.values_mut().filter(|node| node.location == "l2") {
        node.mesh.granularity = Granularity::Cross;
    }
    all_pairs(&world, &Seen::default());
    all_pairs(&world, &out(&["a/11"]));
}

/// The peers of a node, and whom each leads to.
fn peers(world: &World, me: &str, seen: &Seen) -> String {
    let mesh = plan(world, &node_name(me), &mesh_settings(), seen);
    let mut by_peer: BTreeMap<&NodeName, Vec<&str>> = BTreeMap::new();
    for (node, hop) in &mesh.via {
        by_peer.entry(hop).or_default().push(&node.node);
    }
    let line = |(peer, nodes): (&NodeName, Vec<&str>)| match nodes.as_slice() {
        [one] if *one == peer.node => peer.node.clone(),
        nodes => format!("{}({})", peer.node, nodes.join(" ")),
    };
    assert_eq!(by_peer.len(), mesh.tunnel.peers.len(), "{me}");
    by_peer.into_iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn routes() {
    let (full, location, cross) = (Granularity::Full, Granularity::Location, Granularity::Cross);
    // Gateways of `l1` are 11 and 12, of which 11 has 13 by its hash; of `l2` 22; of `l3` 31 and 33, of which 33 has 32.
    for (granularity, lost, me, expected) in [
        (full, &[][..], "a/11", "12 13 21 22 23 31 32 33 40 51 52"),
        (full, &[], "a/21", "11 12 13 22 23 31 32 33 40 51 52"),
        (full, &[], "a/40", "11 12 13 21 22 23 31 32 33 51 52"),
        (full, &["a/11"], "b/51", "11 12 13 21 22 23 31 32 33 40 52"),
        (location, &[], "a/11", "12 13 22(21 22 23) 31 33(32 33) 40 51 52"),
        (location, &[], "a/13", "11(11 21 22 23 31 32 33 40 51 52) 12"),
        (location, &[], "a/21", "22(11 12 13 22 31 32 33 40 51 52) 23"),
        (location, &[], "a/22", "11(11 13) 12 21 23 31 33(32 33) 40 51 52"),
        (location, &[], "a/40", "11(11 13) 12 22(21 22 23) 31 33(32 33) 51 52"),
        (location, &[], "b/51", "11(11 13) 12 22(21 22 23) 31 33(32 33) 40 52"),
        (location, &["a/33"], "a/11", "12 13 22(21 22 23) 31(31 32) 33 40 51 52"),
        (location, &["a/33"], "a/32", "31(11 12 13 21 22 23 31 40 51 52) 33"),
        (location, &["a/11", "a/12"], "a/13", "11 12 22(21 22 23) 31 33(32 33) 40 51 52"),
        (location, &["a/11", "a/12"], "a/40", "11 12 13 22(21 22 23) 31 33(32 33) 51 52"),
        (cross, &[], "a/13", "11 12 22(21 22 23) 31 33(32 33) 40 51 52"),
        (cross, &[], "a/23", "21 22(11 12 13 22 31 32 33 40 51 52)"),
    ] {
        assert_eq!(peers(&scene(granularity), me, &out(lost)), expected, "{granularity:?} {lost:?} {me}");
    }
}

#[test]
fn gateways() {
    const WANTED: Gateway = Gateway::Wanted;
    const NEUTRAL: Gateway = Gateway::Neutral;
    const UNWANTED: Gateway = Gateway::Unwanted;
    // (what, (wish, is public) of the nodes 1, 2, …; the active ones, then those that stand by)
    type Case = (&'static str, &'static [(Gateway, bool)], &'static str);
    let cases: &[Case] = &[
        ("one node", &[(NEUTRAL, false)], "1 |"),
        (
            "nobody is wanted or public: the first by name",
            &[(NEUTRAL, false), (NEUTRAL, false), (NEUTRAL, false)],
            "1 2 | 3",
        ),
        ("who is public goes first", &[(NEUTRAL, false), (NEUTRAL, true), (NEUTRAL, false)], "2 | 1 3"),
        ("two of many", &[(NEUTRAL, true), (NEUTRAL, true), (NEUTRAL, true)], "1 2 | 3"),
        ("who is wanted goes before who is public", &[(NEUTRAL, true), (WANTED, false)], "2 | 1"),
        ("wanted and public goes first", &[(WANTED, false), (WANTED, true), (NEUTRAL, true)], "2 | 1 3"),
        (
            "all that are wanted",
            &[(WANTED, true), (WANTED, true), (WANTED, true), (NEUTRAL, true)],
            "1 2 3 | 4",
        ),
        ("who is not wanted is the last", &[(UNWANTED, true), (NEUTRAL, false)], "2 | 1"),
        ("if there is nobody else", &[(UNWANTED, false), (UNWANTED, true)], "2 | 1"),
    ];
    for (what, nodes, expected) in cases {
        let node = |(n, (gateway, is_public)): (usize, &(Gateway, bool))| {
            let n = u8::try_from(n + 1).unwrap();
            let mut node = placed(&format!("a/{n}"), "l", n, *is_public);
            (node.mesh.granularity, node.mesh.gateway) = (Granularity::Location, *gateway);
            node
        };
        let world = world(vec![], nodes.iter().enumerate().map(node).collect(), vec![], vec![]);
        let segments = segments(&world, |_| true, &Standings::new());
        let segment = segments.values().next().unwrap();
        let names = |nodes: &[&Node]| nodes.iter().map(|n| n.name.node.clone()).collect::<Vec<_>>().join(" ");
        let found = format!("{} | {}", names(&segment.active), names(&segment.standby));
        assert_eq!(found.trim_end(), *expected, "{what}");
    }
}

#[test]
fn what_is_public() {
    let mut node = placed("a/1", "l", 1, true);
    for (ip, expected) in [
        ("198.18.0.1", true),
        ("10.1.2.3", false),
        ("192.168.1.1", false),
        ("169.254.1.1", false),
        ("100.64.0.1", false), // not Kilo's defect: carriers' NAT is nobody's public address
        ("100.128.0.1", true),
        ("2001:db8::1", true),
        ("fd00::1", false),
        ("fdab:1::1", false), // not Kilo's defect: all of fc00::/7
        ("fe80::1", false),
    ] {
        node.public_ips = vec![ip.parse().unwrap()];
        assert_eq!(segment::is_public(&node), expected, "{ip}");
    }
    node.mesh.endpoint = Some("gw.example.net:51820".parse().unwrap());
    assert!(segment::is_public(&node));
    node.mesh.endpoint = Some("192.168.1.1:51820".parse().unwrap());
    assert!(!segment::is_public(&node));
}

/// A location of many nodes, of which four are wanted as gateways.
fn crowd() -> (World, Vec<NodeName>) {
    let node = |n: u8| {
        let mut node = placed(&format!("a/{n}"), "l", n, n <= 4);
        node.mesh.granularity = Granularity::Location;
        node.mesh.gateway = if n <= 4 { Gateway::Wanted } else { Gateway::Neutral };
        node
    };
    let nodes: Vec<Node> = (1..=204).map(node).collect();
    let members = nodes.iter().skip(4).map(|node| node.name.clone()).collect();
    (world(vec![], nodes, vec![], vec![]), members)
}

#[test]
fn a_lost_gateway_moves_its_own_nodes_only() {
    let (world, members) = crowd();
    let segments = segments(&world, |_| true, &Standings::new());
    let segment: &Segment = segments.values().next().unwrap();
    let carriers = |lost: &[&str]| -> Vec<&str> {
        let seen = out(lost);
        members
            .iter()
            .map(|name| &*segment.carrier(&world.nodes[name], &seen.out, &Relieved::new()).name.node)
            .collect()
    };
    let before = carriers(&[]);
    for gateway in ["1", "2", "3", "4"] {
        let share = before.iter().filter(|carrier| **carrier == gateway).count();
        assert!((25..=75).contains(&share), "{gateway} has {share} of 200");
        let after = carriers(&[&format!("a/{gateway}")]);
        for (before, after) in before.iter().zip(after) {
            assert!(*before == gateway || *before == after, "{before} {after}");
            assert_ne!(after, gateway);
        }
    }
    assert!(carriers(&["a/1", "a/2", "a/3", "a/4"]).iter().zip(&before).all(|(now, _)| *now == "10"));
    // Nobody at all is well: nothing moves.
    let everybody: BTreeSet<NodeName> = world.nodes.keys().cloned().collect();
    let carrier =
        |name: &NodeName| segment.carrier(&world.nodes[name], &everybody, &Relieved::new()).name.node.clone();
    assert_eq!(members.iter().map(carrier).collect::<Vec<_>>(), before);
}

#[test]
fn endpoints_that_somebody_chose() {
    let mut world = scene(Granularity::Location);
    let force = |world: &mut World, name: &str, endpoint: &str| {
        world.nodes.get_mut(&node_name(name)).unwrap().mesh.endpoint = Some(endpoint.parse().unwrap());
    };
    force(&mut world, "a/22", "gw.example.net:1234");
    force(&mut world, "a/31", "nowhere.example.net:1234");
    force(&mut world, "a/33", "198.51.100.33:33");
    let resolved = [(
        "gw.example.net".to_string(),
        vec!["2001:db8::22".parse().unwrap(), "203.0.113.22".parse().unwrap()],
    )];
    let seen = Seen { resolved: resolved.into(), ..Seen::default() };
    let endpoint = |me: &str, peer: &str| {
        let mesh = plan(&world, &node_name(me), &mesh_settings(), &seen);
        let key = world.nodes[&node_name(peer)].public_key.unwrap();
        mesh.tunnel.peers[&key].endpoint.map(|endpoint| endpoint.to_string())
    };
    assert_eq!(endpoint("a/11", "a/22").as_deref(), Some("203.0.113.22:1234"), "a family that I speak");
    assert_eq!(endpoint("a/11", "a/33").as_deref(), Some("198.51.100.33:33"));
    assert_eq!(endpoint("a/32", "a/33").as_deref(), Some("172.16.1.33:51820"), "neighbours go by themselves");
    // Not Kilo's defect: a name that leads nowhere is its node's trouble alone.
    assert_eq!(endpoint("a/11", "a/31"), None);
    assert_eq!(endpoint("a/11", "a/12").as_deref(), Some("172.16.1.12:51820"));
    assert_eq!(endpoint("a/11", "b/51").as_deref(), Some("198.18.0.51:51820"));
}

#[test]
fn a_keepalive_that_somebody_chose() {
    let mut world = scene(Granularity::Full);
    for (chosen, expected) in [(None, 0), (Some(0), 0), (Some(10), 10)] {
        world.nodes.get_mut(&node_name("a/11")).unwrap().mesh.keepalive = chosen;
        let mesh = plan_of_node(&world, "a/11");
        assert!(mesh.tunnel.peers.values().all(|peer| peer.keepalive == expected), "{chosen:?}");
        assert!(plan_of_node(&world, "a/12").tunnel.peers.values().all(|peer| peer.keepalive == 0));
    }
}

fn plan_of_node(world: &World, me: &str) -> Mesh {
    plan(world, &node_name(me), &mesh_settings(), &Seen::default())
}

/// What locations are inside: encrypted, or not. Bare packets are taken from everybody.
const INSIDE: [Option<Encapsulate>; 2] = [None, Some(Encapsulate::Always)];

/// Has neighbours send each other what they say unencrypted, in one of its ways.
fn encapsulate(world: &mut World, inside: Option<Encapsulate>) {
    for node in world.nodes.values_mut().filter(|_| inside.is_some()) {
        node.mesh.encryption = Encryption::Mesh;
        node.mesh.encapsulate = inside.unwrap_or_default();
        node.mesh.takes = able().able;
    }
}

/// What kernels are ready for.
fn able() -> Unencrypted {
    Unencrypted { able: [Transport::Vxlan, Transport::Plain].into(), ..Unencrypted::default() }
}

/// Everybody's plan in each phase of a change of a gateway: before anybody knows of it, in each step, and when it is over.
fn phases(before: &World, after: &World, name: &NodeName, lost: &[&str]) -> Vec<BTreeMap<NodeName, Mesh>> {
    let was = Standing { gateway: before.nodes[name].mesh.gateway, is_out: false };
    let steps = [Step::Prepare, Step::Gain, Step::Move, Step::Leave];
    let out = |names| Seen { unencrypted: able(), ..out(names) };
    let changing = |step| Seen {
        changing: Changing { was: [(name.clone(), was)].into(), step, ..Changing::default() },
        ..out(lost)
    };
    let during = steps.map(|step| everybody(after, &changing(step)));
    let [first, last] = [before, after].map(|world| everybody(world, &out(lost)));
    std::iter::once(first).chain(during).chain([last]).collect()
}

#[test]
fn no_packet_is_lost_while_gateways_change() {
    let cases = [
        (Granularity::Location, "a/11", Gateway::Unwanted, &[][..]),
        (Granularity::Location, "a/22", Gateway::Unwanted, &[]),
        (Granularity::Location, "a/13", Gateway::Wanted, &[]),
        (Granularity::Location, "a/32", Gateway::Wanted, &[]),
        // One that is no gateway goes over from one to the other.
        (Granularity::Location, "a/31", Gateway::Unwanted, &[]),
        (Granularity::Location, "a/33", Gateway::Unwanted, &[]),
        (Granularity::Cross, "a/31", Gateway::Unwanted, &[]),
        // One fails meanwhile: the one that is changing, or the one that takes over.
        (Granularity::Location, "a/11", Gateway::Unwanted, &["a/11"]),
        (Granularity::Location, "a/11", Gateway::Unwanted, &["a/12"]),
        (Granularity::Location, "a/13", Gateway::Wanted, &["a/13"]),
    ];
    for ((granularity, changed, to, lost), inside) in
        cases.into_iter().flat_map(|case| INSIDE.map(|inside| (case, inside)))
    {
        let mut before = scene(granularity);
        before.nodes.values_mut().for_each(|node| node.mesh.knows_groups = true);
        encapsulate(&mut before, inside);
        let mut after = before.clone();
        let name = node_name(changed);
        after.nodes.get_mut(&name).unwrap().mesh.gateway = to;
        let [there, back] = [[&before, &after], [&after, &before]].map(|[a, b]| phases(a, b, &name, lost));
        let mut pairs: Vec<_> = [&there, &back].iter().flat_map(|all| all.windows(2)).collect();
        // It is taken back as soon as that may be.
        let again = [there[4].clone(), back[1].clone()];
        pairs.push(&again);
        let well = after.nodes.values().filter(|node| !lost.contains(&&*node.name.to_string()));
        let nodes: Vec<&Node> = well.collect();
        // Of two phases that follow each other: nobody, each alone, and all but each are further than the rest.
        let alone = || (0..nodes.len()).flat_map(|n| [1u64 << n, !(1 << n)]);
        let skewed = |pair| std::iter::once(0).chain(alone()).map(move |set| (pair, set));
        for (pair, set) in (0..pairs.len()).flat_map(skewed) {
            let plan_of = |(n, node): (usize, &&Node)| {
                let phase = usize::from(set >> n & 1 == 1);
                (node.name.clone(), pairs[pair][phase][&node.name].clone())
            };
            let plans = nodes.iter().enumerate().map(plan_of).collect();
            for (from, to) in nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to))) {
                if let Err(error) = way(&after, &plans, from, to, true) {
                    panic!("{granularity:?} {inside:?}, {changed} without {lost:?}, {pair} {set:x}: {error}");
                }
            }
        }
    }
}

#[test]
fn whoever_relieves_a_gateway_need_not_ask() {
    let gateways = ["a/11", "a/12", "a/22", "a/31", "a/33", "b/51"].map(node_name);
    let shares = [None, Some(Share::Half), Some(Share::All)];
    let granularities = [Granularity::Location, Granularity::Cross];
    for (granularity, inside) in granularities.into_iter().flat_map(|one| INSIDE.map(|inside| (one, inside)))
    {
        let mut world = scene(granularity);
        world.nodes.values_mut().for_each(|node| node.mesh.knows_groups = true);
        encapsulate(&mut world, inside);
        let mut moved = 0;
        for round in 0..30_u64 {
            // Each thinks of each gateway what it likes, by some number.
            let relieved = |me: usize| {
                let of = |(n, name): (usize, &NodeName)| {
                    let draw =
                        (round * 31 + me as u64 * 7 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                    Some((name.clone(), shares[draw as usize % 3]?))
                };
                gateways.iter().enumerate().filter_map(of).collect()
            };
            let plan_of = |(n, me): (usize, &NodeName)| {
                let seen = Seen { relieved: relieved(n), unencrypted: able(), ..Seen::default() };
                (me.clone(), plan(&world, me, &mesh_settings(), &seen))
            };
            let plans: BTreeMap<_, _> = world.nodes.keys().enumerate().map(plan_of).collect();
            moved += plans
                .iter()
                .filter(|(me, mesh)| mesh.via != plan(&world, me, &mesh_settings(), &Seen::default()).via)
                .count();
            for (from, to) in world.nodes.values().flat_map(|a| world.nodes.values().map(move |b| (a, b))) {
                way(&world, &plans, from, to, round.is_multiple_of(2))
                    .unwrap_or_else(|error| panic!("{granularity:?} {inside:?}: {error}"));
            }
        }
        assert!(moved > 30, "{moved}");
        let seen = Seen { relieved: [(gateways[0].clone(), Share::All)].into(), ..Seen::default() };
        // Where one node does not know groups nobody chooses for itself.
        world.nodes.get_mut(&node_name("b/52")).unwrap().mesh.knows_groups = false;
        for me in world.nodes.keys() {
            let plan = |seen: &Seen| plan(&world, me, &mesh_settings(), seen);
            assert_eq!(plan(&seen), plan(&Seen::default()), "{me}");
        }
    }
}

#[test]
fn half_of_the_members_leave_one_that_is_relieved_of_half() {
    let (world, members) = crowd();
    let segments = segments(&world, |_| true, &Standings::new());
    let segment: &Segment = segments.values().next().unwrap();
    let nobody = BTreeSet::new();
    let carriers = |relieved: &[(&str, Share)]| -> Vec<&str> {
        let relieved = relieved.iter().map(|(name, share)| (node_name(name), *share)).collect();
        let carrier = |name| &*segment.carrier(&world.nodes[name], &nobody, &relieved).name.node;
        members.iter().map(carrier).collect()
    };
    let count = |carriers: &[&str]| carriers.iter().filter(|carrier| **carrier == "2").count();
    let [before, half, all] =
        [carriers(&[]), carriers(&[("a/2", Share::Half)]), carriers(&[("a/2", Share::All)])];
    let share = count(&half) as f64 / count(&before) as f64;
    assert!((0.3..0.7).contains(&share) && count(&all) == 0, "{share}");
    for ((before, half), all) in before.iter().zip(&half).zip(&all) {
        assert!(*before == "2" || before == half && before == all, "only its own move");
        assert!(half == before || half == all, "and once");
    }
    let everybody = ["a/1", "a/2", "a/3", "a/4"].map(|name| (name, Share::All));
    assert_eq!(carriers(&everybody), before, "where all are bad nothing moves");
}
