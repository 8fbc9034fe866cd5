//! Random objects, for tests.

mod policy;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::mesh::{Encapsulate, Encryption, Gateway, Granularity, Rekeying, Transport};
use model::{
    Access, Allow, Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, Export,
    Gateways, GenerationId, Hints, Import, Node, NodeMesh, NodeName, NodePort, Object, ObjectName, Peer,
    PeerEndpoint, PeerHost, PeerName, Port, Prefer, PresharedKey, Protocol, PublicKey, Reach, Service,
    ServiceKey, ServicePort, Spread, Terms, Topology, Traffic,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

/// Any change.
pub(crate) fn change() -> BoxedStrategy<Change> {
    prop_oneof![object().prop_map(Change::Upsert), object().prop_map(|o| Change::Delete(o.key()))].boxed()
}

/// Any object. Boxed: all of them together would be a type as large as a thread's stack.
pub(crate) fn object() -> BoxedStrategy<Object> {
    prop_oneof![
        cluster().prop_map(Object::Cluster).boxed(),
        node().prop_map(Object::Node).boxed(),
        peer().prop_map(Object::Peer).boxed(),
        policy::policy().prop_map(Object::Policy).boxed(),
        policy::namespace().prop_map(Object::Namespace).boxed(),
        policy::pod().prop_map(Object::Pod).boxed(),
        service().prop_map(Object::Service).boxed(),
        import().prop_map(Object::Import).boxed(),
        endpoint().prop_map(Object::Endpoint).boxed(),
    ]
    .boxed()
}

fn cluster_name() -> impl Strategy<Value = ClusterName> {
    "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?".prop_map(|name| ClusterName::new(name).unwrap())
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let ranges = (vec(net(), 0..4), vec(net(), 0..4), vec(net(), 0..2), vec(net(), 0..2));
    (cluster_name(), 1u64..=511, ranges).prop_map(|(name, id, ranges)| {
        let (pod_cidrs, service_cidrs, clusterset_cidrs, peer_cidrs) = ranges;
        let id = ClusterId::new(id).unwrap();
        Cluster { name, id, pod_cidrs, service_cidrs, clusterset_cidrs, peer_cidrs }
    })
}

fn node_name() -> impl Strategy<Value = NodeName> {
    (cluster_name(), "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}")
        .prop_map(|(cluster, node)| NodeName::new(cluster, node).unwrap())
}

prop_compose! {
    fn node()(
        name in node_name(),
        places in ("[!-~]{0,253}", "[!-~]{0,20}", "[!-~]{0,20}", "[a-z]{0,8}"),
        private_ips in vec(ip(), 0..4),
        public_ips in vec(ip(), 0..4),
        pod_cidrs in (option::of(net4()), option::of(net6())),
        public_key in option::of(any::<[u8; 32]>()),
        port: u16,
        labels in policy::labels(),
        mesh in node_mesh(),
    ) -> Node {
        let (region, zone, location, provider) = places;
        Node {
            name,
            topology: Topology { provider, region, zone },
            location,
            private_ips,
            public_ips,
            pod_cidrs: pod_cidrs.0.into_iter().chain(pod_cidrs.1).collect(),
            public_key: public_key.map(PublicKey),
            port,
            labels,
            mesh,
        }
    }
}

prop_compose! {
    fn node_mesh()(
        granularity in prop_oneof![
            Just(Granularity::Full), Just(Granularity::Location), Just(Granularity::Cross),
        ],
        gateway in prop_oneof![Just(Gateway::Neutral), Just(Gateway::Wanted), Just(Gateway::Unwanted)],
        endpoint in option::of(("[a-z]{1,9}\\.[a-z]{1,9}", 1..=u16::MAX)),
        keepalive: Option<u16>,
        allowed_location_ips in vec(net4(), 0..3),
        (next_key, knows_two, requested) in (option::of(any::<[u8; 32]>()), any::<bool>(), any::<u64>()),
        knows_groups: bool,
        reach in reach(),
        encryption in prop_oneof![Just(Encryption::All), Just(Encryption::Mesh)],
        encapsulate in prop_oneof![
            Just(Encapsulate::Never), Just(Encapsulate::CrossSubnet), Just(Encapsulate::Always),
        ],
        takes in btree_set(prop_oneof![Just(Transport::Vxlan), Just(Transport::Plain)], 0..3),
        generations in vec(any::<[u8; 8]>().prop_map(GenerationId), 0..3),
    ) -> NodeMesh {
        let endpoint = endpoint.map(|(name, port)| format!("{name}:{port}").parse().unwrap());
        let rekeying = Rekeying { next_key: next_key.map(PublicKey), knows_two, requested };
        NodeMesh {
            granularity,
            gateway,
            endpoint,
            keepalive,
            allowed_location_ips,
            rekeying,
            knows_groups,
            encryption,
            encapsulate,
            takes,
            reach,
            generations,
        }
    }
}

prop_compose! {
    fn reach()(
        relays: bool,
        sees in btree_map(node_name(), ("198\\.18\\.[1-9][0-9]?\\.[1-9]", 1..=u16::MAX), 0..3),
        relayed_by in btree_map(node_name(), any::<u32>(), 0..3),
    ) -> Reach {
        let sees = sees.into_iter().map(|(node, (ip, port))| (node, format!("{ip}:{port}").parse().unwrap()));
        Reach { relays, sees: sees.collect(), relayed_by }
    }
}

prop_compose! {
    fn peer()(
        (cluster, name) in (cluster_name(), "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}"),
        public_key: [u8; 32],
        allowed_ips in vec(net(), 1..4),
        host in option::of(prop_oneof![ip().prop_map(PeerHost::Ip), "[a-z0-9]{1,20}".prop_map(PeerHost::Dns)]),
        port in 1..=u16::MAX,
        keepalive: u16,
        preshared_key in option::of(any::<[u8; 32]>()),
        gateways in vec("[a-z0-9]{1,20}", 0..3),
        allow in vec(prop_oneof![Just(Allow::Pods), Just(Allow::Services), net().prop_map(Allow::Range)], 0..4),
        expires in option::of(any::<i64>()),
        labels in policy::labels(),
    ) -> Peer {
        let port = Port::new(port).unwrap();
        Peer {
            name: PeerName::new(cluster, name).unwrap(),
            public_key: PublicKey(public_key),
            allowed_ips,
            endpoint: host.map(|host| PeerEndpoint { host, port }),
            keepalive,
            preshared_key: preshared_key.map(PresharedKey),
            gateways: if gateways.is_empty() { Gateways::All } else { Gateways::Named(gateways) },
            allow: allow.into_iter().collect(),
            expires,
            labels,
        }
    }
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    (cluster_name(), "[a-z0-9]{1,63}", "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}").prop_map(
        |(cluster, namespace, name)| ServiceKey { cluster, name: ObjectName::new(namespace, name).unwrap() },
    )
}

fn port() -> impl Strategy<Value = (String, Protocol, Port)> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    ("[a-z0-9-]{0,63}", protocol, (1..=u16::MAX).prop_map(|p| Port::new(p).unwrap()))
}

fn service_ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let port = (port(), "[!-~]{0,20}").prop_map(|((name, protocol, port), app_protocol)| ServicePort {
        name,
        protocol,
        port,
        app_protocol,
    });
    vec(port, 0..5)
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let prefer = prop_oneof![
        Just(Prefer::Ladder),
        Just(Prefer::Even),
        Just(Prefer::Local),
        Just(Prefer::Remote),
        Just(Prefer::LadderLocal),
        Just(Prefer::LadderRemote),
        vec(cluster_name(), 0..4).prop_map(Prefer::Clusters),
    ];
    let spread = prop_oneof![Just(Spread::Ladder), Just(Spread::Even)];
    let (weights, capacities) = (any::<u16>(), any::<u32>());
    (prefer, spread, btree_map(cluster_name(), weights, 0..3), btree_map(cluster_name(), capacities, 0..3))
        .prop_map(|(prefer, spread, cluster_weights, capacities)| Traffic {
            prefer,
            spread,
            cluster_weights,
            capacities,
        })
}

prop_compose! {
    fn terms()(
        (headless, internal_local) in (any::<bool>(), any::<bool>()),
        session_affinity in option::of(any::<u32>()),
        traffic_distribution in "[!-~]{0,63}",
        ipv6 in vec(any::<bool>(), 0..=2),
        labels in btree_map("[!-~]{1,317}", "[!-~]{0,63}", 0..3),
        annotations in btree_map("[!-~]{1,317}", "[ -~]{0,300}", 0..3),
    ) -> Terms {
        Terms { headless, session_affinity, internal_local, traffic_distribution, ipv6, labels, annotations }
    }
}

prop_compose! {
    fn access()(
        (internal_local, external_local, other_proxy) in (any::<bool>(), any::<bool>(), any::<bool>()),
        session_affinity in option::of(any::<u32>()),
        node_ports in vec((port(), 1..=u16::MAX), 0..3),
        external_ips in vec(ip(), 0..3),
        load_balancer_ips in vec(ip(), 0..3),
        source_ranges in option::of(vec(net(), 0..3)),
        health_check_node_port in option::of(1..=u16::MAX),
    ) -> Access {
        let node_port = |((_, protocol, port), node_port)| {
            NodePort { port, protocol, node_port: Port::new(node_port).unwrap() }
        };
        Access {
            internal_local,
            external_local,
            session_affinity,
            node_ports: node_ports.into_iter().map(node_port).collect(),
            external_ips,
            load_balancer_ips,
            other_proxy,
            source_ranges,
            health_check_node_port: health_check_node_port.and_then(Port::new),
        }
    }
}

fn hints() -> impl Strategy<Value = Hints> {
    let place = || vec("[!-~]{1,253}", 0..4);
    let given = (place(), place()).prop_map(|(zones, nodes)| match (zones.is_empty(), nodes.is_empty()) {
        (true, true) => Hints::None,
        _ => Hints::Given { zones, nodes },
    });
    prop_oneof![Just(Hints::None), Just(Hints::OwnZone), Just(Hints::OwnNode), given]
}

prop_compose! {
    fn service()(
        key in service_key(),
        vips in pair(),
        ports in service_ports(),
        (headless, global, shared) in (any::<bool>(), any::<bool>(), any::<bool>()),
        traffic in traffic(),
        export in option::of((any::<i64>(), terms()).prop_map(|(created, terms)| Export { created, terms })),
        access in access(),
    ) -> Service {
        Service { key, vips, ports, headless, global, shared, traffic, export, access }
    }
}

prop_compose! {
    fn import()(
        key in service_key(),
        vips in pair(),
        ports in service_ports(),
        terms in terms(),
        traffic in traffic(),
        clusters in vec(cluster_name(), 0..4),
    ) -> Import {
        Import { key, vips, ports, terms, traffic, clusters }
    }
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let conditions = (any::<bool>(), any::<bool>(), any::<bool>(), any::<u16>(), hints());
    let labels = (btree_map("[!-~]{1,317}", "[!-~]{0,63}", 0..5), "[a-z0-9]{0,63}");
    let key = (service_key(), "[!-~]{1,253}").prop_map(|(service, name)| EndpointKey { service, name });
    (key, pair(), vec(port(), 0..5), option::of(node_name()), conditions, labels).prop_map(
        |(key, ips, ports, node, (ready, serving, terminating, weight, hints), (labels, hostname))| {
            let port = |(name, protocol, port)| EndpointPort { name, protocol, port };
            let ports = ports.into_iter().map(port).collect();
            Endpoint { key, ips, ports, node, ready, serving, terminating, weight, labels, hostname, hints }
        },
    )
}

/// At most one address a family.
fn pair() -> impl Strategy<Value = Vec<IpAddr>> {
    (option::of(ip4()), option::of(ip6())).prop_map(|(v4, v6)| v4.into_iter().chain(v6).collect())
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![ip4(), ip6()]
}

fn ip4() -> impl Strategy<Value = IpAddr> {
    (1u32..0xe000_0000).prop_map(|bits| Ipv4Addr::from(bits).into())
}

fn ip6() -> impl Strategy<Value = IpAddr> {
    ((1u128 << 64)..(0xff00u128 << 112)).prop_map(|bits| Ipv6Addr::from(bits).into())
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![net4(), net6()]
}

fn net4() -> impl Strategy<Value = IpNet> {
    (ip4(), 0u8..=32).prop_map(|(ip, length)| IpNet::new(ip, length).unwrap().trunc())
}

fn net6() -> impl Strategy<Value = IpNet> {
    (ip6(), 0u8..=128).prop_map(|(ip, length)| IpNet::new(ip, length).unwrap().trunc())
}
