//! From protobuf to `model`: the border. What passes it is right from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::mesh::{self, Encapsulate, Encryption, Gateway, Granularity, Rekeying, Transport};
use model::{
    Change, Cluster, ClusterId, ClusterName, Endpoint, EndpointKey, EndpointPort, GenerationId, Key, Node,
    NodeMesh, NodeName, Object, ObjectName, Port, Protocol, PublicKey, ServiceKey, Topology,
};
use prost::Message;

mod peer;
mod policy;
mod reach;
mod service;

use crate::{ParseError, limits, pb};

pub use reach::parse_reach;

/// A change that could not be read, and what it was about if that could.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// What it was about.
    pub key: Option<Key>,
    /// Why it could not be read.
    #[source]
    pub error: ParseError,
}

/// Reads one change of a batch.
pub fn decode_change(bytes: &[u8]) -> Result<Change, Box<Unreadable>> {
    match pb::Change::decode(bytes) {
        Ok(change) => parse_change(change),
        Err(error) => Err(unreadable(None, ParseError::Protobuf(error.to_string()))),
    }
}

/// Parses a change.
pub fn parse_change(change: pb::Change) -> Result<Change, Box<Unreadable>> {
    use pb::change::Change as Body;
    match change.change {
        None => Err(unreadable(None, ParseError::Missing("change"))),
        Some(Body::Upsert(object)) => {
            let key = key_of(&object);
            match parse_object(object) {
                Ok(object) => Ok(Change::Upsert(object)),
                Err(error) => Err(unreadable(key, error)),
            }
        }
        Some(Body::Delete(key)) => match parse_key(key) {
            Ok(key) => Ok(Change::Delete(key)),
            Err(error) => Err(unreadable(None, error)),
        },
    }
}

fn unreadable(key: Option<Key>, error: ParseError) -> Box<Unreadable> {
    Box::new(Unreadable { key, error })
}

/// What an object is about, even if the rest of it is wrong.
fn key_of(object: &pb::Object) -> Option<Key> {
    use pb::object::Object as Body;
    match object.object.as_ref()? {
        Body::Cluster(c) => Some(Key::Cluster(ClusterName::new(&*c.name).ok()?)),
        Body::Node(n) => Some(Key::Node(node_name(n.name.clone()?).ok()?)),
        Body::Peer(p) => Some(Key::Peer(peer::peer_name(p.name.clone()).ok()?)),
        Body::Policy(p) => Some(Key::Policy(policy::policy_name(p.name.clone()).ok()?)),
        Body::Namespace(n) => Some(Key::Namespace(policy::namespace_name(n.name.clone()).ok()?)),
        Body::Pod(p) => Some(Key::Pod(policy::pod_name(p.name.clone()).ok()?)),
        Body::Service(s) => Some(Key::Service(service_key(s.key.clone()).ok()?)),
        Body::Import(i) => Some(Key::Import(service_key(i.key.clone()).ok()?)),
        Body::Endpoint(e) => Some(Key::Endpoint(endpoint_key(e.key.clone()).ok()?)),
    }
}

/// Parses a key.
pub fn parse_key(key: pb::Key) -> Result<Key, ParseError> {
    use pb::key::Key as Body;
    Ok(match key.key.ok_or(ParseError::Missing("key"))? {
        Body::Cluster(name) => Key::Cluster(ClusterName::new(name)?),
        Body::Node(name) => Key::Node(node_name(name)?),
        Body::Peer(name) => Key::Peer(peer::peer_name(Some(name))?),
        Body::Policy(name) => Key::Policy(policy::policy_name(Some(name))?),
        Body::Namespace(name) => Key::Namespace(policy::namespace_name(Some(name))?),
        Body::Pod(name) => Key::Pod(policy::pod_name(Some(name))?),
        Body::Service(key) => Key::Service(service_key(Some(key))?),
        Body::Import(key) => Key::Import(service_key(Some(key))?),
        Body::Endpoint(key) => Key::Endpoint(endpoint_key(Some(key))?),
    })
}

/// Parses an object.
pub fn parse_object(object: pb::Object) -> Result<Object, ParseError> {
    use pb::object::Object as Body;
    Ok(match object.object.ok_or(ParseError::Missing("object"))? {
        Body::Cluster(cluster) => Object::Cluster(parse_cluster(cluster)?),
        Body::Node(n) => Object::Node(node(n)?),
        Body::Peer(p) => Object::Peer(peer::peer(p)?),
        Body::Policy(p) => Object::Policy(policy::policy(p)?),
        Body::Namespace(n) => Object::Namespace(policy::namespace(n)?),
        Body::Pod(p) => Object::Pod(policy::pod(p)?),
        Body::Service(s) => Object::Service(service::service(s)?),
        Body::Import(i) => Object::Import(service::import(i)?),
        Body::Endpoint(e) => Object::Endpoint(endpoint(e)?),
    })
}

/// Parses a cluster.
pub fn parse_cluster(cluster: pb::Cluster) -> Result<Cluster, ParseError> {
    Ok(Cluster {
        name: ClusterName::new(cluster.name)?,
        id: ClusterId::new(u64::from(cluster.id))?,
        pod_cidrs: nets("pod CIDRs", cluster.pod_cidrs)?,
        service_cidrs: nets("service CIDRs", cluster.service_cidrs)?,
        clusterset_cidrs: nets("clusterset CIDRs", cluster.clusterset_cidrs)?,
        peer_cidrs: nets("peer CIDRs", cluster.peer_cidrs)?,
    })
}

fn node(n: pb::Node) -> Result<Node, ParseError> {
    let pod_cidrs = nets("pod CIDRs", n.pod_cidrs)?;
    one_of_each("a node's pod CIDRs", pod_cidrs.iter().map(|net| net.addr()))?;
    Ok(Node {
        name: node_name(n.name.ok_or(ParseError::Missing("a node's name"))?)?,
        topology: Topology {
            provider: place("provider", n.provider)?,
            region: place("region", n.region)?,
            zone: place("zone", n.zone)?,
        },
        location: place("location", n.location)?,
        private_ips: parse_ips("private addresses", &n.private_ips, limits::NODE_IPS)?,
        public_ips: parse_ips("public addresses", &n.public_ips, limits::NODE_IPS)?,
        pod_cidrs,
        public_key: parse_public_key(&n.public_key)?,
        port: u16::try_from(n.port).map_err(|_| range("a node's port", n.port, 0))?,
        labels: labels(n.labels)?,
        mesh: n.mesh.map(node_mesh).transpose()?.unwrap_or_default(),
    })
}

fn node_mesh(m: pb::NodeMesh) -> Result<NodeMesh, ParseError> {
    let endpoint = text("a tunnel's endpoint", m.endpoint, 0, mesh::Endpoint::MAX_CHARS)?;
    let endpoint = (!endpoint.is_empty()).then(|| endpoint.parse().map_err(ParseError::Endpoint));
    let keepalive = m.keepalive.map(|seconds| {
        u16::try_from(seconds).map_err(|_| range("a node's persistent keepalive", seconds, 0))
    });
    Ok(NodeMesh {
        granularity: match pb::Granularity::try_from(m.granularity).unwrap_or_default() {
            pb::Granularity::Full => Granularity::Full,
            pb::Granularity::Location => Granularity::Location,
            pb::Granularity::Cross => Granularity::Cross,
        },
        gateway: match pb::Gateway::try_from(m.gateway).unwrap_or_default() {
            pb::Gateway::Neutral => Gateway::Neutral,
            pb::Gateway::Wanted => Gateway::Wanted,
            pb::Gateway::Unwanted => Gateway::Unwanted,
        },
        endpoint: endpoint.transpose()?,
        keepalive: keepalive.transpose()?,
        allowed_location_ips: nets("allowed location IPs", m.allowed_location_ips)?,
        rekeying: Rekeying {
            next_key: parse_public_key(&m.next_key)?,
            knows_two: m.knows_two_keys,
            requested: m.key_requested,
        },
        knows_groups: m.knows_groups,
        reach: m.reach.map(parse_reach).transpose()?.unwrap_or_default(),
        encryption: match pb::Encryption::try_from(m.encryption).unwrap_or_default() {
            pb::Encryption::All => Encryption::All,
            pb::Encryption::Mesh => Encryption::Mesh,
        },
        encapsulate: match pb::Encapsulate::try_from(m.encapsulate).unwrap_or_default() {
            pb::Encapsulate::Always => Encapsulate::Always,
            pb::Encapsulate::CrossSubnet => Encapsulate::CrossSubnet,
            pb::Encapsulate::Never => Encapsulate::Never,
        },
        takes: parse_transports(&m.takes),
        generations: parse_generations(&m.generations)?,
    })
}

/// Ways of packets; those that this version does not know are passed over.
pub fn parse_transports(transports: &[i32]) -> BTreeSet<Transport> {
    let one = |transport: &i32| match pb::Transport::try_from(*transport).ok()? {
        pb::Transport::Wireguard => Some(Transport::Wireguard),
        pb::Transport::Vxlan => Some(Transport::Vxlan),
        pb::Transport::Plain => Some(Transport::Plain),
    };
    transports.iter().filter_map(one).collect()
}

/// Parses ids of generations.
pub fn parse_generations(ids: &[Vec<u8>]) -> Result<Vec<GenerationId>, ParseError> {
    few("generations of pre-shared keys", ids.len(), GenerationId::MOST)?;
    let id = |bytes: &Vec<u8>| match bytes.as_slice().try_into() {
        Ok(id) => Ok(GenerationId(id)),
        Err(_) => Err(ParseError::Generation(bytes.len())),
    };
    ids.iter().map(id).collect()
}

fn endpoint(e: pb::Endpoint) -> Result<Endpoint, ParseError> {
    let ips = parse_ips("an endpoint's addresses", &e.ips, 2)?;
    one_of_each("an endpoint's addresses", ips.iter().copied())?;
    Ok(Endpoint {
        key: endpoint_key(e.key)?,
        ips,
        ports: few("ports", e.ports.len(), limits::PORTS)
            .and_then(|()| e.ports.into_iter().map(endpoint_port).collect())?,
        node: e.node.map(node_name).transpose()?,
        ready: e.ready,
        serving: e.serving,
        terminating: e.terminating,
        weight: u16::try_from(e.weight).map_err(|_| range("an endpoint's weight", e.weight, 0))?,
        labels: labels(e.labels)?,
        hostname: text("a host name", e.hostname, 0, limits::HOSTNAME_CHARS)?,
        hints: service::hints(e.hints.unwrap_or_default())?,
    })
}

fn node_name(name: pb::NodeName) -> Result<NodeName, ParseError> {
    Ok(NodeName::new(ClusterName::new(name.cluster)?, name.node)?)
}

fn service_key(key: Option<pb::ServiceKey>) -> Result<ServiceKey, ParseError> {
    let key = key.ok_or(ParseError::Missing("a service's key"))?;
    Ok(ServiceKey {
        cluster: ClusterName::new(key.cluster)?,
        name: ObjectName::new(key.namespace, key.name)?,
    })
}

fn endpoint_key(key: Option<pb::EndpointKey>) -> Result<EndpointKey, ParseError> {
    let key = key.ok_or(ParseError::Missing("an endpoint's key"))?;
    Ok(EndpointKey {
        service: service_key(key.service)?,
        name: text("an endpoint's name", key.name, 1, limits::ENDPOINT_NAME_CHARS)?,
    })
}

fn endpoint_port(p: pb::Port) -> Result<EndpointPort, ParseError> {
    let (name, protocol, port) = port(p.name, p.protocol, p.port)?;
    Ok(EndpointPort { name, protocol, port })
}

fn port(name: String, of: i32, port: u32) -> Result<(String, Protocol, Port), ParseError> {
    let protocol = protocol(of)?;
    Ok((text("a port's name", name, 0, limits::PORT_NAME_CHARS)?, protocol, number("a port", port)?))
}

fn protocol(number: i32) -> Result<Protocol, ParseError> {
    match pb::Protocol::try_from(number) {
        Ok(pb::Protocol::Tcp) => Ok(Protocol::Tcp),
        Ok(pb::Protocol::Udp) => Ok(Protocol::Udp),
        Ok(pb::Protocol::Sctp) => Ok(Protocol::Sctp),
        Ok(pb::Protocol::Unspecified) | Err(_) => Err(ParseError::Protocol(number)),
    }
}

fn number(field: &'static str, port: u32) -> Result<Port, ParseError> {
    u16::try_from(port).ok().and_then(Port::new).ok_or_else(|| range(field, port, 1))
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ParseError> {
    few("labels", labels.len(), limits::LABELS)?;
    labels
        .into_iter()
        .map(|(key, value)| {
            Ok((
                text("a label's key", key, 1, limits::LABEL_KEY_CHARS)?,
                text("a label's value", value, 0, limits::LABEL_VALUE_CHARS)?,
            ))
        })
        .collect()
}

/// Parses names of services.
pub fn parse_service_names(
    names: Vec<pb::ServiceName>,
    max: usize,
) -> Result<BTreeSet<ObjectName>, ParseError> {
    few("services", names.len(), max)?;
    names.into_iter().map(|name| Ok(ObjectName::new(name.namespace, name.name)?)).collect()
}

/// Parses names of clusters.
pub fn parse_clusters(names: Vec<String>) -> Result<BTreeSet<ClusterName>, ParseError> {
    few("clusters", names.len(), limits::CLUSTERS)?;
    names.into_iter().map(|name| Ok(ClusterName::new(name)?)).collect()
}

/// Parses a WireGuard key; no bytes are none.
pub fn parse_public_key(bytes: &[u8]) -> Result<Option<PublicKey>, ParseError> {
    match bytes {
        [] => Ok(None),
        _ => Ok(Some(PublicKey(bytes.try_into().map_err(|_| ParseError::PublicKey(bytes.len()))?))),
    }
}

/// Parses addresses of hosts.
pub fn parse_ips(field: &'static str, ips: &[Vec<u8>], max: usize) -> Result<Vec<IpAddr>, ParseError> {
    few(field, ips.len(), max)?;
    ips.iter()
        .map(|bytes| {
            let address = ip(field, bytes)?;
            if address.is_unspecified() || address.is_multicast() || mapped(&address) {
                return Err(ParseError::NoHost { field, address });
            }
            Ok(address)
        })
        .collect()
}

fn ip(field: &'static str, bytes: &[u8]) -> Result<IpAddr, ParseError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(octets))
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        Ok(IpAddr::from(octets))
    } else {
        Err(ParseError::Address { field, bytes: bytes.len() })
    }
}

/// `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2): one host under two spellings, which a check of ranges would miss.
fn mapped(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn nets(field: &'static str, prefixes: Vec<pb::Prefix>) -> Result<Vec<IpNet>, ParseError> {
    few(field, prefixes.len(), limits::RANGES)?;
    prefixes.iter().map(|prefix| net(field, prefix)).collect()
}

fn net(field: &'static str, prefix: &pb::Prefix) -> Result<IpNet, ParseError> {
    let address = ip(field, &prefix.address)?;
    let wrong = ParseError::Prefix { field, address, length: prefix.length };
    match u8::try_from(prefix.length).ok().and_then(|length| IpNet::new(address, length).ok()) {
        Some(net) if net.network() == address && !mapped(&address) => Ok(net),
        _ => Err(wrong),
    }
}

fn one_of_each(field: &'static str, ips: impl Iterator<Item = IpAddr>) -> Result<(), ParseError> {
    let (v4, v6): (Vec<_>, Vec<_>) = ips.partition(IpAddr::is_ipv4);
    if v4.len() > 1 || v6.len() > 1 { Err(ParseError::TwoOfFamily(field)) } else { Ok(()) }
}

fn few(field: &'static str, count: usize, max: usize) -> Result<(), ParseError> {
    if count > max { Err(ParseError::TooMany { field, count, max }) } else { Ok(()) }
}

/// Text from `min` to `max` printable ASCII characters.
fn text(field: &'static str, value: String, min: usize, max: usize) -> Result<String, ParseError> {
    let good = (min..=max).contains(&value.len()) && value.chars().all(|c| c.is_ascii_graphic());
    if good {
        Ok(value)
    } else {
        Err(ParseError::Text { field, value: value.chars().take(80).collect(), max })
    }
}

fn place(field: &'static str, value: String) -> Result<String, ParseError> {
    text(field, value, 0, limits::PLACE_CHARS)
}

fn range(field: &'static str, value: u32, min: u64) -> ParseError {
    ParseError::Range { field, value: u64::from(value), min, max: u64::from(u16::MAX) }
}

#[cfg(test)]
mod tests;
