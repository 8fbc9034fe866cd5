//! What a Service asks of its own cluster beyond virtual addresses: who may answer whom, and where else it is dialled.

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Access, Hints, NodePort, Port, ServicePort};

use super::complaint::{complain, some};
use super::sources::source_ranges;
use crate::Complaint;

/// The label that hands a service to another proxy.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// The annotations that ask for hints, the newer one first.
const TOPOLOGY_MODE: [&str; 2] =
    ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];
/// Kubernetes' seconds of session affinity where nobody says.
const AFFINITY_SECONDS: u32 = 10_800;
/// The longest session affinity that Kubernetes allows.
const LONGEST_AFFINITY: u32 = 86_400;

/// `ports` are those that could be read.
pub(super) fn access(
    metadata: &ObjectMeta,
    spec: &v1::ServiceSpec,
    status: Option<&v1::ServiceStatus>,
    ports: &[ServicePort],
    found: &mut Vec<Complaint>,
) -> Access {
    let local = |policy: Option<&String>| policy.is_some_and(|policy| policy == "Local");
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let outside = balanced || spec.type_.as_deref() == Some("NodePort");
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let ingress = status.and_then(|status| status.load_balancer.as_ref()).and_then(|lb| lb.ingress.as_ref());
    let ingress = ingress.into_iter().flatten().filter(|_| balanced);
    // ipMode `Proxy`: the load balancer is to see this traffic, so it is not ours to shorten.
    let answered = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    let external_local = local(spec.external_traffic_policy.as_ref());
    Access {
        internal_local: local(spec.internal_traffic_policy.as_ref()),
        external_local,
        session_affinity: affinity.then(|| affinity_seconds(spec, found)),
        node_ports: if outside { node_ports(spec, ports, found) } else { Vec::new() },
        external_ips: addresses("externalIPs", external, found),
        load_balancer_ips: addresses(
            "the load balancer's addresses",
            answered.filter_map(|ingress| ingress.ip.as_deref()),
            found,
        ),
        source_ranges: if balanced { source_ranges(spec, found) } else { None },
        health_check_node_port: if balanced && external_local { health_check(spec, found) } else { None },
        other_proxy: metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY)),
    }
}

/// What Kubernetes' controller would write as hints for the service's ready endpoints. Where the annotation asks for some,
/// `trafficDistribution` has no say (its `canUseTrafficDistribution`).
pub(super) fn hints(metadata: &ObjectMeta, spec: &v1::ServiceSpec) -> Hints {
    let annotations = metadata.annotations.as_ref();
    let mode = TOPOLOGY_MODE.iter().find_map(|key| annotations?.get(*key));
    if mode.is_some_and(|mode| mode == "Auto" || mode == "auto") {
        return Hints::OwnZone;
    }
    match spec.traffic_distribution.as_deref() {
        Some("PreferSameNode") => Hints::OwnNode,
        Some("PreferSameZone" | "PreferClose") => Hints::OwnZone,
        _ => Hints::None,
    }
}

fn affinity_seconds(spec: &v1::ServiceSpec, found: &mut Vec<Complaint>) -> u32 {
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(written) = client.and_then(|client| client.timeout_seconds) else { return AFFINITY_SECONDS };
    let seconds = u32::try_from(written).ok().filter(|seconds| (1..=LONGEST_AFFINITY).contains(seconds));
    seconds.unwrap_or_else(|| {
        let message = format!(
            "the timeoutSeconds of its session affinity are {written}; {AFFINITY_SECONDS} count instead; write 1 to \
             {LONGEST_AFFINITY}"
        );
        complain(found, "AffinityTimeoutOutOfRange", message);
        AFFINITY_SECONDS
    })
}

fn node_ports(spec: &v1::ServiceSpec, ports: &[ServicePort], found: &mut Vec<Complaint>) -> Vec<NodePort> {
    let mut node_ports: Vec<NodePort> = Vec::new();
    // 0 is how Go writes that there is none.
    for port in spec.ports.iter().flatten().filter(|port| port.node_port.is_some_and(|number| number != 0)) {
        let (name, number) = (port.name.as_deref().unwrap_or_default(), port.node_port.unwrap_or_default());
        let is = |known: &&ServicePort| known.name == name && i32::from(known.port.get()) == port.port;
        let Some(known) = ports.iter().find(is) else { continue };
        let Some(node_port) = u16::try_from(number).ok().and_then(Port::new) else {
            let message = format!(
                "the nodePort {number} of port {} is none; the port is dialled at no node, but at the service's own \
                 addresses; write 1 to 65535 (Kubernetes gives out 30000 to 32767)",
                known.port
            );
            complain(found, "NodePortOutOfRange", message);
            continue;
        };
        if node_ports.iter().any(|other| (other.protocol, other.node_port) == (known.protocol, node_port)) {
            let message = format!(
                "two of its ports have the nodePort {node_port}/{}; the first of them counts; give the other its own",
                known.protocol
            );
            complain(found, "NodePortTwice", message);
            continue;
        }
        node_ports.push(NodePort { port: known.port, protocol: known.protocol, node_port });
    }
    node_ports
}

/// 0 is how Go writes that there is none.
fn health_check(spec: &v1::ServiceSpec, found: &mut Vec<Complaint>) -> Option<Port> {
    let written = spec.health_check_node_port.filter(|number| *number != 0)?;
    let port = u16::try_from(written).ok().and_then(Port::new);
    if port.is_none() {
        let message = format!(
            "the healthCheckNodePort {written} is none; load balancers cannot ask nodes for the service's endpoints; \
             write 1 to 65535 (Kubernetes gives out 30000 to 32767)"
        );
        complain(found, "HealthCheckNodePortOutOfRange", message);
    }
    port
}

fn addresses<'a>(
    what: &str,
    written: impl Iterator<Item = &'a str>,
    found: &mut Vec<Complaint>,
) -> Vec<IpAddr> {
    let (mut ips, mut unusable) = (Vec::new(), Vec::new());
    for text in written {
        match text.parse::<IpAddr>() {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) if !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() => ips.push(ip),
            _ => unusable.push(text.to_string()),
        }
    }
    if !unusable.is_empty() {
        let message = format!(
            "{} among {what} can be no address of a service; nobody can dial it there, the others work; write addresses \
             that clients reach",
            some(&unusable)
        );
        complain(found, "ServiceIPUnusable", message);
    }
    ips
}
