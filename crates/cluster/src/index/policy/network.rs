//! NetworkPolicy: `networking.k8s.io/v1`.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::policy::{
    NamespaceChoice, PodSelector, Policy, PolicyAction, PolicyName, PolicyPeer, PolicyPort, PolicyRule,
    PolicyTier, Selector,
};

use super::parts::{all_of, number, numbers, part_of, protocol, range, ranges, selector, syntactic};
use super::{Refused, Result};
use crate::index::complaint::short;
use crate::manifest::syntax::Syntax;

pub(super) fn policy(name: PolicyName, distribute: bool, object: &NetworkPolicy) -> Result<Policy> {
    let empty = NetworkPolicySpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let own = || NamespaceChoice::Named(name.namespace.clone());
    let pods = spec.pod_selector.as_ref().map(|pods| selector("spec.podSelector", pods)).transpose()?;
    let subject = PodSelector { namespaces: own(), pods: pods.unwrap_or_default() }.into();
    let (about_ingress, about_egress) = directions(spec)?;
    let ingress = spec.ingress.iter().flatten().enumerate().map(|(n, one)| {
        rule(&format!("spec.ingress[{n}]"), ("from", one.from.as_deref()), one.ports.as_deref(), &own)
    });
    let egress = spec.egress.iter().flatten().enumerate().map(|(n, one)| {
        rule(&format!("spec.egress[{n}]"), ("to", one.to.as_deref()), one.ports.as_deref(), &own)
    });
    let (ingress, egress): (Vec<_>, Vec<_>) =
        (ingress.collect::<Result<_>>()?, egress.collect::<Result<_>>()?);
    Ok(Policy {
        tier: PolicyTier::Namespace,
        distribute,
        subject,
        ingress: about_ingress.then_some(ingress),
        egress: about_egress.then_some(egress),
        name,
    })
}

/// Which directions it is about. Where it does not say: what is sent to its pods, and what they send if there are rules for
/// that.
fn directions(spec: &NetworkPolicySpec) -> Result<(bool, bool)> {
    let Some(types) = spec.policy_types.as_deref().filter(|types| !types.is_empty()) else {
        return Ok((true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())));
    };
    for (n, written) in types.iter().enumerate() {
        if !["Ingress", "Egress"].contains(&written.as_str()) {
            let what = format!("{} is neither Ingress nor Egress", short(written));
            return Err(Refused::new(format!("spec.policyTypes[{n}]"), what));
        }
    }
    let has = |word: &str| types.iter().any(|written| written == word);
    Ok((has("Ingress"), has("Egress")))
}

fn rule(
    path: &str,
    (field, peers): (&str, Option<&[NetworkPolicyPeer]>),
    ports: Option<&[NetworkPolicyPort]>,
    own: &impl Fn() -> NamespaceChoice,
) -> Result<PolicyRule> {
    // Nobody is named: everybody is meant.
    let peers = peers.filter(|peers| !peers.is_empty()).map(|peers| {
        let peers = peers.iter().enumerate();
        peers.map(|(n, one)| peer(&format!("{path}.{field}[{n}]"), one, own)).collect::<Result<_>>()
    });
    let ports = ports.filter(|ports| !ports.is_empty()).map(|ports| {
        let ports = ports.iter().enumerate();
        ports.map(|(n, one)| port(&format!("{path}.ports[{n}]"), one)).collect::<Result<_>>()
    });
    Ok(PolicyRule {
        path: path.into(),
        name: String::new(),
        action: PolicyAction::Accept,
        peers: peers.transpose()?,
        ports: ports.transpose()?,
    })
}

fn peer(path: &str, peer: &NetworkPolicyPeer, own: &impl Fn() -> NamespaceChoice) -> Result<PolicyPeer> {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => networks(&format!("{path}.ipBlock"), block),
        (None, None, None) => {
            let what = "it selects nobody that this version knows of; write ipBlock, namespaceSelector or podSelector";
            Err(Refused::new(path, what))
        }
        (Some(_), _, _) => {
            Err(Refused::new(path, "ipBlock beside a selector; write each as an entry of its own"))
        }
        (None, namespaces, pods) => {
            let namespaces = match namespaces {
                Some(written) => {
                    NamespaceChoice::Selected(selector(&format!("{path}.namespaceSelector"), written)?)
                }
                None => own(),
            };
            let pods = match pods {
                Some(written) => selector(&format!("{path}.podSelector"), written)?,
                None => Selector::default(),
            };
            Ok(PolicyPeer::Pods(PodSelector { namespaces, pods }))
        }
    }
}

fn networks(path: &str, block: &IPBlock) -> Result<PolicyPeer> {
    let whole = range(&format!("{path}.cidr"), &block.cidr)?;
    let except = block.except.iter().flatten().enumerate();
    let except = ranges(except.map(|(n, text)| part_of(&format!("{path}.except[{n}]"), &whole, text)))?;
    Ok(PolicyPeer::Networks { ranges: vec![whole], except })
}

fn port(path: &str, port: &NetworkPolicyPort) -> Result<PolicyPort> {
    let protocol = protocol(&format!("{path}.protocol"), port.protocol.as_deref())?;
    let (at, end) = (format!("{path}.port"), format!("{path}.endPort"));
    match (&port.port, port.end_port) {
        (None, None) => Ok(all_of(protocol)),
        (Some(IntOrString::Int(first)), last) => {
            let first = number(&at, *first)?;
            numbers(&end, protocol, first, last.unwrap_or_else(|| first.into()))
        }
        (Some(IntOrString::String(name)), None) => {
            syntactic(&at, name, Syntax::PortName)?;
            Ok(PolicyPort::Named { protocol: Some(protocol), name: name.clone() })
        }
        (None | Some(IntOrString::String(_)), Some(_)) => {
            Err(Refused::new(end, "the end of a range without a number at its beginning; write `port`"))
        }
    }
}
