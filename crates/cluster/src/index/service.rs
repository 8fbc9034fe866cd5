//! What is kept of a service, and how a pod looks through it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::{EndpointPort, Hints, Port, Protocol, ServiceKey, ServicePort, Spread};

use super::access::{access, hints};
use super::complaint::{complain, short, some};
use super::pod::{Pod, port_of};
use super::traffic::Joined;
use crate::Complaint;

/// The annotations, of a pod or a slice, that give its endpoints their weight.
pub(crate) const WEIGHT: [&str; 2] = ["causeway.io/weight", "service.cilium.io/weight"];
/// The heaviest an endpoint can be: one is picked out of this many places for it.
pub(crate) const HEAVIEST: u16 = 100;

/// The weight that annotations give, if any.
pub(super) fn weight(
    annotations: Option<&BTreeMap<String, String>>,
    found: &mut Vec<Complaint>,
) -> Option<u16> {
    let (key, written) = WEIGHT.iter().find_map(|key| Some((key, annotations?.get(*key)?)))?;
    let weight = written.parse::<u16>().ok().filter(|weight| *weight <= HEAVIEST);
    if weight.is_none() {
        let message = format!(
            "the annotation {key} is {}, which is no weight; it counts as left out; write a whole number from 0 to \
             {HEAVIEST}",
            short(written)
        );
        complain(found, "WeightOutOfRange", message);
    }
    weight
}

/// Where a port of the service is on its pods.
#[derive(Debug, PartialEq)]
enum Target {
    Number(Port),
    Name(String),
}

/// A service, with what is said of it to others.
#[derive(Debug, PartialEq)]
pub(super) struct Service {
    pub(super) said: model::Service,
    /// Empty when its endpoints come from elsewhere.
    pub(super) selector: BTreeMap<String, String>,
    targets: Vec<Target>,
    /// What it would have its import be, if it is exported.
    pub(super) terms: model::Terms,
    v4: bool,
    v6: bool,
    publish_not_ready: bool,
    /// For endpoints that nobody else writes hints for.
    hints: Hints,
}

impl Service {
    /// None for a service that is only a name for something else. `unsaid` is how backends stand to each other where it does
    /// not say.
    pub(super) fn new(
        key: ServiceKey,
        object: &v1::Service,
        unsaid: Spread,
        found: &mut Vec<Complaint>,
    ) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        words(spec, found);
        let vips = virtual_addresses(spec, found);
        let (v4, v6) = families(spec, &vips);
        let mut ports = Vec::new();
        let mut targets = Vec::new();
        for port in spec.ports.iter().flatten() {
            let name = port.name.as_deref().unwrap_or_default();
            let what = if name.is_empty() { "its port".into() } else { format!("port {}", short(name)) };
            let Some((protocol, number)) = port_of(&what, port.protocol.as_deref(), port.port, found) else {
                continue;
            };
            ports.push(ServicePort {
                name: port.name.clone().unwrap_or_default(),
                protocol,
                port: number,
                app_protocol: port.app_protocol.clone().unwrap_or_default(),
            });
            targets.push(target(port.target_port.as_ref(), number, &what, found));
        }
        let Joined { global, shared, traffic } =
            Joined::new(object.metadata.annotations.as_ref(), unsaid, found);
        let access = access(&object.metadata, spec, object.status.as_ref(), &ports, found);
        let terms = super::export::terms(spec, &vips, &access);
        Some(Self {
            hints: hints(&object.metadata, spec),
            said: model::Service {
                key,
                vips,
                ports,
                headless: spec.cluster_ip.as_deref() == Some("None"),
                global,
                shared,
                traffic,
                export: None,
                access,
            },
            selector: spec.selector.clone().unwrap_or_default(),
            targets,
            terms,
            v4,
            v6,
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        })
    }

    pub(super) fn selects(&self, pod: &Pod) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| pod.labels.has(key, value))
    }

    /// Whether it lets the same pods in as another.
    pub(super) fn sees_alike(&self, other: &Self) -> bool {
        self.selector == other.selector && (self.v4, self.v6) == (other.v4, other.v6)
    }

    /// The first address of each family the service has.
    pub(super) fn visible(&self, ips: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let (mut v4, mut v6) = (self.v4, self.v6);
        let wanted = |ip: &IpAddr| std::mem::replace(if ip.is_ipv4() { &mut v4 } else { &mut v6 }, false);
        ips.into_iter().filter(wanted).collect()
    }

    /// The pod as an endpoint, unless it has no address that the service could use.
    pub(super) fn endpoint(&self, name: &str, pod: &Pod) -> Option<model::Endpoint> {
        let ips = self.visible(pod.ips.iter().copied());
        if !pod.can_serve() || ips.is_empty() {
            return None;
        }
        let ports = self.said.ports.iter().zip(&self.targets).filter_map(|(port, target)| {
            let number = match target {
                Target::Number(number) => Some(*number),
                Target::Name(name) => pod.named_port(name, port.protocol),
            };
            Some(EndpointPort { name: port.name.clone(), protocol: port.protocol, port: number? })
        });
        let ready = self.publish_not_ready || (pod.ready && !pod.terminating);
        Some(model::Endpoint {
            key: model::EndpointKey { service: self.said.key.clone(), name: name.to_string() },
            ips,
            ports: ports.collect(),
            node: super::slice::node_name(&self.said.key.cluster, pod.node.as_deref()),
            ready,
            serving: pod.ready,
            terminating: pod.terminating,
            weight: pod.weight.unwrap_or(1),
            labels: pod.labels.to_map(),
            hostname: pod.hostname_for(&self.said.key.name.name).into(),
            // As Kubernetes' controller does: an endpoint that is not ready is hinted to nobody.
            hints: if ready { self.hints.clone() } else { Hints::None },
        })
    }

    /// The protocol of one of its ports.
    pub(super) fn protocol_of(&self, port: &str) -> Option<Protocol> {
        self.said.ports.iter().find(|known| known.name == port).map(|known| known.protocol)
    }
}

fn target(written: Option<&IntOrString>, port: Port, what: &str, found: &mut Vec<Complaint>) -> Target {
    match written {
        Some(IntOrString::String(name)) if !name.is_empty() => Target::Name(name.clone()),
        // Kubernetes reads 0 as left out.
        None | Some(IntOrString::String(_) | IntOrString::Int(0)) => Target::Number(port),
        Some(IntOrString::Int(target)) => match u16::try_from(*target).ok().and_then(Port::new) {
            Some(target) => Target::Number(target),
            None => {
                let message = format!(
                    "{what} has the targetPort {target}, which is none; its own number {port} counts instead; use 1 \
                     to 65535"
                );
                complain(found, "PortOutOfRange", message);
                Target::Number(port)
            }
        },
    }
}

/// The words a service is made of, each with those we know and what counts instead of another.
fn words(spec: &v1::ServiceSpec, found: &mut Vec<Complaint>) {
    let types = &["ClusterIP", "NodePort", "LoadBalancer"][..];
    let scopes = &["Cluster", "Local"][..];
    let near = &["PreferClose", "PreferSameZone", "PreferSameNode"][..];
    let families = spec.ip_families.iter().flatten().map(|family| {
        ("UnknownIPFamily", "ipFamilies", Some(family), &["IPv4", "IPv6"][..], "it counts as not there")
    });
    let single = [
        ("UnknownServiceType", "type", spec.type_.as_ref(), types, "the service counts as a ClusterIP"),
        (
            "UnknownTrafficPolicy",
            "internalTrafficPolicy",
            spec.internal_traffic_policy.as_ref(),
            scopes,
            "Cluster counts instead",
        ),
        (
            "UnknownTrafficPolicy",
            "externalTrafficPolicy",
            spec.external_traffic_policy.as_ref(),
            scopes,
            "Cluster counts instead",
        ),
        (
            "UnknownTrafficDistribution",
            "trafficDistribution",
            spec.traffic_distribution.as_ref(),
            near,
            "it counts as left out",
        ),
        (
            "UnknownSessionAffinity",
            "sessionAffinity",
            spec.session_affinity.as_ref(),
            &["None", "ClientIP"][..],
            "None counts instead",
        ),
    ];
    for (reason, field, written, known, instead) in single.into_iter().chain(families) {
        if let Some(written) = written.filter(|word| !word.is_empty() && !known.contains(&word.as_str())) {
            let message = format!(
                "{field} is {}, which this version of Causeway does not know; {instead}; use {}, or upgrade Causeway",
                short(written),
                known.join(" or ")
            );
            complain(found, reason, message);
        }
    }
}

fn virtual_addresses(spec: &v1::ServiceSpec, found: &mut Vec<Complaint>) -> Vec<IpAddr> {
    let mut vips: Vec<IpAddr> = Vec::new();
    let mut unreadable = Vec::new();
    let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    for text in listed.filter(|text| !matches!(text.as_str(), "" | "None")) {
        match text.parse::<IpAddr>() {
            Ok(ip) if vips.iter().any(|known| known.is_ipv4() == ip.is_ipv4()) => {}
            Ok(ip) => vips.push(ip),
            Err(_) if unreadable.contains(text) => {}
            Err(_) => unreadable.push(text.clone()),
        }
    }
    if !unreadable.is_empty() {
        let message = format!(
            "{} can be read as no IP address; nobody can dial the service there; recreate the service",
            some(&unreadable)
        );
        complain(found, "ServiceIPUnparsable", message);
    }
    vips
}

/// Whether the service has IPv4 and IPv6: as it says, else as its addresses are, else both.
fn families(spec: &v1::ServiceSpec, vips: &[IpAddr]) -> (bool, bool) {
    match spec.ip_families.as_deref() {
        Some(listed @ [_, ..]) => {
            (listed.iter().any(|family| family == "IPv4"), listed.iter().any(|family| family == "IPv6"))
        }
        _ if vips.is_empty() => (true, true),
        _ => (vips.iter().any(IpAddr::is_ipv4), vips.iter().any(IpAddr::is_ipv6)),
    }
}
