//! Who is sent what, and how; and what is believed.

use model::NodeMesh;
use model::mesh::Granularity;

use super::*;
use crate::mesh::plan;
use crate::testing::{cluster, mesh_settings, meshed, node_name, world};

use Encapsulate::{Always, CrossSubnet, Never};
use Transport::{Plain, Vxlan, Wireguard};

const EVERYTHING: [Transport; 2] = [Vxlan, Plain];

/// A node of a location; it takes everything.
fn placed(name: &str, location: &str, n: u8, private: &[&str]) -> Node {
    let mut node = meshed(name, n, &[&format!("10.1.{n}.0/24"), &format!("fd00:1:0:{n}::/64")]);
    node.location = location.into();
    node.private_ips = private.iter().map(|ip| ip.parse().unwrap()).collect();
    node.mesh = NodeMesh {
        granularity: Granularity::Location,
        encryption: Encryption::Mesh,
        takes: EVERYTHING.into(),
        ..NodeMesh::default()
    };
    node
}

/// `l1`: a/1 (the gateway), a/2 beside it and a/3 in another subnet; `l2`: a/4.
fn nodes(encapsulate: Encapsulate) -> Vec<Node> {
    let mut nodes = vec![
        placed("a/1", "l1", 1, &["172.16.1.1"]),
        placed("a/2", "l1", 2, &["172.16.1.2"]),
        placed("a/3", "l1", 3, &["172.16.2.3"]),
        placed("a/4", "l2", 4, &["172.16.3.4"]),
    ];
    nodes[0].mesh.gateway = model::mesh::Gateway::Wanted;
    for node in &mut nodes {
        node.mesh.encapsulate = encapsulate;
    }
    nodes
}

fn seen() -> Seen {
    let unencrypted = Unencrypted {
        able: EVERYTHING.into(),
        lingering: BTreeSet::new(),
        on_link: ["172.16.1.0/24".parse().unwrap()].into(),
    };
    Seen { unencrypted, ..Seen::default() }
}

fn plan_of(nodes: Vec<Node>, me: &str, seen: &Seen) -> Mesh {
    let cluster = cluster("a", 1, &["10.1.0.0/16", "fd00:1::/48"]);
    plan(&world(vec![cluster], nodes, vec![], vec![]), &node_name(me), &mesh_settings(), seen)
}

/// Where packets to the slices of nodes 1 to 4 go, and how.
fn ways(mesh: &Mesh) -> Vec<String> {
    let to = |range: String| match mesh.neighbours.get(&range.parse().unwrap()) {
        None => "-".to_string(),
        Some(neighbour) => format!("{} {}", neighbour.sends.name(), neighbour.ip),
    };
    (1..=4)
        .map(|n| {
            let [v4, v6] = [to(format!("10.1.{n}.0/24")), to(format!("fd00:1:0:{n}::/64"))];
            assert_eq!(v4, v6, "both families go one way");
            v4
        })
        .collect()
}

#[test]
fn each_setting_has_its_ways() {
    let (v1, v3) = ("vxlan 172.16.1.1", "vxlan 172.16.2.3");
    let (p1, p2, p3) = ("plain 172.16.1.1", "plain 172.16.1.2", "plain 172.16.2.3");
    for (encapsulate, me, expected) in [
        // Its own location's gateway carries what is for others; nothing of it is encrypted here.
        (Always, "a/2", [v1, "-", v3, v1]),
        (CrossSubnet, "a/2", [p1, "-", v3, p1]),
        (Never, "a/2", [p1, "-", p3, p1]),
        // The gateway encrypts what leaves the location.
        (Always, "a/1", ["-", "vxlan 172.16.1.2", v3, "-"]),
        (CrossSubnet, "a/1", ["-", p2, v3, "-"]),
        (Never, "a/1", ["-", p2, p3, "-"]),
        // Alone in its location.
        (Always, "a/4", ["-", "-", "-", "-"]),
    ] {
        let mesh = plan_of(nodes(encapsulate), me, &seen());
        assert_eq!(ways(&mesh), expected, "{me} {encapsulate:?}");
        assert!(mesh.problems.is_empty(), "{:?}", mesh.problems);
        let wanted = match encapsulate {
            Always => [Vxlan].into(),
            CrossSubnet => EVERYTHING.into(),
            Never => BTreeSet::from([Plain]),
        };
        assert!(mesh.neighbours.values().all(|neighbour| neighbour.takes == wanted), "{me} {encapsulate:?}");
    }
}

/// Which gateway sends what is for others is not the receiver's to choose.
#[test]
fn gateways_are_believed_for_each_other() {
    let mut nodes = nodes(Always);
    nodes[2].mesh.gateway = model::mesh::Gateway::Wanted;
    let mesh = plan_of(nodes.clone(), "a/2", &seen());
    let at = |range: &str| mesh.neighbours[&range.parse().unwrap()].clone();
    let [own, others] = [at("10.1.1.0/24"), at("10.1.4.0/24")];
    assert!(own.group != 0 && own.group == others.group);
    for ip in ["172.16.1.1", "172.16.2.3"] {
        let ip: IpAddr = ip.parse().unwrap();
        let himself = Neighbour { ip, sends: Wireguard, takes: BTreeSet::new(), group: own.group };
        assert_eq!(mesh.neighbours[&IpNet::from(ip)], himself);
    }
    // A gateway knows members by themselves.
    let mesh = plan_of(nodes, "a/1", &seen());
    assert!(mesh.neighbours.values().all(|neighbour| neighbour.group == 0), "{:?}", mesh.neighbours);
}

#[test]
fn tunnels_stay_whatever_is_sent() {
    for me in ["a/1", "a/2", "a/4"] {
        let encrypted = |nodes: Vec<Node>| {
            let mut nodes = nodes;
            nodes.iter_mut().for_each(|node| node.mesh.encryption = Encryption::All);
            nodes
        };
        let unencrypted = plan_of(nodes(Always), me, &seen());
        let all = plan_of(encrypted(nodes(Always)), me, &seen());
        assert!(all.neighbours.is_empty() && all.problems.is_empty());
        assert_eq!(Mesh { neighbours: BTreeMap::new(), ..unencrypted }, all);
    }
}

#[test]
fn nobody_sends_what_is_not_taken() {
    let check = |what: &str, change: &dyn Fn(&mut Vec<Node>, &mut Seen), expected: [&str; 4]| {
        let (mut nodes, mut seen) = (nodes(Always), seen());
        change(&mut nodes, &mut seen);
        assert_eq!(ways(&plan_of(nodes, "a/2", &seen)), expected, "{what}");
    };
    let (v1, v3, w1) = ("vxlan 172.16.1.1", "vxlan 172.16.2.3", "wireguard 172.16.1.1");
    check("the gateway says nothing", &|nodes, _| nodes[0].mesh.takes.clear(), [w1, "-", v3, w1]);
    check("it takes another way only", &|nodes, _| nodes[0].mesh.takes = [Plain].into(), [w1, "-", v3, w1]);
    let all = |nodes: &mut Vec<Node>, _: &mut Seen| nodes[0].mesh.encryption = Encryption::All;
    check("it encrypts", &all, [w1, "-", v3, w1]);
    check("this kernel cannot", &|_, seen| seen.unencrypted.able.clear(), ["-"; 4]);
    check("its key is not known", &|nodes, _| nodes[2].public_key = None, [v1, "-", "-", v1]);
    let elsewhere = |nodes: &mut Vec<Node>, _: &mut Seen| nodes[2].location = "l3".into();
    check("it stands elsewhere", &elsewhere, [v1, "-", v1, v1]);
    let nowhere = |nodes: &mut Vec<Node>, _: &mut Seen| nodes[1].private_ips.clear();
    check("this node stands alone", &nowhere, ["-"; 4]);
    let v6 = |nodes: &mut Vec<Node>, _: &mut Seen| {
        for (node, ip) in nodes.iter_mut().zip(["fd10::1", "fd10::2", "fd10::3"]) {
            node.private_ips = vec![ip.parse().unwrap()];
        }
    };
    check("IPv6 below", &v6, ["vxlan fd10::1", "-", "vxlan fd10::3", "vxlan fd10::1"]);
}

#[test]
fn who_has_no_family_in_common_is_no_neighbour() {
    let mut nodes = nodes(Always);
    nodes[2].private_ips = vec!["fd10::3".parse().unwrap()];
    assert_eq!(ways(&plan_of(nodes, "a/2", &seen())), ["vxlan 172.16.1.1", "-", "-", "vxlan 172.16.1.1"]);
}

#[test]
fn what_was_taken_is_taken_a_little_longer() {
    let mut nodes = nodes(Always);
    nodes.iter_mut().for_each(|node| node.mesh.encryption = Encryption::All);
    let mut seen = seen();
    seen.unencrypted.lingering = [Vxlan].into();
    let mesh = plan_of(nodes, "a/2", &seen);
    assert_eq!(ways(&mesh), ["wireguard 172.16.1.1", "-", "wireguard 172.16.2.3", "wireguard 172.16.1.1"]);
    assert!(mesh.neighbours.values().all(|neighbour| neighbour.takes == [Vxlan].into()));
}

#[test]
fn each_location_for_itself() {
    let mut nodes = nodes(Always);
    nodes.push(placed("a/5", "l2", 5, &["172.16.3.5"]));
    for node in nodes.iter_mut().filter(|node| node.location == "l2") {
        node.mesh.encryption = Encryption::All;
    }
    assert!(plan_of(nodes.clone(), "a/5", &seen()).neighbours.is_empty());
    assert_eq!(ways(&plan_of(nodes, "a/2", &seen()))[0], "vxlan 172.16.1.1");
}

#[test]
fn with_a_tunnel_to_everybody_neighbours_alone_are_sent_it() {
    let mut nodes = nodes(Always);
    nodes.iter_mut().for_each(|node| node.mesh.granularity = Granularity::Full);
    let mesh = plan_of(nodes, "a/2", &seen());
    assert_eq!(ways(&mesh), ["vxlan 172.16.1.1", "-", "vxlan 172.16.2.3", "-"]);
}

/// A gateway delivers a range beside the mesh by a neighbour, and pods of another location are inside it.
#[test]
fn a_wide_range_leads_nothing_of_others_astray() {
    let mut nodes = nodes(Always);
    nodes[2].mesh.allowed_location_ips = vec!["10.0.0.0/8".parse().unwrap()];
    let mesh = plan_of(nodes, "a/1", &seen());
    let sends = |range: &str| mesh.neighbours.get(&range.parse().unwrap()).map(|n| (n.sends, n.takes.len()));
    assert_eq!(sends("10.0.0.0/8"), Some((Vxlan, 1)));
    assert_eq!(sends("10.1.3.0/24"), Some((Vxlan, 1)));
    assert_eq!(sends("10.1.4.0/24"), Some((Wireguard, 0)), "another location's");
    assert_eq!(sends("10.1.1.0/24"), Some((Wireguard, 0)), "its own");
}

#[test]
fn a_setting_without_effect_is_said() {
    let mut nodes = nodes(Never);
    nodes.iter_mut().for_each(|node| node.mesh.encryption = Encryption::All);
    let mesh = plan_of(nodes, "a/2", &seen());
    assert!(matches!(mesh.problems[..], [Problem::Encapsulation]), "{:?}", mesh.problems);
}

#[test]
fn what_each_node_is_sent() {
    let nodes = nodes(CrossSubnet);
    let mesh = plan_of(nodes.clone(), "a/2", &seen());
    let world = world(vec![], nodes, vec![], vec![]);
    let hops: BTreeSet<&NodeName> = mesh.via.values().collect();
    let expected = BTreeMap::from([(node_name("a/1"), Plain), (node_name("a/3"), Vxlan)]);
    assert_eq!(transports(&world, &hops, &mesh.neighbours), expected);
}
