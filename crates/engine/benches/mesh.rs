//! What it costs to plan the mesh of 5,000 nodes in 50 locations: as a gateway, as a node that is none, and in a full mesh;
//! from nothing, and when one node changes. Prints milliseconds: median, 99th percentile, most.

use causeway_engine as engine;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use engine::mesh::{Planner, Seen, Settings, Unserved, plan};
use model::mesh::Granularity;
use model::{
    Change, Cluster, ClusterId, ClusterName, Key, Node, NodeMesh, NodeName, Object, PublicKey, World,
};

const LOCATIONS: u32 = 50;
const NODES: u32 = 100;

/// Few when it is only tried out.
fn rounds() -> u32 {
    if cfg!(debug_assertions) { 3 } else { 100 }
}

fn cluster() -> ClusterName {
    ClusterName::new("aws").expect("a label")
}

fn name(location: u32, n: u32) -> NodeName {
    NodeName::new(cluster(), format!("node-{location}-{n}")).expect("a label")
}

fn node(location: u32, n: u32, granularity: Granularity) -> Node {
    let number = location * NODES + n;
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    let slice = |text: String| text.parse().expect("a range");
    let address = |first: u32| IpAddr::V4(Ipv4Addr::from_bits(first + number));
    Node {
        name: name(location, n),
        topology: Default::default(),
        location: format!("location-{location}"),
        private_ips: vec![address(0xac10_0000)],
        public_ips: vec![address(0xc612_0000)],
        pod_cidrs: vec![
            slice(format!("{}/24", Ipv4Addr::from_bits(0x0a00_0000 + (number << 8)))),
            slice(format!("fd00:0:0:{number:x}::/64")),
        ],
        public_key: Some(PublicKey(key)),
        port: 51820,
        labels: Default::default(),
        mesh: NodeMesh { granularity, ..NodeMesh::default() },
    }
}

fn world(granularity: Granularity) -> World {
    let mut world = World::default();
    let cluster = Cluster {
        name: cluster(),
        id: ClusterId::new(1).expect("a number"),
        pod_cidrs: ["10.0.0.0/8", "fd00::/48"].map(|range| range.parse().expect("a range")).into(),
        service_cidrs: Vec::new(),
        clusterset_cidrs: Vec::new(),
        peer_cidrs: Vec::new(),
    };
    world.clusters.insert(cluster.name.clone(), cluster);
    for (location, n) in (0..LOCATIONS).flat_map(|location| (0..NODES).map(move |n| (location, n))) {
        let node = node(location, n, granularity);
        world.nodes.insert(node.name.clone(), node);
    }
    world
}

fn measure(what: &str, granularity: Granularity, me: &NodeName) {
    let world = world(granularity);
    let settings = Settings {
        mtu: 1420,
        fail_closed: Vec::new(),
        keepalive: 0,
        masquerade: Some(Vec::new()),
        unserved: Unserved::Refuse,
        knows_two_keys: true,
        knows_groups: true,
        preshared: Default::default(),
    };
    let (mut times, mut peers) = (Vec::new(), 0);
    for _ in 0..rounds() {
        let began = Instant::now();
        let mesh = black_box(plan(&world, me, &settings, &Seen::default()));
        times.push(began.elapsed());
        peers = mesh.tunnel.peers.len();
        assert_eq!((mesh.via.len(), mesh.problems.len()), (world.nodes.len() - 1, 0));
    }
    say(what, peers, &mut times);
    changes(&format!("{what}, a change"), world, me, &settings);
}

/// Nodes get other addresses, leave and join again, each by itself; gateways among them.
fn changes(what: &str, mut world: World, me: &NodeName, settings: &Settings) {
    let (mut planner, seen) = (Planner::default(), Seen::default());
    planner.plan(&world, me, settings, &seen);
    let names: Vec<NodeName> = world.nodes.keys().filter(|name| *name != me).cloned().collect();
    let (mut times, mut peers) = (Vec::new(), 0);
    for round in 0..10 * rounds() {
        let name = &names[(round as usize / 3 * 37) % names.len()];
        let mut node = world.nodes.get(name).cloned();
        let change = match (round % 3, node.as_mut()) {
            (0, Some(node)) => {
                node.public_ips = vec![IpAddr::V4(Ipv4Addr::from_bits(0xc633_0000 + round))];
                Change::Upsert(Object::Node(node.clone()))
            }
            (1, Some(_)) => Change::Delete(Key::Node(name.clone())),
            _ => {
                let of = |part: usize| name.node.split('-').nth(part).and_then(|n| n.parse().ok());
                let granularity = world.nodes[me].mesh.granularity;
                let node = self::node(of(1).expect("a number"), of(2).expect("a number"), granularity);
                Change::Upsert(Object::Node(node))
            }
        };
        planner.handle_change(&world, &change);
        world.apply(change);
        let began = Instant::now();
        peers = black_box(planner.plan(&world, me, settings, &seen)).tunnel.peers.len();
        times.push(began.elapsed());
    }
    say(what, peers, &mut times);
}

fn say(what: &str, peers: usize, times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e3;
    let longest = times.last().map_or(0.0, Duration::as_secs_f64) * 1e3;
    println!(
        "{what:<24} {peers:>5} peers {:>8.3} {:>8.3} {longest:>8.3} ms",
        ms(times.len() / 2),
        ms(times.len() * 99 / 100)
    );
}

fn main() {
    println!("{} nodes in {LOCATIONS} locations", LOCATIONS * NODES);
    measure("a gateway", Granularity::Location, &name(7, 0));
    measure("no gateway", Granularity::Location, &name(7, 50));
    measure("cross", Granularity::Cross, &name(7, 50));
    measure("full", Granularity::Full, &name(7, 50));
}
