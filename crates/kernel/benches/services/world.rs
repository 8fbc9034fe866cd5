//! Services of four endpoints each, every endpoint with an address of its own: equal sets would be shared, and hide what
//! they cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;

use engine::services::View;
use model::{
    Change, ClusterName, Endpoint, EndpointKey, EndpointPort, Node, NodeName, NodePort, Object, ObjectName,
    Protocol, Service, ServiceKey, ServicePort, World,
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
    /// Where clients outside dial it.
    pub(crate) node_port: Option<u16>,
}

/// The node that plans.
pub(crate) fn me() -> NodeName {
    NodeName::new(cluster(), "node").expect("a name")
}

/// The node behind it.
pub(crate) fn other() -> NodeName {
    NodeName::new(cluster(), "other").expect("a name")
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

/// The node port of service n, for who serves clients outside: those of the live service and of the ones that follow it, as
/// far as the usual range goes; its end is for services behind the last.
pub(crate) fn node_port(n: u32, services: u32) -> Option<u16> {
    const FIRST: u32 = 30_000;
    const LAST: u32 = 32_767;
    let port = if n >= services { LAST - (n - services) } else { FIRST + n.checked_sub(live(services))? };
    (port <= LAST && (n >= services || port < LAST)).then(|| u16::try_from(port).expect("a port"))
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
    let one = |n: u32, protocol| {
        let endpoints = endpoints_of(n, services, servers);
        let endpoints = endpoints.into_iter().map(|ip| SocketAddrV4::new(ip, SERVED)).collect();
        Virtual { ip: vip(n), protocol, endpoints, node_port: None }
    };
    // The live one answers datagrams, too.
    (0..services).map(|n| one(n, "tcp")).chain([one(live(services), "udp")]).collect()
}

/// The same with node ports, and behind the last service another one at these servers.
pub(crate) fn virtuals_outside(services: u32, near: &[IpAddr], far: &[IpAddr]) -> Vec<Virtual> {
    let number = |one: &Virtual| one.ip.to_bits() - vip(0).to_bits();
    let endpoints: Vec<_> = far.iter().map(|ip| SocketAddrV4::new(v4(ip), SERVED)).collect();
    let behind = ["tcp", "udp"].map(|protocol| Virtual {
        ip: vip(services),
        protocol,
        endpoints: endpoints.clone(),
        node_port: None,
    });
    let with_port = |one: Virtual| Virtual { node_port: node_port(number(&one), services), ..one };
    virtuals(services, near).into_iter().chain(behind).map(with_port).collect()
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

/// The same with node ports, on a node with this address on its wire, and one behind it; each with a range of pods. Both
/// are of one location, so that they may answer for each other.
pub(crate) fn world_outside(
    services: u32,
    near: &[IpAddr],
    far: &[IpAddr],
    wire: IpAddr,
    pods: [&str; 2],
) -> World {
    let mut world = world(services, near, &[far]);
    for (name, private_ips, pods) in [(me(), vec![wire], pods[0]), (other(), vec![], pods[1])] {
        world.apply(Change::Upsert(Object::Node(Node {
            name,
            topology: Default::default(),
            location: "bench".into(),
            private_ips,
            public_ips: vec![],
            pod_cidrs: vec![pods.parse().expect("a range")],
            public_key: None,
            port: 51820,
            labels: Default::default(),
            mesh: Default::default(),
        })));
    }
    for (servers, node) in [(near, me()), (far, other())] {
        let endpoints = world.endpoints.values().flat_map(|of| of.values());
        let theirs = endpoints.filter(|endpoint| endpoint.ips.iter().any(|ip| servers.contains(ip)));
        let placed = theirs.map(|endpoint| Endpoint { node: Some(node.clone()), ..endpoint.clone() });
        for endpoint in placed.collect::<Vec<_>>() {
            world.apply(Change::Upsert(Object::Endpoint(endpoint)));
        }
    }
    let with_ports = |service: &Service| {
        let n = v4(&service.vips[0]).to_bits() - vip(0).to_bits();
        let node_port = NonZeroU16::new(node_port(n, services)?)?;
        let of = |port: &ServicePort| NodePort { port: port.port, protocol: port.protocol, node_port };
        let mut service = service.clone();
        service.access.node_ports = service.ports.iter().map(of).collect();
        Some(Change::Upsert(Object::Service(service)))
    };
    let changes: Vec<_> = world.services.values().filter_map(with_ports).collect();
    for change in changes {
        world.apply(change);
    }
    world
}

fn add(world: &mut World, n: u32, endpoints: &[Ipv4Addr], datagrams: bool) {
    let name = ObjectName::new("bench", format!("s{n}")).expect("a name");
    let key = ServiceKey { cluster: cluster(), name };
    let protocols = if datagrams { &[Protocol::Tcp, Protocol::Udp][..] } else { &[Protocol::Tcp] };
    let port = |n: u16| NonZeroU16::new(n).expect("not 0");
    for (i, ip) in endpoints.iter().enumerate() {
        world.apply(Change::Upsert(Object::Endpoint(Endpoint::new(
            EndpointKey { service: key.clone(), name: format!("p{i}") },
            vec![(*ip).into()],
            protocols
                .iter()
                .map(|protocol| EndpointPort::new(protocol.to_string(), *protocol, port(SERVED)))
                .collect(),
        ))));
    }
    let ports =
        protocols.iter().map(|protocol| ServicePort::new(protocol.to_string(), *protocol, port(DIALLED)));
    world.apply(Change::Upsert(Object::Service(Service::new(key, vec![vip(n).into()], ports.collect()))));
}

/// The world as this bench's node looks at it.
pub(crate) fn view<'a>(
    world: &'a World,
    me: &'a NodeName,
    dead: &'a std::collections::BTreeSet<NodeName>,
) -> View<'a> {
    View { dead, ..View::new(world, me) }
}
