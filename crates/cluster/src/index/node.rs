//! Nodes: where they stand and how they are reached.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use model::{NodeName, Topology};

/// The port of a node's tunnel, until the node itself says otherwise.
pub const WIREGUARD_PORT: u16 = 51820;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// What puts a node into a location of its own choosing, as annotation or label; the first one counts.
const LOCATION: [&str; 2] = ["causeway.io/location", "kilo.squat.ai/location"];

/// The node as others see it.
pub(super) fn node(name: NodeName, object: &Node) -> model::Node {
    let labels = object.metadata.labels.as_ref();
    let annotations = object.metadata.annotations.as_ref();
    let topology = Topology {
        region: get(labels, REGION).unwrap_or_default().to_string(),
        zone: get(labels, ZONE).unwrap_or_default().to_string(),
    };
    let private_ips = addresses(object, "InternalIP");
    let chosen = LOCATION.iter().find_map(|key| get(annotations, key).or_else(|| get(labels, key)));
    let location = match private_ips.is_empty() {
        true => name.node.clone(), // nobody shares a private network with it
        false => chosen.unwrap_or(&topology.region).to_string(),
    };
    model::Node {
        location,
        private_ips,
        public_ips: addresses(object, "ExternalIP"),
        pod_cidrs: pod_cidrs(object),
        public_key: None,
        port: WIREGUARD_PORT,
        topology,
        name,
    }
}

fn get<'a>(map: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    map?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn addresses(object: &Node, type_: &str) -> Vec<IpAddr> {
    let all = object.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.filter(|entry| entry.type_ == type_).filter_map(|entry| entry.address.parse().ok()).collect()
}

/// At most one range a family, as Kubernetes has it.
fn pod_cidrs(object: &Node) -> Vec<IpNet> {
    let Some(spec) = &object.spec else { return Vec::new() };
    let written = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut nets: Vec<IpNet> = Vec::new();
    for net in written.filter_map(|text| text.parse::<IpNet>().ok()) {
        if !nets.iter().any(|known| known.addr().is_ipv4() == net.addr().is_ipv4()) {
            nets.push(net.trunc());
        }
    }
    nets
}
