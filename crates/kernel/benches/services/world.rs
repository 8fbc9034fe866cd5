//! Services of four endpoints each, every endpoint with an address of its own: equal sets would be shared, and hide what
//! they cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;

use engine::services::{LoadBalancerMode, LoadBalancing, NodePortAddresses, View};
use model::{
    Change, ClusterName, Endpoint, EndpointKey, EndpointPort, NodeName, Object, ObjectName, Protocol,
    Service, ServiceKey, ServicePort, World,
};

/// Endpoints of a service.
pub(crate) const ENDPOINTS: u32 = 4;
/// The port that clients dial.
pub(crate) const DIALLED: u16 = 80;
/// The port that servers listen on.
pub(crate) const SERVED: u16 = 8080;

/// Something that clients dial, for rules that are written as text.
pub(crate) struct Virtual {
    pub(crate) ip: Ipv4Addr,
    pub(crate) protocol: &'static str,
    pub(crate) endpoints: Vec<SocketAddrV4>,
}

/// The node that plans.
pub(crate) fn me() -> NodeName {
    NodeName::new(cluster(), "node").expect("a name")
}

fn cluster() -> ClusterName {
    ClusterName::new("bench").expect("a name")
}

/// The virtual address of service n.
pub(crate) fn vip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + 1 + n)
}

/// The service that has live endpoints: the one in the middle, so that who looks through a list looks through half.
pub(crate) fn live(services: u32) -> u32 {
    services / 2
}

/// Where the endpoints of service n are.
fn endpoints_of(n: u32, services: u32, servers: &[IpAddr]) -> Vec<Ipv4Addr> {
    if n == live(services) {
        return servers.iter().map(v4).collect();
    }
    let first = Ipv4Addr::new(10, 128, 0, 0).to_bits() + n * ENDPOINTS;
    (first..first + ENDPOINTS).map(Ipv4Addr::from_bits).collect()
}

fn v4(ip: &IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(v4) => *v4,
        IpAddr::V6(_) => unreachable!("this bench speaks IPv4"),
    }
}

/// As rules are made from.
pub(crate) fn virtuals(services: u32, servers: &[IpAddr]) -> Vec<Virtual> {
    let one = |n: u32, protocol| Virtual {
        ip: vip(n),
        protocol,
        endpoints: endpoints_of(n, services, servers)
            .into_iter()
            .map(|ip| SocketAddrV4::new(ip, SERVED))
            .collect(),
    };
    // The live one answers datagrams, too.
    (0..services).map(|n| one(n, "tcp")).chain([one(live(services), "udp")]).collect()
}

/// As a plan is made from: the services, and for each of `beside` one more behind the last of them.
pub(crate) fn world(services: u32, servers: &[IpAddr], beside: &[&[IpAddr]]) -> World {
    let mut world = World::default();
    for n in 0..services {
        add(&mut world, n, &endpoints_of(n, services, servers), n == live(services));
    }
    for (n, servers) in (services..).zip(beside) {
        add(&mut world, n, &servers.iter().map(v4).collect::<Vec<_>>(), true);
    }
    world
}

fn add(world: &mut World, n: u32, endpoints: &[Ipv4Addr], datagrams: bool) {
    let name = ObjectName::new("bench", format!("s{n}")).expect("a name");
    let key = ServiceKey { cluster: cluster(), name };
    let protocols = if datagrams { &[Protocol::Tcp, Protocol::Udp][..] } else { &[Protocol::Tcp] };
    let port = |n: u16| NonZeroU16::new(n).expect("not 0");
    for (i, ip) in endpoints.iter().enumerate() {
        world.apply(Change::Upsert(Object::Endpoint(Endpoint {
            key: EndpointKey { service: key.clone(), name: format!("p{i}") },
            ips: vec![(*ip).into()],
            ports: protocols
                .iter()
                .map(|protocol| EndpointPort {
                    name: protocol.to_string(),
                    protocol: *protocol,
                    port: port(SERVED),
                })
                .collect(),
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            weight: 1,
            labels: Default::default(),
            hostname: String::new(),
            hints: Default::default(),
        })));
    }
    let ports = protocols.iter().map(|protocol| ServicePort {
        name: protocol.to_string(),
        protocol: *protocol,
        port: port(DIALLED),
        app_protocol: String::new(),
    });
    world.apply(Change::Upsert(Object::Service(Service {
        ports: ports.collect(),
        key,
        vips: vec![vip(n).into()],
        headless: false,
        global: false,
        shared: false,
        traffic: Default::default(),
        export: None,
        access: Default::default(),
    })));
}

/// The world as this bench's node looks at it.
pub(crate) fn view<'a>(
    world: &'a World,
    me: &'a NodeName,
    dead: &'a std::collections::BTreeSet<NodeName>,
) -> View<'a> {
    View {
        world,
        me,
        dead,
        ranking: &[],
        reserved: &[],
        node_ports: &NodePortAddresses::All,
        balancing: &LoadBalancing { mode: LoadBalancerMode::Snat, maglev: None },
    }
}
