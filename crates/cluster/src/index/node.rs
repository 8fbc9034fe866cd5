//! Nodes: where they stand and how they are reached.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use model::{Cluster, NodeName, Topology};

use super::complaint::{complain, short, some};
use super::labels::Labels;
use super::mesh;
use crate::Complaint;
use crate::index::Meshing;

/// The port of a node's tunnel, until the node itself says otherwise.
pub const WIREGUARD_PORT: u16 = 51820;

/// The longest name of a provider that counts: a label's value.
const LONGEST_PROVIDER: usize = 63;
pub(super) const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Whose machine a node is, as annotation or label, where `spec.providerID` does not say it or not as wished.
const PROVIDER: &str = "causeway.io/provider";

/// The node as others see it, ranges aside.
pub(super) fn node(
    name: NodeName,
    object: &Node,
    settings: &Meshing,
    found: &mut Vec<Complaint>,
) -> model::Node {
    let labels = object.metadata.labels.as_ref();
    let topology = Topology {
        provider: provider(object).unwrap_or_default().to_string(),
        region: get(labels, REGION).unwrap_or_default().to_string(),
        zone: get(labels, ZONE).unwrap_or_default().to_string(),
    };
    let private_ips =
        mesh::forced_private_ips(object, found).unwrap_or_else(|| addresses(object, "InternalIP", found));
    let location = match private_ips.is_empty() {
        true => name.node.clone(), // nobody shares a private network with it
        false => mesh::location(object, &settings.topology_label).unwrap_or_default().to_string(),
    };
    model::Node {
        location,
        private_ips,
        public_ips: addresses(object, "ExternalIP", found),
        pod_cidrs: Vec::new(),
        public_key: None,
        port: WIREGUARD_PORT,
        labels: Labels::new(labels, found).to_map(),
        mesh: mesh::part(object, settings, found),
        topology,
        name,
    }
}

/// Whose machine it is: what is written for it, else the scheme of `spec.providerID`.
fn provider(object: &Node) -> Option<&str> {
    let metadata = &object.metadata;
    let chosen = get(metadata.annotations.as_ref(), PROVIDER).or(get(metadata.labels.as_ref(), PROVIDER));
    let id = object.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
    let scheme = id.and_then(|id| id.split_once("://")).map(|(scheme, _)| scheme);
    chosen.or(scheme).filter(|name| {
        !name.is_empty() && name.len() <= LONGEST_PROVIDER && name.bytes().all(|b| b.is_ascii_graphic())
    })
}

pub(super) fn get<'a>(map: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    map?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn addresses(object: &Node, type_: &str, found: &mut Vec<Complaint>) -> Vec<IpAddr> {
    let all = object.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let (mut ips, mut bad) = (Vec::new(), Vec::new());
    for entry in all.filter(|entry| entry.type_ == type_) {
        match entry.address.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => bad.push(entry.address.clone()),
        }
    }
    if !bad.is_empty() {
        let message = format!(
            "{} can be read as no IP address; as the node's {type_} it is left out; look at the kubelet's --node-ip or \
             the cloud provider that reported it",
            some(&bad)
        );
        complain(found, "NodeAddressUnparsable", message);
    }
    ips
}

/// The ranges that a node itself asks for.
pub(super) fn written_cidrs(object: &Node) -> Vec<String> {
    let Some(spec) = &object.spec else { return Vec::new() };
    let mut written: Vec<String> = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr).cloned().collect();
    written.retain(|text| !text.is_empty());
    written
}

/// What can be used of the ranges that are written for a node: at most one a family, as Kubernetes has it.
pub(super) fn pod_cidrs(written: &[String], cluster: &Cluster, found: &mut Vec<Complaint>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = Vec::new();
    for text in written {
        let Ok(net) = text.parse::<IpNet>() else {
            let message = format!(
                "the podCIDR {} can be read as no range of addresses; it is left out; write one such as 10.1.0.0/24",
                short(text)
            );
            complain(found, "PodCIDRUnparsable", message);
            continue;
        };
        let net = net.trunc();
        let ranges = &cluster.pod_cidrs;
        if nets.contains(&net) {
            continue;
        }
        if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(&net)) {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            let message = format!(
                "the podCIDR {net} is outside every pod range of cluster {} ({}); no node carries packets there; add \
                 its range to the cluster's podCIDRs, or give the node another",
                cluster.name,
                ranges.join(", ")
            );
            complain(found, "PodCIDROutsideRanges", message);
        } else if let Some(known) = nets.iter().find(|known| known.addr().is_ipv4() == net.addr().is_ipv4()) {
            let message = format!(
                "the podCIDR {net} is a second one of its family; it is left out, {known} counts; give the node one a \
                 family"
            );
            complain(found, "PodCIDRSurplus", message);
        } else {
            nets.push(net);
        }
    }
    nets
}
