//! What is kept of a pod.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use model::policy::{NamedPort, PodName};
use model::{Cluster, NodeName, ObjectName, Port, Protocol};

use super::Endpoints;
use super::complaint::{complain, short, some};
use super::labels::Labels;
use crate::Complaint;

/// A port that has a name.
type Named = (Arc<str>, Protocol, Port);

/// What many pods of a namespace have alike: the names of their nodes, and their ports.
#[derive(Debug, Default)]
pub(super) struct Shared {
    texts: BTreeSet<Arc<str>>,
    ports: BTreeSet<Arc<[Named]>>,
}

/// As many are shared at most; what comes then, each pod keeps for itself.
const SHARED: usize = 65_536;

impl Shared {
    /// The text, kept once.
    fn text(&mut self, text: &str) -> Arc<str> {
        kept_once(&mut self.texts, text)
    }
}

fn kept_once<T: ?Sized + Ord>(known: &mut BTreeSet<Arc<T>>, value: &T) -> Arc<T>
where
    Arc<T>: for<'a> From<&'a T>,
{
    if let Some(known) = known.get(value) {
        return known.clone();
    }
    if known.len() >= SHARED {
        known.retain(|value| Arc::strong_count(value) > 1);
    }
    let value: Arc<T> = value.into();
    if known.len() < SHARED {
        known.insert(value.clone());
    }
    value
}

/// A pod, pruned to what services and policies need of it.
#[derive(Debug, PartialEq)]
pub(super) struct Pod {
    pub(super) labels: Labels,
    pub(super) node: Option<Arc<str>>,
    /// Those of its addresses that can be its own.
    pub(super) ips: Box<[IpAddr]>,
    ports: Arc<[Named]>,
    pub(super) ready: bool,
    pub(super) terminating: bool,
    /// Whether its addresses are those of its node.
    pub(super) host_network: bool,
    pub(super) weight: Option<u16>,
    /// Whether it has run to its end.
    over: bool,
    /// Its host name, and the service under which it has it. Few have one, so it takes little where there is none.
    hostname: Option<Box<(Box<str>, Box<str>)>>,
}

impl Pod {
    /// What is needed of a pod where endpoints come from there.
    pub(super) fn new(
        object: &v1::Pod,
        cluster: &Cluster,
        endpoints: Endpoints,
        shared: &mut Shared,
        found: &mut Vec<Complaint>,
    ) -> Self {
        let (spec, status) = (object.spec.as_ref(), object.status.as_ref());
        let phase = status.and_then(|status| status.phase.as_deref());
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ip = status.and_then(|status| status.pod_ip.as_ref());
        let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false)
            || ip.is_some() && ip == status.and_then(|status| status.host_ip.as_ref());
        // Slices say whether it is ready, and its host name, themselves.
        let derived = spec.filter(|_| endpoints == Endpoints::FromSelectors);
        Self {
            labels: Labels::new(object.metadata.labels.as_ref(), found),
            node: spec
                .and_then(|spec| spec.node_name.as_deref())
                .filter(|node| !node.is_empty())
                .map(|node| shared.text(node)),
            ports: spec.map(|spec| ports(spec, shared, found)).unwrap_or_else(|| Arc::from([])),
            ready: derived.is_some()
                && conditions
                    .iter()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            ips: status.map(|status| ips(status, host_network, cluster, found)).unwrap_or_default(),
            terminating: object.metadata.deletion_timestamp.is_some(),
            host_network,
            weight: super::service::weight(object.metadata.annotations.as_ref(), found),
            over: matches!(phase, Some("Succeeded" | "Failed")),
            hostname: derived
                .and_then(|spec| Some((spec.hostname.as_deref()?.into(), spec.subdomain.as_deref()?.into())))
                .map(Box::new),
        }
    }

    /// Whether it can be behind a service at all, ready or not (Kubernetes' `ShouldPodBeInEndpoints`).
    pub(super) fn can_serve(&self) -> bool {
        !self.over && !self.ips.is_empty()
    }

    /// The pod as policies see it; none for one that has its node's addresses, or has run to its end.
    pub(super) fn said(&self, name: PodName) -> Option<model::policy::Pod> {
        if self.over || self.host_network || ObjectName::new(&name.namespace.name, &name.name).is_err() {
            return None;
        }
        let node =
            self.node.as_deref().and_then(|node| NodeName::new(name.namespace.cluster.clone(), node).ok());
        let mut ips: Vec<IpAddr> = Vec::new();
        for ip in &self.ips {
            // One of each family, as they travel.
            if !ips.iter().any(|known| known.is_ipv4() == ip.is_ipv4()) && is_host(ip) {
                ips.push(*ip);
            }
        }
        let port = |(name, protocol, port): &Named| NamedPort {
            name: name.to_string(),
            protocol: *protocol,
            port: *port,
        };
        let mut ports: Vec<NamedPort> =
            self.ports.iter().filter(|(name, _, _)| name.len() <= LONGEST_PORT).map(port).collect();
        ports.sort_unstable();
        ports.dedup();
        Some(model::policy::Pod { name, ips, node, labels: self.labels.to_map(), ports })
    }

    /// The addresses that no other pod can have. Those of a pod that ends may already be another's.
    pub(super) fn own_ips(&self) -> &[IpAddr] {
        if self.over || self.terminating || self.host_network { &[] } else { &self.ips }
    }

    /// Its host name among the endpoints of a service; empty when it has none there.
    pub(super) fn hostname_for(&self, service: &str) -> &str {
        let named = self.hostname.as_deref().filter(|(_, subdomain)| **subdomain == *service);
        named.map(|(hostname, _)| &**hostname).unwrap_or_default()
    }

    /// The port a container gave this name to.
    pub(super) fn named_port(&self, name: &str, protocol: Protocol) -> Option<Port> {
        let mut ports = self.ports.iter();
        ports.find(|(known, of, _)| **known == *name && *of == protocol).map(|(_, _, port)| *port)
    }
}

/// Whether an address can be one pod's.
fn is_host(ip: &IpAddr) -> bool {
    let mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    !(ip.is_unspecified() || ip.is_multicast() || mapped)
}

/// The longest name of a port that travels, in bytes.
const LONGEST_PORT: usize = 63;

/// Whether a pod of the cluster can have this address of its own.
pub(super) fn in_ranges(cluster: &Cluster, ip: IpAddr) -> bool {
    cluster.pod_cidrs.is_empty() || cluster.pod_cidrs.iter().any(|range| range.contains(&ip))
}

fn ips(
    status: &v1::PodStatus,
    host_network: bool,
    cluster: &Cluster,
    found: &mut Vec<Complaint>,
) -> Box<[IpAddr]> {
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut written: Vec<&str> = listed.collect();
    if written.is_empty() {
        written.extend(status.pod_ip.as_deref().filter(|ip| !ip.is_empty()));
    }
    let (mut ips, mut unreadable, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    for text in written {
        match text.parse::<IpAddr>() {
            Err(_) => unreadable.push(text.to_string()),
            Ok(ip) if host_network || in_ranges(cluster, ip) => ips.push(ip),
            Ok(_) => outside.push(text.to_string()),
        }
    }
    if !unreadable.is_empty() {
        let message = format!(
            "{} can be read as no IP address; nothing is sent there; look at the network plugin that reported it",
            some(&unreadable)
        );
        complain(found, "PodIPUnparsable", message);
    }
    if !outside.is_empty() {
        let ranges: Vec<String> = cluster.pod_cidrs.iter().map(ToString::to_string).collect();
        let message = format!(
            "{} is outside every pod range of cluster {} ({}); the pod is behind no service, because no node would \
             carry packets there; add its range to the cluster's podCIDRs, or recreate the pod with the right network \
             plugin",
            some(&outside),
            cluster.name,
            ranges.join(", ")
        );
        complain(found, "PodIPOutsideRanges", message);
    }
    ips.into()
}

/// The named ports of containers, sidecars (restarted init containers) included.
fn ports(spec: &v1::PodSpec, shared: &mut Shared, found: &mut Vec<Complaint>) -> Arc<[Named]> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let mut ports = Vec::new();
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let what = format!("port {}", short(name));
        if let Some((protocol, number)) = port_of(&what, port.protocol.as_deref(), port.container_port, found)
        {
            ports.push((shared.text(name), protocol, number));
        }
    }
    kept_once(&mut shared.ports, &ports)
}

/// Protocol and number of a port, if both can be used. `what` begins the sentence about one that cannot.
pub(super) fn port_of(
    what: &str,
    protocol: Option<&str>,
    number: i32,
    found: &mut Vec<Complaint>,
) -> Option<(Protocol, Port)> {
    let known = match protocol {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(other) => {
            let message = format!(
                "{what} has the protocol {}, which this version of Causeway does not know; the port is left out, the \
                 others work; use TCP, UDP or SCTP",
                short(other)
            );
            complain(found, "UnknownProtocol", message);
            None
        }
    };
    let port = u16::try_from(number).ok().and_then(Port::new);
    if port.is_none() {
        let message = format!(
            "{what} has the number {number}, which is none; the port is left out, the others work; use 1 to 65535"
        );
        complain(found, "PortOutOfRange", message);
    }
    known.zip(port)
}
