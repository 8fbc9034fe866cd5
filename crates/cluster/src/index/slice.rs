//! What is kept of an EndpointSlice: its endpoints, by the name each has in the service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use model::{ClusterName, EndpointKey, EndpointPort, NodeName};

use super::pod::{Pod, number, protocol};
use super::service::{Service, weight};

/// The label that says which service a slice is for.
const SERVICE: &str = "kubernetes.io/service-name";

/// A slice, pruned to what services need of it.
#[derive(Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) service: String,
    /// The pod's name, or the address, and what is said of it.
    pub(super) endpoints: BTreeMap<String, Given>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// Whether its name is that of a pod.
    pub(super) pod: bool,
    ips: Vec<IpAddr>,
    ports: Vec<EndpointPort>,
    node: Option<Box<str>>,
    ready: bool,
    serving: bool,
    terminating: bool,
    weight: u16,
}

impl Slice {
    /// None for a slice that is for no service, or of names instead of addresses.
    pub(super) fn new(object: &EndpointSlice) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE)?.clone();
        if !matches!(object.address_type.as_str(), "IPv4" | "IPv6") {
            return None;
        }
        let ports: Vec<EndpointPort> = object
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                Some(EndpointPort {
                    name: port.name.clone().unwrap_or_default(),
                    protocol: protocol(port.protocol.as_deref())?,
                    port: number(port.port?)?,
                })
            })
            .collect();
        let mut endpoints = BTreeMap::new();
        for endpoint in &object.endpoints {
            // Kubernetes: the addresses of one endpoint are interchangeable, consumers use the first.
            let Some(ip) = endpoint.addresses.iter().find_map(|ip| ip.parse().ok()) else { continue };
            let given = given(endpoint, ip, &ports, weight(object.metadata.annotations.as_ref()));
            let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
            let name = pod.and_then(|target| target.name.clone()).unwrap_or_else(|| ip.to_string());
            endpoints.insert(name, given);
        }
        Some(Self { service, endpoints })
    }
}

fn given(endpoint: &Endpoint, ip: IpAddr, ports: &[EndpointPort], weight: u16) -> Given {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    Given {
        pod: endpoint.target_ref.as_ref().is_some_and(|target| target.kind.as_deref() == Some("Pod")),
        ips: vec![ip],
        ports: ports.to_vec(),
        node: endpoint.node_name.as_deref().map(Into::into),
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        weight,
    }
}

/// What all slices of a service say of one endpoint, as one: slices have one family each.
pub(super) fn endpoint<'a>(
    service: &Service,
    name: &str,
    given: impl IntoIterator<Item = &'a Given>,
    pod: Option<&Pod>,
) -> Option<model::Endpoint> {
    let mut given = given.into_iter();
    let mut all = given.next()?.clone();
    for more in given {
        all.ips.extend(&more.ips);
        all.ports
            .extend(more.ports.iter().filter(|port| !all.ports.contains(port)).cloned().collect::<Vec<_>>());
        all.node = all.node.or_else(|| more.node.clone());
        all.ready &= more.ready;
        all.serving &= more.serving;
        all.terminating |= more.terminating;
    }
    let ips = service.visible(all.ips);
    if ips.is_empty() {
        return None;
    }
    // A slice may carry ports that the service does not have; nobody can dial them.
    all.ports.retain(|port| {
        service.protocol_of(&port.name) == Some(port.protocol) || service.said.ports.is_empty()
    });
    Some(model::Endpoint {
        key: EndpointKey { service: service.said.key.clone(), name: name.to_string() },
        ips,
        ports: all.ports,
        node: node_name(&service.said.key.cluster, all.node.as_deref()),
        ready: all.ready,
        serving: all.serving,
        terminating: all.terminating,
        weight: all.weight,
        labels: pod.filter(|_| all.pod).map(Pod::label_map).unwrap_or_default(),
    })
}

/// The node of this cluster with this name.
pub(super) fn node_name(cluster: &ClusterName, node: Option<&str>) -> Option<NodeName> {
    NodeName::new(cluster.clone(), node?).ok()
}
