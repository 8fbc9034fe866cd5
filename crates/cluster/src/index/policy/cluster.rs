//! ClusterNetworkPolicy: `policy.networking.k8s.io/v1alpha2`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::Protocol;
use model::policy::{
    NamespaceChoice, PodSelector, Policy, PolicyAction, PolicyName, PolicyPeer, PolicyPort, PolicyRule,
    PolicyTier, Selector,
};

use super::parts::{all_of, number, numbers, range, ranges, selector, syntactic};
use super::{Refused, Result};
use crate::index::complaint::short;
use crate::manifest::policy::{
    ClusterNetworkPolicy, EgressPeer, NamespacedPod, PolicyProtocol, PortMatch, Subject,
};
use crate::manifest::syntax::Syntax;

/// The last priority of a tier.
const LAST: u16 = 1000;
/// The longest name of a rule, in characters.
const LONGEST_NAME: usize = 100;

pub(super) fn policy(name: PolicyName, distribute: bool, object: &ClusterNetworkPolicy) -> Result<Policy> {
    let spec = &object.spec;
    let priority = u16::try_from(spec.priority).ok().filter(|priority| *priority <= LAST);
    let priority = priority.ok_or_else(|| {
        Refused::new("spec.priority", format!("{} is no priority; write 0 to {LAST}", spec.priority))
    })?;
    let tier = match spec.tier.as_str() {
        "Admin" => PolicyTier::Admin { priority },
        "Baseline" => PolicyTier::Baseline { priority },
        other => {
            let what = format!("{} is no tier; write Admin or Baseline", short(other));
            return Err(Refused::new("spec.tier", what));
        }
    };
    let ingress = spec.ingress.as_ref().map(|rules| {
        let rules = rules.iter().enumerate().map(|(n, one)| {
            let path = format!("spec.ingress[{n}]");
            let from = one.from.iter().enumerate();
            let from =
                from.map(|(m, peer)| subject(&format!("{path}.from[{m}]"), peer).map(PolicyPeer::Pods));
            let peers = some(&format!("{path}.from"), from.collect::<Result<_>>()?)?;
            rule(path, one.name.as_deref(), &one.action, peers, one.protocols.as_deref())
        });
        rules.collect::<Result<_>>()
    });
    let egress = spec.egress.as_ref().map(|rules| {
        let rules = rules.iter().enumerate().map(|(n, one)| {
            let path = format!("spec.egress[{n}]");
            let to = one.to.iter().enumerate();
            let to = to.map(|(m, peer)| egress_peer(&format!("{path}.to[{m}]"), peer, &one.action));
            let peers = some(&format!("{path}.to"), to.collect::<Result<_>>()?)?;
            rule(path, one.name.as_deref(), &one.action, peers, one.protocols.as_deref())
        });
        rules.collect::<Result<_>>()
    });
    Ok(Policy {
        name,
        tier,
        distribute,
        subject: subject("spec.subject", &spec.subject)?.into(),
        ingress: ingress.transpose()?,
        egress: egress.transpose()?,
    })
}

/// A list that must have something in it.
fn some<T>(path: &str, list: Vec<T>) -> Result<Vec<T>> {
    if list.is_empty() {
        return Err(Refused::new(path, "it is empty; write whom the rule is about"));
    }
    Ok(list)
}

fn rule(
    path: String,
    name: Option<&str>,
    action: &str,
    peers: Vec<PolicyPeer>,
    protocols: Option<&[PolicyProtocol]>,
) -> Result<PolicyRule> {
    let action = match action {
        "Accept" => PolicyAction::Accept,
        "Deny" => PolicyAction::Deny,
        "Pass" => PolicyAction::Pass,
        other => {
            let what = format!("{} is no action; write Accept, Deny or Pass", short(other));
            return Err(Refused::new(format!("{path}.action"), what));
        }
    };
    let name = name.unwrap_or_default();
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let what =
            format!("{} is more than {LONGEST_NAME} characters, or has some that show nothing", short(name));
        return Err(Refused::new(format!("{path}.name"), what));
    }
    let ports = protocols.map(|protocols| {
        let at = format!("{path}.protocols");
        let protocols = protocols.iter().enumerate();
        let ports = protocols.map(|(n, one)| port(&format!("{at}[{n}]"), one)).collect::<Result<Vec<_>>>()?;
        some(&at, ports)
    });
    Ok(PolicyRule { name: name.into(), action, peers: Some(peers), ports: ports.transpose()?, path })
}

fn subject(path: &str, subject: &Subject) -> Result<PodSelector> {
    match (&subject.namespaces, &subject.pods) {
        (Some(namespaces), None) => of_namespaces(&format!("{path}.namespaces"), namespaces),
        (None, Some(pods)) => namespaced(&format!("{path}.pods"), pods),
        _ => Err(one_of(path, "namespaces, pods")),
    }
}

fn of_namespaces(path: &str, namespaces: &LabelSelector) -> Result<PodSelector> {
    let namespaces = NamespaceChoice::Selected(selector(path, namespaces)?);
    Ok(PodSelector { namespaces, pods: Selector::default() })
}

fn namespaced(path: &str, pods: &NamespacedPod) -> Result<PodSelector> {
    let namespaces = selector(&format!("{path}.namespaceSelector"), &pods.namespace_selector)?;
    Ok(PodSelector {
        namespaces: NamespaceChoice::Selected(namespaces),
        pods: selector(&format!("{path}.podSelector"), &pods.pod_selector)?,
    })
}

fn egress_peer(path: &str, peer: &EgressPeer, action: &str) -> Result<PolicyPeer> {
    let EgressPeer { namespaces, pods, nodes, networks, domain_names } = peer;
    match (namespaces, pods, nodes, networks, domain_names) {
        (Some(namespaces), None, None, None, None) => {
            of_namespaces(&format!("{path}.namespaces"), namespaces).map(PolicyPeer::Pods)
        }
        (None, Some(pods), None, None, None) => {
            namespaced(&format!("{path}.pods"), pods).map(PolicyPeer::Pods)
        }
        (None, None, Some(nodes), None, None) => {
            selector(&format!("{path}.nodes"), nodes).map(PolicyPeer::Nodes)
        }
        (None, None, None, Some(networks), None) => {
            let path = format!("{path}.networks");
            let written = some(&path, networks.iter().enumerate().collect())?;
            let ranges = ranges(written.into_iter().map(|(n, text)| range(&format!("{path}[{n}]"), text)))?;
            Ok(PolicyPeer::Networks { ranges, except: Vec::new() })
        }
        (None, None, None, None, Some(names)) => {
            let path = format!("{path}.domainNames");
            if action != "Accept" {
                let what = format!(
                    "names cannot be told apart well enough to {action} them; write `action: Accept`"
                );
                return Err(Refused::new(path, what));
            }
            let written = some(&path, names.iter().enumerate().collect())?;
            let names = written.into_iter().map(|(n, text)| domain_name(&format!("{path}[{n}]"), text));
            names.collect::<Result<_>>().map(PolicyPeer::DomainNames)
        }
        _ => Err(one_of(path, "namespaces, pods, nodes, networks, domainNames")),
    }
}

fn one_of(path: &str, fields: &str) -> Refused {
    Refused::new(
        path,
        format!("write exactly one of {fields}; there may be one that this version does not know"),
    )
}

/// A name of DNS, or a wildcard of all names below one; in lower case, without the dot at its end.
fn domain_name(path: &str, written: &str) -> Result<String> {
    let name = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
    let below = name.strip_prefix("*.").unwrap_or(&name);
    let label = |label: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(good)
    };
    if below.contains('.') && name.len() <= 253 && below.split('.').all(label) {
        return Ok(name);
    }
    let what =
        format!("{} is no domain name; write one such as example.com or *.example.com", short(written));
    Err(Refused::new(path, what))
}

fn port(path: &str, protocol: &PolicyProtocol) -> Result<PolicyPort> {
    let PolicyProtocol { tcp, udp, sctp, destination_named_port } = protocol;
    match (tcp, udp, sctp, destination_named_port) {
        (Some(ports), None, None, None) => port_of(&format!("{path}.tcp"), Protocol::Tcp, ports),
        (None, Some(ports), None, None) => port_of(&format!("{path}.udp"), Protocol::Udp, ports),
        (None, None, Some(ports), None) => port_of(&format!("{path}.sctp"), Protocol::Sctp, ports),
        (None, None, None, Some(name)) => {
            syntactic(&format!("{path}.destinationNamedPort"), name, Syntax::PortName)?;
            Ok(PolicyPort::Named { protocol: None, name: name.clone() })
        }
        _ => Err(one_of(path, "tcp, udp, sctp, destinationNamedPort")),
    }
}

fn port_of(path: &str, protocol: Protocol, ports: &PortMatch) -> Result<PolicyPort> {
    let path = format!("{path}.destinationPort");
    let Some(choice) = &ports.destination_port else { return Ok(all_of(protocol)) };
    match (choice.number, &choice.range) {
        (Some(port), None) => {
            let first = number(&format!("{path}.number"), port)?;
            Ok(PolicyPort::Ports { protocol, first, last: first })
        }
        (None, Some(range)) => {
            let first = number(&format!("{path}.range.start"), range.start)?;
            numbers(&format!("{path}.range.end"), protocol, first, range.end)
        }
        _ => Err(one_of(&path, "number, range")),
    }
}
