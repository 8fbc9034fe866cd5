//! Policies: what Kubernetes itself would refuse.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    At, PROTOCOLS, Result, exactly_one, in_range, one_of, port_number, port_or_name, range, required,
    selector, syntactic,
};
use crate::manifest::policy::{
    ClusterNetworkPolicy, EgressPeer, NamespacedPod, PolicyProtocol, PortMatch, Subject,
};
use crate::manifest::syntax::Syntax;

/// How many rules a ClusterNetworkPolicy has at most in each direction.
const RULES: usize = 25;
const ACTIONS: &[&str] = &["Accept", "Deny", "Pass"];

pub(super) fn check(at: At<'_>, policy: &NetworkPolicy) -> Result {
    required(at, "spec")?;
    let Some(spec) = &policy.spec else { return Ok(()) };
    if let Some(pods) = &spec.pod_selector {
        selector(at, "spec.podSelector", pods)?;
    }
    for (n, type_) in spec.policy_types.iter().flatten().enumerate() {
        one_of(at, &format!("spec.policyTypes[{n}]"), Some(type_), &["Ingress", "Egress"])?;
    }
    for (n, rule) in spec.ingress.iter().flatten().enumerate() {
        let path = format!("spec.ingress[{n}]");
        peers(at, &format!("{path}.from"), rule.from.as_deref())?;
        ports(at, &path, rule.ports.as_deref())?;
    }
    for (n, rule) in spec.egress.iter().flatten().enumerate() {
        let path = format!("spec.egress[{n}]");
        peers(at, &format!("{path}.to"), rule.to.as_deref())?;
        ports(at, &path, rule.ports.as_deref())?;
    }
    Ok(())
}

fn peers(at: At<'_>, path: &str, peers: Option<&[NetworkPolicyPeer]>) -> Result {
    for (n, peer) in peers.into_iter().flatten().enumerate() {
        let path = format!("{path}[{n}]");
        let selects = peer.namespace_selector.is_some() || peer.pod_selector.is_some();
        exactly_one(
            at,
            &path,
            &[("ipBlock", peer.ip_block.is_some()), ("namespaceSelector/podSelector", selects)],
        )?;
        let selectors =
            [("namespaceSelector", &peer.namespace_selector), ("podSelector", &peer.pod_selector)];
        for (name, wanted) in selectors {
            if let Some(wanted) = wanted {
                selector(at, &format!("{path}.{name}"), wanted)?;
            }
        }
        if let Some(block) = &peer.ip_block {
            let whole = range(at, &format!("{path}.ipBlock.cidr"), &block.cidr)?;
            for (m, text) in block.except.iter().flatten().enumerate() {
                let path = format!("{path}.ipBlock.except[{m}]");
                let part: IpNet = range(at, &path, text)?;
                if !whole.contains(&part) || whole.prefix_len() == part.prefix_len() {
                    let what = format!("{part} is not a part of {whole}");
                    return Err(at.error(&path, what, "a smaller range inside it"));
                }
            }
        }
    }
    Ok(())
}

fn ports(at: At<'_>, rule: &str, ports: Option<&[NetworkPolicyPort]>) -> Result {
    for (n, port) in ports.into_iter().flatten().enumerate() {
        let path = |field: &str| format!("{rule}.ports[{n}].{field}");
        one_of(at, &path("protocol"), port.protocol.as_deref(), PROTOCOLS)?;
        if let Some(port) = &port.port {
            port_or_name(at, &path("port"), port)?;
        }
        let Some(end) = port.end_port else { continue };
        port_number(at, &path("endPort"), end)?;
        if !matches!(port.port, Some(IntOrString::Int(start)) if start <= end) {
            let what = "the end of a range without a number at its start that is not above it";
            return Err(at.error(&path("endPort"), what, "`port` with the first number of the range"));
        }
    }
    Ok(())
}

pub(super) fn check_cluster(at: At<'_>, policy: &ClusterNetworkPolicy) -> Result {
    let spec = &policy.spec;
    one_of(at, "spec.tier", Some(&spec.tier), &["Admin", "Baseline"])?;
    in_range(at, "spec.priority", spec.priority.into(), 0, 1000)?;
    subject(at, "spec.subject", &spec.subject)?;
    for (direction, rules) in
        [("ingress", spec.ingress.as_ref().map(Vec::len)), ("egress", spec.egress.as_ref().map(Vec::len))]
    {
        if let Some(rules) = rules.filter(|rules| *rules > RULES) {
            let what = format!("{rules} rules are more than the {RULES} there can be");
            return Err(at.error(&format!("spec.{direction}"), what, "several policies"));
        }
    }
    for (n, rule) in spec.ingress.iter().flatten().enumerate() {
        let path = format!("spec.ingress[{n}]");
        one_of(at, &format!("{path}.action"), Some(&rule.action), ACTIONS)?;
        for (m, peer) in rule.from.iter().enumerate() {
            subject(at, &format!("{path}.from[{m}]"), peer)?;
        }
        protocols(at, &path, rule.protocols.as_deref())?;
    }
    for (n, rule) in spec.egress.iter().flatten().enumerate() {
        let path = format!("spec.egress[{n}]");
        one_of(at, &format!("{path}.action"), Some(&rule.action), ACTIONS)?;
        for (m, peer) in rule.to.iter().enumerate() {
            egress_peer(at, &format!("{path}.to[{m}]"), peer, &rule.action)?;
        }
        protocols(at, &path, rule.protocols.as_deref())?;
    }
    Ok(())
}

fn subject(at: At<'_>, path: &str, subject: &Subject) -> Result {
    exactly_one(at, path, &[("namespaces", subject.namespaces.is_some()), ("pods", subject.pods.is_some())])?;
    choice(at, path, subject.namespaces.as_ref(), subject.pods.as_ref())
}

fn choice(
    at: At<'_>,
    path: &str,
    namespaces: Option<&LabelSelector>,
    pods: Option<&NamespacedPod>,
) -> Result {
    if let Some(namespaces) = namespaces {
        selector(at, &format!("{path}.namespaces"), namespaces)?;
    }
    let Some(pods) = pods else { return Ok(()) };
    selector(at, &format!("{path}.pods.namespaceSelector"), &pods.namespace_selector)?;
    selector(at, &format!("{path}.pods.podSelector"), &pods.pod_selector)
}

fn egress_peer(at: At<'_>, path: &str, peer: &EgressPeer, action: &str) -> Result {
    let given = [
        ("namespaces", peer.namespaces.is_some()),
        ("pods", peer.pods.is_some()),
        ("nodes", peer.nodes.is_some()),
        ("networks", peer.networks.is_some()),
        ("domainNames", peer.domain_names.is_some()),
    ];
    exactly_one(at, path, &given)?;
    choice(at, path, peer.namespaces.as_ref(), peer.pods.as_ref())?;
    if let Some(nodes) = &peer.nodes {
        selector(at, &format!("{path}.nodes"), nodes)?;
    }
    for (n, text) in peer.networks.iter().flatten().enumerate() {
        range(at, &format!("{path}.networks[{n}]"), text)?;
    }
    if peer.domain_names.is_some() && action != "Accept" {
        let what = format!("names cannot be told apart well enough to {action} them");
        return Err(at.error(&format!("{path}.domainNames"), what, "them in a rule with `action: Accept`"));
    }
    Ok(())
}

fn protocols(at: At<'_>, rule: &str, protocols: Option<&[PolicyProtocol]>) -> Result {
    for (n, protocol) in protocols.into_iter().flatten().enumerate() {
        let path = format!("{rule}.protocols[{n}]");
        let PolicyProtocol { tcp, udp, sctp, destination_named_port } = protocol;
        let given = [
            ("tcp", tcp.is_some()),
            ("udp", udp.is_some()),
            ("sctp", sctp.is_some()),
            ("destinationNamedPort", destination_named_port.is_some()),
        ];
        exactly_one(at, &path, &given)?;
        for (name, ports) in [("tcp", tcp), ("udp", udp), ("sctp", sctp)] {
            if let Some(PortMatch { destination_port: Some(choice) }) = ports {
                let path = format!("{path}.{name}.destinationPort");
                exactly_one(
                    at,
                    &path,
                    &[("number", choice.number.is_some()), ("range", choice.range.is_some())],
                )?;
                if let Some(number) = choice.number {
                    port_number(at, &format!("{path}.number"), number)?;
                }
                if let Some(range) = &choice.range {
                    port_number(at, &format!("{path}.range.start"), range.start)?;
                    in_range(at, &format!("{path}.range.end"), range.end.into(), range.start.into(), 65535)?;
                }
            }
        }
        if let Some(name) = destination_named_port {
            syntactic(at, &format!("{path}.destinationNamedPort"), name, Syntax::PortName)?;
        }
    }
    Ok(())
}
