//! Short ways to write worlds down in tests.

use std::net::IpAddr;
use std::num::NonZeroU16;

use model::{
    Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, Node, NodeName, ObjectName,
    Protocol, PublicKey, Service, ServiceKey, ServicePort, Topology, World,
};

use crate::mesh::{Settings, Unserved};

/// The name of a cluster.
pub(crate) fn cluster_name(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

/// The name of a node, `CLUSTER/NODE`.
pub(crate) fn node_name(name: &str) -> NodeName {
    NodeName::try_from(name.to_string()).unwrap()
}

/// A cluster of the given pod ranges.
pub(crate) fn cluster(name: &str, id: u64, pod_cidrs: &[&str]) -> Cluster {
    Cluster {
        name: cluster_name(name),
        id: ClusterId::new(id).unwrap(),
        pod_cidrs: pod_cidrs.iter().map(|net| net.parse().unwrap()).collect(),
        service_cidrs: Vec::new(),
        clusterset_cidrs: Vec::new(),
        peer_cidrs: Vec::new(),
    }
}

/// A node without addresses, ranges or key.
pub(crate) fn node(name: &str, region: &str, zone: &str) -> Node {
    Node {
        name: node_name(name),
        topology: Topology { region: region.into(), zone: zone.into(), ..Topology::default() },
        location: region.into(),
        private_ips: Vec::new(),
        public_ips: Vec::new(),
        pod_cidrs: Vec::new(),
        public_key: None,
        port: 51820,
        labels: Default::default(),
        mesh: Default::default(),
    }
}

/// A node in the mesh: one slice, a public address and a key whose bytes are all `n`.
pub(crate) fn meshed(name: &str, n: u8, slices: &[&str]) -> Node {
    Node {
        public_ips: vec![IpAddr::from([198, 18, 0, n])],
        pod_cidrs: slices.iter().map(|net| net.parse().unwrap()).collect(),
        public_key: Some(PublicKey([n; 32])),
        ..node(name, "", "")
    }
}

/// What the operator chose for the mesh: pods show their own addresses everywhere.
pub(crate) fn mesh_settings() -> Settings {
    Settings {
        mtu: 1420,
        fail_closed: Vec::new(),
        keepalive: 25,
        masquerade: None,
        unserved: Unserved::Refuse,
        knows_two_keys: true,
        knows_groups: true,
        preshared: Default::default(),
    }
}

/// The key of `demo/NAME` in a cluster.
pub(crate) fn service_key(cluster: &str, name: &str) -> ServiceKey {
    ServiceKey { cluster: cluster_name(cluster), name: ObjectName::new("demo", name).unwrap() }
}

/// A port.
pub(crate) fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

/// A service with the given addresses and one nameless TCP port 80.
pub(crate) fn service(cluster: &str, name: &str, vips: &[&str], global: bool) -> Service {
    Service {
        global,
        shared: global,
        ..Service::new(
            service_key(cluster, name),
            vips.iter().map(|ip| ip.parse().unwrap()).collect(),
            vec![ServicePort::new("", Protocol::Tcp, port(80))],
        )
    }
}

/// A ready endpoint of that service, on 8080, with one address.
pub(crate) fn endpoint(cluster: &str, service: &str, pod: &str, ip: &str, node: Option<&str>) -> Endpoint {
    Endpoint {
        node: node.map(node_name),
        ..Endpoint::new(
            EndpointKey { service: service_key(cluster, service), name: pod.into() },
            vec![ip.parse().unwrap()],
            vec![EndpointPort::new("", Protocol::Tcp, port(8080))],
        )
    }
}

/// A world of these.
pub(crate) fn world(
    clusters: Vec<Cluster>,
    nodes: Vec<Node>,
    services: Vec<Service>,
    endpoints: Vec<Endpoint>,
) -> World {
    let mut world = World::default();
    world.clusters.extend(clusters.into_iter().map(|c| (c.name.clone(), c)));
    world.nodes.extend(nodes.into_iter().map(|n| (n.name.clone(), n)));
    world.services.extend(services.into_iter().map(|s| (s.key.clone(), s)));
    for e in endpoints {
        world.endpoints.entry(e.key.service.clone()).or_default().insert(e.key.name.clone(), e);
    }
    world
}
