//! From `model` to protobuf.

mod peer;
mod policy;
mod reach;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::mesh::{Encapsulate, Encryption, Gateway, Granularity, Transport};
use model::{
    Access, Change, Cluster, Endpoint, EndpointKey, Export, GenerationId, Hints, Import, Key, Node, NodeMesh,
    NodeName, NodePort, Object, ObjectName, Port, Prefer, Protocol, Service, ServiceKey, ServicePort, Spread,
    Terms, Traffic,
};

use crate::pb;

pub use reach::encode_reach;

/// A change as it travels.
pub fn encode_change(change: &Change) -> pb::Change {
    use pb::change::Change as Body;
    let body = match change {
        Change::Upsert(object) => Body::Upsert(encode_object(object)),
        Change::Delete(key) => Body::Delete(encode_key(key)),
    };
    pb::Change { change: Some(body) }
}

/// An object as it travels.
pub fn encode_object(object: &Object) -> pb::Object {
    use pb::object::Object as Body;
    let body = match object {
        Object::Cluster(cluster) => Body::Cluster(encode_cluster(cluster)),
        Object::Node(node) => Body::Node(encode_node(node)),
        Object::Peer(peer) => Body::Peer(peer::peer(peer)),
        Object::Policy(policy) => Body::Policy(policy::policy(policy)),
        Object::Namespace(namespace) => Body::Namespace(policy::namespace(namespace)),
        Object::Pod(pod) => Body::Pod(policy::pod(pod)),
        Object::Service(service) => Body::Service(encode_service(service)),
        Object::Import(import) => Body::Import(encode_import(import)),
        Object::Endpoint(endpoint) => Body::Endpoint(encode_endpoint(endpoint)),
    };
    pb::Object { object: Some(body) }
}

fn encode_key(key: &Key) -> pb::Key {
    use pb::key::Key as Body;
    let body = match key {
        Key::Cluster(name) => Body::Cluster(name.to_string()),
        Key::Node(name) => Body::Node(encode_node_name(name)),
        Key::Peer(name) => Body::Peer(peer::peer_name(name)),
        Key::Policy(name) => Body::Policy(policy::policy_name(name)),
        Key::Namespace(name) => Body::Namespace(policy::namespace_name(name)),
        Key::Pod(name) => Body::Pod(policy::pod_name(name)),
        Key::Service(key) => Body::Service(encode_service_key(key)),
        Key::Import(key) => Body::Import(encode_service_key(key)),
        Key::Endpoint(key) => Body::Endpoint(encode_endpoint_key(key)),
    };
    pb::Key { key: Some(body) }
}

/// A cluster as it travels.
pub fn encode_cluster(cluster: &Cluster) -> pb::Cluster {
    pb::Cluster {
        name: cluster.name.to_string(),
        id: u32::from(cluster.id.get()),
        pod_cidrs: encode_nets(&cluster.pod_cidrs),
        service_cidrs: encode_nets(&cluster.service_cidrs),
        clusterset_cidrs: encode_nets(&cluster.clusterset_cidrs),
        peer_cidrs: encode_nets(&cluster.peer_cidrs),
    }
}

fn encode_node_mesh(mesh: &NodeMesh) -> pb::NodeMesh {
    let granularity = match mesh.granularity {
        Granularity::Full => pb::Granularity::Full,
        Granularity::Location => pb::Granularity::Location,
        Granularity::Cross => pb::Granularity::Cross,
    };
    let gateway = match mesh.gateway {
        Gateway::Neutral => pb::Gateway::Neutral,
        Gateway::Wanted => pb::Gateway::Wanted,
        Gateway::Unwanted => pb::Gateway::Unwanted,
    };
    pb::NodeMesh {
        granularity: granularity.into(),
        gateway: gateway.into(),
        endpoint: mesh.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
        keepalive: mesh.keepalive.map(u32::from),
        allowed_location_ips: encode_nets(&mesh.allowed_location_ips),
        next_key: mesh.rekeying.next_key.map(|key| key.0.to_vec()).unwrap_or_default(),
        knows_two_keys: mesh.rekeying.knows_two,
        knows_groups: mesh.knows_groups,
        key_requested: mesh.rekeying.requested,
        reach: encode_reach(&mesh.reach),
        encryption: match mesh.encryption {
            Encryption::All => pb::Encryption::All,
            Encryption::Mesh => pb::Encryption::Mesh,
        }
        .into(),
        encapsulate: match mesh.encapsulate {
            Encapsulate::Always => pb::Encapsulate::Always,
            Encapsulate::CrossSubnet => pb::Encapsulate::CrossSubnet,
            Encapsulate::Never => pb::Encapsulate::Never,
        }
        .into(),
        takes: encode_transports(&mesh.takes),
        generations: encode_generations(&mesh.generations),
    }
}

/// Ways of packets as they travel.
pub fn encode_transports(transports: &BTreeSet<Transport>) -> Vec<i32> {
    let one = |transport: &Transport| match transport {
        Transport::Wireguard => pb::Transport::Wireguard,
        Transport::Vxlan => pb::Transport::Vxlan,
        Transport::Plain => pb::Transport::Plain,
    };
    transports.iter().map(|transport| one(transport).into()).collect()
}

fn encode_node(node: &Node) -> pb::Node {
    pb::Node {
        name: Some(encode_node_name(&node.name)),
        provider: node.topology.provider.clone(),
        region: node.topology.region.clone(),
        zone: node.topology.zone.clone(),
        location: node.location.clone(),
        private_ips: node.private_ips.iter().map(encode_ip).collect(),
        public_ips: node.public_ips.iter().map(encode_ip).collect(),
        pod_cidrs: encode_nets(&node.pod_cidrs),
        public_key: node.public_key.map(|key| key.0.to_vec()).unwrap_or_default(),
        port: u32::from(node.port),
        labels: node.labels.clone(),
        mesh: (node.mesh != NodeMesh::default()).then(|| encode_node_mesh(&node.mesh)),
    }
}

fn encode_service(service: &Service) -> pb::Service {
    pb::Service {
        key: Some(encode_service_key(&service.key)),
        vips: service.vips.iter().map(encode_ip).collect(),
        ports: service.ports.iter().map(encode_service_port).collect(),
        global: service.global,
        headless: service.headless,
        shared: service.shared,
        traffic: encode_traffic(&service.traffic),
        export: service.export.as_ref().map(encode_export),
        access: encode_access(&service.access),
    }
}

/// None for what most services have: it costs nothing then.
fn encode_access(access: &Access) -> Option<pb::Access> {
    if *access == Access::default() {
        return None;
    }
    let node_port = |port: &NodePort| pb::NodePort {
        port: u32::from(port.port.get()),
        protocol: encode_protocol(port.protocol).into(),
        node_port: u32::from(port.node_port.get()),
    };
    Some(pb::Access {
        internal_local: access.internal_local,
        external_local: access.external_local,
        affinity: access.session_affinity.is_some(),
        affinity_seconds: access.session_affinity.unwrap_or_default(),
        node_ports: access.node_ports.iter().map(node_port).collect(),
        external_ips: access.external_ips.iter().map(encode_ip).collect(),
        load_balancer_ips: access.load_balancer_ips.iter().map(encode_ip).collect(),
        other_proxy: access.other_proxy,
        source_ranges: access
            .source_ranges
            .as_ref()
            .map(|ranges| pb::SourceRanges { ranges: encode_nets(ranges) }),
        health_check_node_port: access.health_check_node_port.map_or(0, |port| port.get().into()),
    })
}

fn encode_hints(hints: &Hints) -> Option<pb::Hints> {
    match hints {
        Hints::None => None,
        Hints::OwnZone => Some(pb::Hints { own_zone: true, ..pb::Hints::default() }),
        Hints::OwnNode => Some(pb::Hints { own_node: true, ..pb::Hints::default() }),
        Hints::Given { zones, nodes } => {
            Some(pb::Hints { zones: zones.clone(), nodes: nodes.clone(), ..pb::Hints::default() })
        }
    }
}

fn encode_import(import: &Import) -> pb::Import {
    pb::Import {
        key: Some(encode_service_key(&import.key)),
        vips: import.vips.iter().map(encode_ip).collect(),
        ports: import.ports.iter().map(encode_service_port).collect(),
        terms: Some(encode_terms(&import.terms)),
        traffic: encode_traffic(&import.traffic),
        clusters: import.clusters.iter().map(ToString::to_string).collect(),
    }
}

fn encode_export(export: &Export) -> pb::Export {
    pb::Export { created: export.created, terms: Some(encode_terms(&export.terms)) }
}

fn encode_terms(terms: &Terms) -> pb::Terms {
    pb::Terms {
        headless: terms.headless,
        affinity: terms.session_affinity.is_some(),
        affinity_seconds: terms.session_affinity.unwrap_or_default(),
        internal_local: terms.internal_local,
        traffic_distribution: terms.traffic_distribution.clone(),
        ipv6: terms.ipv6.clone(),
        labels: terms.labels.clone(),
        annotations: terms.annotations.clone(),
    }
}

/// None for what most services have: it costs nothing then.
fn encode_traffic(traffic: &Traffic) -> Option<pb::Traffic> {
    if *traffic == Traffic::default() {
        return None;
    }
    let (prefer, clusters) = match &traffic.prefer {
        Prefer::Ladder => (pb::Prefer::Ladder, &[][..]),
        Prefer::Even => (pb::Prefer::Even, &[][..]),
        Prefer::Local => (pb::Prefer::Local, &[][..]),
        Prefer::Remote => (pb::Prefer::Remote, &[][..]),
        Prefer::LadderLocal => (pb::Prefer::LadderLocal, &[][..]),
        Prefer::LadderRemote => (pb::Prefer::LadderRemote, &[][..]),
        Prefer::Clusters(clusters) => (pb::Prefer::Clusters, clusters.as_slice()),
    };
    let spread = match traffic.spread {
        Spread::Ladder => pb::Spread::Ladder,
        Spread::Even => pb::Spread::Even,
    };
    let weight = |(cluster, weight): (&model::ClusterName, &u16)| (cluster.to_string(), u32::from(*weight));
    let capacity = |(cluster, capacity): (&model::ClusterName, &u32)| (cluster.to_string(), *capacity);
    Some(pb::Traffic {
        prefer: prefer.into(),
        clusters: clusters.iter().map(ToString::to_string).collect(),
        cluster_weights: traffic.cluster_weights.iter().map(weight).collect(),
        spread: spread.into(),
        capacities: traffic.capacities.iter().map(capacity).collect(),
    })
}

fn encode_endpoint(endpoint: &Endpoint) -> pb::Endpoint {
    pb::Endpoint {
        key: Some(encode_endpoint_key(&endpoint.key)),
        ips: endpoint.ips.iter().map(encode_ip).collect(),
        ports: endpoint.ports.iter().map(|p| encode_port(&p.name, p.protocol, p.port)).collect(),
        node: endpoint.node.as_ref().map(encode_node_name),
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        weight: u32::from(endpoint.weight),
        labels: endpoint.labels.clone(),
        hostname: endpoint.hostname.clone(),
        hints: encode_hints(&endpoint.hints),
    }
}

fn encode_node_name(name: &NodeName) -> pb::NodeName {
    pb::NodeName { cluster: name.cluster.to_string(), node: name.node.clone() }
}

fn encode_service_key(key: &ServiceKey) -> pb::ServiceKey {
    pb::ServiceKey {
        cluster: key.cluster.to_string(),
        namespace: key.name.namespace.clone(),
        name: key.name.name.clone(),
    }
}

fn encode_endpoint_key(key: &EndpointKey) -> pb::EndpointKey {
    pb::EndpointKey { service: Some(encode_service_key(&key.service)), name: key.name.clone() }
}

fn encode_service_port(port: &ServicePort) -> pb::Port {
    let app_protocol = port.app_protocol.clone();
    pb::Port { app_protocol, ..encode_port(&port.name, port.protocol, port.port) }
}

fn encode_port(name: &str, protocol: Protocol, port: Port) -> pb::Port {
    pb::Port {
        name: name.to_string(),
        protocol: encode_protocol(protocol).into(),
        port: u32::from(port.get()),
        app_protocol: String::new(),
    }
}

fn encode_protocol(protocol: Protocol) -> pb::Protocol {
    match protocol {
        Protocol::Tcp => pb::Protocol::Tcp,
        Protocol::Udp => pb::Protocol::Udp,
        Protocol::Sctp => pb::Protocol::Sctp,
    }
}

/// An address as it travels: 4 or 16 bytes.
pub fn encode_ip(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Names of services as they travel.
pub fn encode_service_names<'a>(names: impl IntoIterator<Item = &'a ObjectName>) -> Vec<pb::ServiceName> {
    let name =
        |name: &ObjectName| pb::ServiceName { namespace: name.namespace.clone(), name: name.name.clone() };
    names.into_iter().map(name).collect()
}

/// Ids of generations as they travel.
pub fn encode_generations(ids: &[GenerationId]) -> Vec<Vec<u8>> {
    ids.iter().map(|id| id.0.to_vec()).collect()
}

fn encode_nets(nets: &[IpNet]) -> Vec<pb::Prefix> {
    nets.iter()
        .map(|net| pb::Prefix { address: encode_ip(&net.network()), length: u32::from(net.prefix_len()) })
        .collect()
}
