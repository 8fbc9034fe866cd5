//! How nodes take part in the mesh: what the settings say, and what annotations say of single nodes. Kilo's annotations
//! (`kilo.squat.ai/…`) are read as they are; of two that say the same thing ours (`causeway.io/…`) counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use model::NodeMesh;
use model::mesh::{Encapsulate, Encryption, Endpoint, Gateway, Granularity};

use super::complaint::{complain, short, some};
use super::node::{REGION, get};
use crate::Complaint;

/// Whose annotations are read, in the order in which they count.
const PREFIXES: [&str; 2] = ["causeway.io", "kilo.squat.ai"];
/// As many ranges may be behind one node.
const RANGES: usize = 64;

/// Which nodes have tunnels to which, and what says where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meshing {
    /// With whom nodes have tunnels.
    pub granularity: Granularity,
    /// Where what they send is encrypted.
    pub encryption: Encryption,
    /// Which of what is not encrypted travels in VXLAN.
    pub encapsulate: Encapsulate,
    /// What holds otherwise for nodes of single locations.
    pub locations: BTreeMap<String, OfLocation>,
    /// The label that names a node's location, where no annotation does.
    pub topology_label: String,
}

/// What holds for the nodes of one location; nothing: as for the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfLocation {
    /// As [`Meshing::granularity`].
    pub granularity: Option<Granularity>,
    /// As [`Meshing::encryption`].
    pub encryption: Option<Encryption>,
    /// As [`Meshing::encapsulate`].
    pub encapsulate: Option<Encapsulate>,
}

impl Default for Meshing {
    fn default() -> Self {
        Self {
            granularity: Granularity::default(),
            encryption: Encryption::default(),
            encapsulate: Encapsulate::default(),
            locations: BTreeMap::new(),
            topology_label: REGION.into(),
        }
    }
}

/// The name of the node's location: what was chosen for it, as annotation or label, else what the label of topology
/// says.
pub fn location<'a>(object: &'a Node, topology_label: &str) -> Option<&'a str> {
    let labels = object.metadata.labels.as_ref();
    let annotations = object.metadata.annotations.as_ref();
    let chosen = PREFIXES.iter().find_map(|prefix| {
        let key = format!("{prefix}/location");
        get(annotations, &key).or_else(|| get(labels, &key))
    });
    chosen.or_else(|| get(labels, topology_label))
}

/// The addresses that somebody gave the node in place of those that it has; none at all disables them.
pub(super) fn forced_private_ips(object: &Node, found: &mut Vec<Complaint>) -> Option<Vec<IpAddr>> {
    let (key, text) = annotation(object, "force-internal-ip")?;
    if matches!(text.trim(), "" | "-") {
        return Some(Vec::new());
    }
    let address = |text: &str| text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse()).ok();
    let ips: Option<Vec<IpAddr>> = text.split(',').map(|text| address(text.trim())).collect();
    if ips.is_none() {
        let message = format!(
            "{key} is {}, which is no address; the node's own count; write one a family, such as 10.0.0.7/24, or - for \
             none",
            short(text)
        );
        complain(found, "ForceInternalIPUnparsable", message);
    }
    ips
}

/// The rest of it.
pub(super) fn part(object: &Node, settings: &Meshing, found: &mut Vec<Complaint>) -> NodeMesh {
    let location = location(object, &settings.topology_label);
    let of_location = location.and_then(|location| settings.locations.get(location));
    let of_location = of_location.copied().unwrap_or_default();
    NodeMesh {
        granularity: of_location.granularity.unwrap_or(settings.granularity),
        encryption: of_location.encryption.unwrap_or(settings.encryption),
        encapsulate: of_location.encapsulate.unwrap_or(settings.encapsulate),
        gateway: gateway(object),
        endpoint: endpoint(object, found),
        keepalive: keepalive(object, found),
        allowed_location_ips: allowed_location_ips(object, found),
        // That is for the node itself to say.
        rekeying: Default::default(),
        knows_groups: false,
        // The agent's to say.
        reach: Default::default(),
        takes: Default::default(),
        generations: Vec::new(),
    }
}

/// Kilo takes the annotation's presence for a yes, `"false"` among others. Here that is a no.
fn gateway(object: &Node) -> Gateway {
    let cordoned = object.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    match annotation(object, "leader") {
        _ if cordoned => Gateway::Unwanted,
        None => Gateway::Neutral,
        Some((_, text)) if ["false", "no", "0"].iter().any(|no| text.trim().eq_ignore_ascii_case(no)) => {
            Gateway::Unwanted
        }
        Some(_) => Gateway::Wanted,
    }
}

fn endpoint(object: &Node, found: &mut Vec<Complaint>) -> Option<Endpoint> {
    let (key, text) = annotation(object, "force-endpoint").filter(|(_, text)| !text.trim().is_empty())?;
    let endpoint = text.trim().parse::<Endpoint>();
    if let Err(error) = &endpoint {
        let message = format!("{key}: {error}; the node's public addresses count until then");
        complain(found, "ForceEndpointUnparsable", message);
    }
    endpoint.ok()
}

fn keepalive(object: &Node, found: &mut Vec<Complaint>) -> Option<u16> {
    let (key, text) =
        annotation(object, "persistent-keepalive").filter(|(_, text)| !text.trim().is_empty())?;
    let seconds = text.trim().parse::<u16>();
    if seconds.is_err() {
        let message =
            format!("{key} is {}; it is left out; write seconds, 0 to 65535, such as 25", short(text));
        complain(found, "PersistentKeepaliveUnparsable", message);
    }
    seconds.ok()
}

fn allowed_location_ips(object: &Node, found: &mut Vec<Complaint>) -> Vec<IpNet> {
    let Some((key, text)) = annotation(object, "allowed-location-ips") else { return Vec::new() };
    let (mut ranges, mut bad) = (Vec::new(), Vec::new());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let range = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
        match range.map(|range| range.trunc()) {
            Ok(range) if ranges.len() < RANGES || ranges.contains(&range) => {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
            _ => bad.push(part.to_string()),
        }
    }
    if !bad.is_empty() {
        let message = format!(
            "{key}: {} cannot be used and is left out; write at most {RANGES} ranges with commas between them, such as \
             192.0.2.0/24",
            some(&bad)
        );
        complain(found, "AllowedLocationIPsUnusable", message);
    }
    ranges
}

/// What the annotation of this name says, and whose it is; possibly an empty text.
fn annotation<'a>(object: &'a Node, name: &str) -> Option<(String, &'a str)> {
    let annotations = object.metadata.annotations.as_ref()?;
    PREFIXES.iter().find_map(|prefix| {
        let key = format!("{prefix}/{name}");
        let text = annotations.get(&key)?;
        Some((key, text.as_str()))
    })
}

#[cfg(test)]
mod tests;
