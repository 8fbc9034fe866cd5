//! What is kept of an EndpointSlice: its endpoints, by the name each has in the service.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1;
use model::{Cluster, ClusterName, EndpointKey, EndpointPort, Hints, NodeName};

use super::complaint::{complain, short, some};
use super::pod::{Pod, in_ranges, port_of};
use super::service::{Service, weight};
use crate::Complaint;

/// The label that says which service a slice is for.
const SERVICE: &str = "kubernetes.io/service-name";

/// As many zones, and as many nodes, as Kubernetes lets an endpoint be meant for.
const MOST_HINTS: usize = 8;
/// The longest name of either, in bytes.
const LONGEST_PLACE: usize = 253;

/// A slice, pruned to what services need of it.
#[derive(Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) service: Box<str>,
    ports: Box<[EndpointPort]>,
    weight: Option<u16>,
    /// By name: the pod's, or the address.
    pub(super) endpoints: Box<[(Box<str>, Given)]>,
}

/// One endpoint of a slice.
#[derive(Debug, PartialEq)]
pub(super) struct Given {
    /// Whether its name is that of a pod.
    pub(super) pod: bool,
    /// Whether a pod can have its address only if it is its node's.
    outside: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    ip: IpAddr,
    node: Option<Box<str>>,
    hints: Option<Box<Hints>>,
    hostname: Option<Box<Box<str>>>,
}

impl Slice {
    /// None for a slice that is for no service, or of no addresses.
    pub(super) fn new(
        object: &v1::EndpointSlice,
        cluster: &Cluster,
        found: &mut Vec<Complaint>,
    ) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE)?;
        let v4 = match object.address_type.as_str() {
            "IPv4" => true,
            "IPv6" => false,
            other => {
                let message = format!(
                    "the addressType is {}, which this version of Causeway makes no use of; none of its endpoints \
                     gets a connection, those of other slices do; use IPv4 or IPv6",
                    short(other)
                );
                complain(found, "UnknownAddressType", message);
                return None;
            }
        };
        let mut endpoints = Vec::with_capacity(object.endpoints.len());
        let mut bad = Vec::new();
        for endpoint in &object.endpoints {
            // Kubernetes: the addresses of one endpoint are interchangeable, consumers use the first.
            let usable = |text: &String| text.parse().ok().filter(|ip| is_address(ip, v4));
            let Some(ip) = endpoint.addresses.iter().find_map(usable) else {
                bad.push(endpoint.addresses.first().cloned().unwrap_or_default());
                continue;
            };
            let target = endpoint.target_ref.as_ref();
            let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
            let pod = pod.and_then(|target| target.name.clone());
            let given = given(endpoint, ip, pod.is_some(), cluster);
            endpoints.push((pod.unwrap_or_else(|| ip.to_string()).into_boxed_str(), given));
        }
        if !bad.is_empty() {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let message = format!(
                "{} can be used as no {family} address of an endpoint; {} of its {} endpoints gets no connections, the \
                 others do; look at whoever writes this slice",
                some(&bad),
                bad.len(),
                object.endpoints.len()
            );
            complain(found, "EndpointAddressUnusable", message);
        }
        endpoints.sort_by(|(a, _), (b, _)| a.cmp(b));
        let all = endpoints.len();
        endpoints.dedup_by(|(a, _), (b, _)| a == b);
        if endpoints.len() < all {
            let message = format!(
                "{} of its endpoints are there twice; one of each counts; look at whoever writes this slice",
                all - endpoints.len()
            );
            complain(found, "EndpointTwice", message);
        }
        Some(Self {
            service: service.as_str().into(),
            ports: ports(object, found),
            weight: weight(object.metadata.annotations.as_ref(), found),
            endpoints: endpoints.into(),
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        let found = self.endpoints.binary_search_by(|(known, _)| (**known).cmp(name));
        found.ok().map(|n| &self.endpoints[n].1)
    }

    /// The names of the endpoints that are not the same in both.
    pub(super) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let whole = self.service != other.service || self.ports != other.ports || self.weight != other.weight;
        let both = [(self, other), (other, self)].into_iter();
        both.flat_map(move |(one, two)| {
            let differs = move |(name, given): &&(Box<str>, Given)| whole || two.get(name) != Some(given);
            one.endpoints.iter().filter(differs).map(|(name, _)| &**name)
        })
    }
}

/// Whether packets can be sent there.
fn is_address(ip: &IpAddr, v4: bool) -> bool {
    let special = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    ip.is_ipv4() == v4 && !special && !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified()
}

fn ports(object: &v1::EndpointSlice, found: &mut Vec<Complaint>) -> Box<[EndpointPort]> {
    let mut ports = Vec::new();
    for port in object.ports.iter().flatten() {
        let name = port.name.clone().unwrap_or_default();
        let what = if name.is_empty() { "its port".into() } else { format!("port {}", short(&name)) };
        let Some(number) = port.port else {
            let message = format!(
                "{what} has no number, which stands for every port; it is left out, the others work; write one port \
                 with its number for each"
            );
            complain(found, "PortWithoutNumber", message);
            continue;
        };
        if let Some((protocol, port)) = port_of(&what, port.protocol.as_deref(), number, found) {
            ports.push(EndpointPort { name, protocol, port });
        }
    }
    ports.into()
}

fn given(endpoint: &v1::Endpoint, ip: IpAddr, pod: bool, cluster: &Cluster) -> Given {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    Given {
        pod,
        outside: pod && !in_ranges(cluster, ip),
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        ip,
        node: endpoint.node_name.as_deref().map(Into::into),
        hints: hints(endpoint).map(Box::new),
        hostname: endpoint
            .hostname
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(|name| Box::new(name.into())),
    }
}

fn hints(endpoint: &v1::Endpoint) -> Option<Hints> {
    let written = endpoint.hints.as_ref()?;
    let usable = |name: &String| !name.is_empty() && name.len() <= LONGEST_PLACE;
    let zones = written.for_zones.iter().flatten().map(|zone| zone.name.clone()).filter(usable);
    let nodes = written.for_nodes.iter().flatten().map(|node| node.name.clone()).filter(usable);
    let (zones, nodes): (Vec<_>, Vec<_>) =
        (zones.take(MOST_HINTS).collect(), nodes.take(MOST_HINTS).collect());
    (!zones.is_empty() || !nodes.is_empty()).then_some(Hints::Given { zones, nodes })
}

/// What all slices of a service say of one endpoint, as one: slices have one family each.
pub(super) fn endpoint<'a>(
    service: &Service,
    name: &str,
    slices: impl IntoIterator<Item = &'a Slice>,
    pod: Option<&Pod>,
) -> Option<model::Endpoint> {
    let given = slices.into_iter().filter_map(|slice| Some((slice, slice.get(name)?)));
    let misplaced = |given: &Given| given.outside && pod.is_some_and(|pod| !pod.host_network);
    let mut given = given.filter(|(_, given)| !misplaced(given)).peekable();
    let (first, _) = given.peek()?;
    let (weight, mut ports) = (first.weight, Vec::new());
    let (mut ips, mut node, mut hints, mut hostname, mut named) = (Vec::new(), None, None, None, false);
    let (mut ready, mut serving, mut terminating) = (true, true, false);
    for (slice, given) in given {
        ips.push(given.ip);
        // A slice may carry ports that the service does not have; nobody can dial them.
        ports.extend(slice.ports.iter().filter(|port| {
            service.said.ports.is_empty() || service.protocol_of(&port.name) == Some(port.protocol)
        }));
        node = node.or(given.node.as_deref());
        hints = hints.or(given.hints.as_deref());
        hostname = hostname.or(given.hostname.as_deref().map(|name| &**name));
        named |= given.pod;
        ready &= given.ready;
        serving &= given.serving;
        terminating |= given.terminating;
    }
    // Which slice comes first depends on names that mean nothing.
    ips.sort_by_key(IpAddr::is_ipv6);
    let ips = service.visible(ips);
    if ips.is_empty() {
        return None;
    }
    let mut distinct: Vec<EndpointPort> = Vec::with_capacity(ports.len());
    for port in ports {
        if !distinct.contains(port) {
            distinct.push(port.clone());
        }
    }
    let pod = pod.filter(|_| named);
    Some(model::Endpoint {
        key: EndpointKey { service: service.said.key.clone(), name: name.to_string() },
        ips,
        ports: distinct,
        node: node_name(&service.said.key.cluster, node),
        ready,
        serving,
        terminating,
        weight: pod.and_then(|pod| pod.weight).or(weight).unwrap_or(1),
        labels: pod.map(|pod| pod.labels.to_map()).unwrap_or_default(),
        hostname: hostname.unwrap_or_default().into(),
        hints: hints.cloned().unwrap_or_default(),
    })
}

/// The node of this cluster with this name.
pub(super) fn node_name(cluster: &ClusterName, node: Option<&str>) -> Option<NodeName> {
    NodeName::new(cluster.clone(), node?).ok()
}
