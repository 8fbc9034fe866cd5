//! Random worlds, small enough that their names, addresses and ranges collide often.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use ipnet::IpNet;
use model::{
    Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, Node, NodeName, Object, ObjectName,
    Protocol, PublicKey, Service, ServiceKey, ServicePort, Topology, World,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// The node all plans are made for.
pub(crate) fn me() -> NodeName {
    NodeName::new(cluster_name(0), "n0").unwrap()
}

/// A world, who is dead in it, and the other clusters in some order.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub(crate) world: World,
    pub(crate) dead: BTreeSet<NodeName>,
    pub(crate) ranking: Vec<ClusterName>,
}

pub(crate) fn situation() -> impl Strategy<Value = Situation> {
    let nodes = (node(Just(me()).boxed()), vec(node(node_name().boxed()), 0..10))
        .prop_map(|(me, others)| [vec![me], others].concat());
    let objects = (vec(cluster(), 0..8), nodes, vec(service(), 0..12), vec(endpoint(), 0..60));
    let ranking = subsequence((0..4).map(cluster_name).collect::<Vec<_>>(), 0..=4).prop_shuffle();
    (objects, btree_set(node_name(), 0..6), ranking).prop_map(
        |((clusters, nodes, services, endpoints), dead, ranking)| {
            let mut world = World::default();
            let clusters = clusters.into_iter().map(Object::Cluster);
            let nodes = nodes.into_iter().map(Object::Node);
            let services = services.into_iter().map(Object::Service);
            let endpoints = endpoints.into_iter().map(Object::Endpoint);
            for object in clusters.chain(nodes).chain(services).chain(endpoints) {
                world.apply(model::Change::Upsert(object));
            }
            Situation { world, dead, ranking }
        },
    )
}

pub(crate) fn cluster_name(n: u8) -> ClusterName {
    ClusterName::new(format!("c{n}")).unwrap()
}

pub(crate) fn node_name() -> impl Strategy<Value = NodeName> {
    (0..4_u8, 0..4_u8).prop_map(|(c, n)| NodeName::new(cluster_name(c), format!("n{n}")).unwrap())
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    (0..3_u8, 0..2_u8).prop_map(|(c, n)| ServiceKey {
        cluster: cluster_name(c),
        name: ObjectName::new("demo", format!("s{n}")).unwrap(),
    })
}

/// Mostly the cluster's own /16, sometimes another's.
pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    (0..4_u8, prop_oneof![9 => Just(None), 1 => (0..4_u8).prop_map(Some)]).prop_map(|(c, other)| Cluster {
        name: cluster_name(c),
        id: ClusterId::new(u64::from(c) + 1).unwrap(),
        pod_cidrs: vec![v4(other.unwrap_or(c), 0, 0, 16), v6(c, 0, 0, 48)],
        service_cidrs: vec![v4(100 + c, 0, 0, 16)],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    })
}

/// The number in a node's cluster's name.
fn own_range(name: &NodeName) -> u8 {
    name.cluster.as_str()[1..].parse().unwrap()
}

fn v4(a: u8, b: u8, c: u8, len: u8) -> IpNet {
    IpNet::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), len).unwrap()
}

fn v6(a: u8, b: u8, c: u8, len: u8) -> IpNet {
    let ip = Ipv6Addr::new(0xfd00, a.into(), 0, b.into(), 0, 0, 0, c.into());
    IpNet::new(IpAddr::V6(ip), len).unwrap()
}

/// Mostly with slices of its own cluster's ranges, sometimes with another's.
pub(crate) fn node(name: BoxedStrategy<NodeName>) -> impl Strategy<Value = Node> {
    let slice = (prop_oneof![9 => Just(None), 1 => (0..4_u8).prop_map(Some)], 0..8_u8, any::<bool>());
    let place = (select(&["", "r1", "r1", "r2"]), select(&["", "z1", "z2"]));
    (name, vec(slice, 0..3), place, proptest::option::weighted(0.8, 0..32_u8), any::<bool>()).prop_map(
        |(name, slices, (region, zone), key, public)| Node {
            topology: Topology { region: region.into(), zone: zone.into(), ..Topology::default() },
            location: region.into(),
            private_ips: vec![IpAddr::from([172, 16, 0, 1])],
            public_ips: if public { vec![IpAddr::from([198, 18, 0, 1])] } else { vec![] },
            pod_cidrs: slices
                .into_iter()
                .map(|(other, n, six)| (other.unwrap_or(own_range(&name)), n, six))
                .map(|(c, n, six)| if six { v6(c, n, 0, 64) } else { v4(c, n, 0, 24) })
                .collect(),
            public_key: key.map(|key| PublicKey([key; 32])),
            port: 51820,
            labels: Default::default(),
            mesh: Default::default(),
            name,
        },
    )
}

pub(crate) fn service() -> impl Strategy<Value = Service> {
    let port = (select(&["", "web"]), protocol(), 80..82_u16)
        .prop_map(|(name, protocol, p)| ServicePort::new(name, protocol, port(p)));
    let vip = (0..6_u8, any::<bool>());
    (service_key(), vec(vip, 0..3), vec(port, 1..3), prop::bool::weighted(0.7)).prop_map(
        |(key, vips, ports, global)| Service {
            global,
            shared: global,
            ..Service::new(
                key,
                vips.into_iter()
                    .map(|(n, six)| if six { v6(101, 0, n, 128) } else { v4(101, 0, n, 32) }.addr())
                    .collect(),
                ports,
            )
        },
    )
}

pub(crate) fn endpoint() -> impl Strategy<Value = Endpoint> {
    let port = (select(&["", "web"]), protocol(), 8080..8082_u16)
        .prop_map(|(name, protocol, p)| EndpointPort::new(name, protocol, port(p)));
    let key = (service_key(), 0..6_u8);
    let ips = vec((0..3_u8, 0..6_u8, any::<bool>()), 1..4);
    (key, ips, vec(port, 1..4), proptest::option::weighted(0.9, 0..4_u8), prop::bool::weighted(0.8), 0..4_u16)
        .prop_map(|((service, n), ips, ports, node, ready, weight)| Endpoint {
            node: node.map(|n| NodeName::new(service.cluster.clone(), format!("n{n}")).unwrap()),
            ready,
            serving: ready,
            weight,
            ..Endpoint::new(
                EndpointKey { service, name: format!("p{n}") },
                ips.into_iter()
                    .map(|(a, b, six)| if six { v6(a, 0, b, 128) } else { v4(a, 0, b, 32) }.addr())
                    .collect(),
                ports,
            )
        })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::Tcp, Protocol::Udp])
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}
