//! Policies as the objects that Kubernetes would be given: so that situations can be applied to a cluster.

use ipnet::IpNet;
use model::policy::{
    NamespaceChoice, Operator, PodSelector, Policy, PolicyAction, PolicyPeer, PolicyPort, PolicyRule,
    PolicySubject, PolicyTier, Selector,
};
use serde_json::{Value, json};

/// The object (JSON, which is YAML) that says what a policy says. `ranges` gives what stands for a range of addresses, for a
/// cluster whose pods have others than the scene's.
///
/// # Panics
/// Where the situations do not go: for Cilium's kinds, and for peers that are no pods and no addresses.
pub fn manifest(policy: &Policy, ranges: &dyn Fn(IpNet) -> Vec<IpNet>) -> Value {
    let PolicySubject::Pods(subject) = &policy.subject else { panic!("{}: nodes", policy.name) };
    let (api_version, mut spec) = match policy.tier {
        PolicyTier::Namespace => {
            let mut types = Vec::new();
            types.extend(policy.ingress.is_some().then_some("Ingress"));
            types.extend(policy.egress.is_some().then_some("Egress"));
            ("networking.k8s.io/v1", json!({"podSelector": selector(&subject.pods), "policyTypes": types}))
        }
        PolicyTier::Admin { priority } | PolicyTier::Baseline { priority } => {
            let admin = matches!(policy.tier, PolicyTier::Admin { .. });
            let tier = if admin { "Admin" } else { "Baseline" };
            let spec = json!({"tier": tier, "priority": priority, "subject": pods(subject)});
            ("policy.networking.k8s.io/v1alpha2", spec)
        }
    };
    for (direction, side, rules) in [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)] {
        let Some(rules) = rules else { continue };
        let rules = rules.iter().map(|its| match policy.tier {
            PolicyTier::Namespace => network(its, side, &policy.name.namespace, ranges),
            _ => cluster(its, side, ranges),
        });
        spec[direction] = rules.collect();
    }
    let mut metadata = json!({"name": policy.name.name});
    if !policy.name.namespace.is_empty() {
        metadata["namespace"] = policy.name.namespace.clone().into();
    }
    json!({"apiVersion": api_version, "kind": policy.name.kind.as_str(), "metadata": metadata, "spec": spec})
}

fn selector(selector: &Selector) -> Value {
    let one = |its: &model::policy::Requirement| match &its.operator {
        Operator::In(values) => json!({"key": its.key, "operator": "In", "values": values}),
        Operator::NotIn(values) => json!({"key": its.key, "operator": "NotIn", "values": values}),
        Operator::Exists => json!({"key": its.key, "operator": "Exists"}),
        Operator::DoesNotExist => json!({"key": its.key, "operator": "DoesNotExist"}),
    };
    match &selector.requirements[..] {
        [] => json!({}),
        some => json!({"matchExpressions": some.iter().map(one).collect::<Value>()}),
    }
}

/// Pods, as ClusterNetworkPolicy names them.
fn pods(of: &PodSelector) -> Value {
    let NamespaceChoice::Selected(namespaces) = &of.namespaces else { panic!("a namespace by its name") };
    match of.pods.requirements[..] {
        [] => json!({"namespaces": selector(namespaces)}),
        _ => {
            json!({"pods": {"namespaceSelector": selector(namespaces), "podSelector": selector(&of.pods)}})
        }
    }
}

fn network(rule: &PolicyRule, side: &str, own: &str, ranges: &dyn Fn(IpNet) -> Vec<IpNet>) -> Value {
    let mut said = json!({});
    let peer = |its: &PolicyPeer| match its {
        PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Named(name), pods }) => {
            assert_eq!(name, own, "without a selector of namespaces a policy means its own");
            vec![json!({"podSelector": selector(pods)})]
        }
        PolicyPeer::Pods(PodSelector { namespaces: NamespaceChoice::Selected(namespaces), pods }) => {
            let mut peer = json!({"namespaceSelector": selector(namespaces)});
            if !pods.requirements.is_empty() {
                peer["podSelector"] = selector(pods);
            }
            vec![peer]
        }
        PolicyPeer::Networks { ranges: some, except } => {
            let except: Vec<IpNet> = except.iter().flat_map(|its| ranges(*its)).collect();
            let some = some.iter().flat_map(|its| ranges(*its));
            let block = |range: IpNet| {
                let inside: Vec<String> =
                    except.iter().filter(|its| range.contains(*its)).map(ToString::to_string).collect();
                json!({"ipBlock": {"cidr": range.to_string(), "except": inside}})
            };
            some.map(block).collect()
        }
        other => panic!("{other:?} in a NetworkPolicy"),
    };
    if let Some(peers) = &rule.peers {
        said[side] = peers.iter().flat_map(peer).collect();
    }
    let port = |its: &PolicyPort| match its {
        PolicyPort::Ports { protocol, first: 0, last: u16::MAX } => json!({"protocol": word(*protocol)}),
        PolicyPort::Ports { protocol, first, last } if first == last => {
            json!({"protocol": word(*protocol), "port": first})
        }
        PolicyPort::Ports { protocol, first, last } => {
            json!({"protocol": word(*protocol), "port": first, "endPort": last})
        }
        PolicyPort::Named { protocol, name } => {
            let protocol = protocol.expect("a NetworkPolicy's port has a protocol");
            json!({"protocol": word(protocol), "port": name})
        }
        PolicyPort::Icmp { .. } => panic!("ICMP in a NetworkPolicy"),
    };
    if let Some(ports) = &rule.ports {
        said["ports"] = ports.iter().map(port).collect();
    }
    said
}

fn cluster(rule: &PolicyRule, side: &str, ranges: &dyn Fn(IpNet) -> Vec<IpNet>) -> Value {
    let peer = |its: &PolicyPeer| match its {
        PolicyPeer::Pods(some) => pods(some),
        PolicyPeer::Networks { ranges: some, .. } => {
            let some = some.iter().flat_map(|its| ranges(*its)).map(|its| its.to_string());
            json!({"networks": some.collect::<Value>()})
        }
        PolicyPeer::Nodes(nodes) => json!({"nodes": selector(nodes)}),
        other => panic!("{other:?} in a situation"),
    };
    let action = match rule.action {
        PolicyAction::Accept => "Accept",
        PolicyAction::Deny => "Deny",
        PolicyAction::Pass => "Pass",
    };
    let peers = rule.peers.as_ref().expect("a ClusterNetworkPolicy's rule says whom it is about");
    let mut said = json!({"action": action});
    said[side] = peers.iter().map(peer).collect();
    let port = |its: &PolicyPort| match its {
        PolicyPort::Ports { protocol, first, last } => {
            let name = word(*protocol).to_lowercase();
            let port = match (first, last) {
                (0, &u16::MAX) => json!({}),
                _ if first == last => json!({"destinationPort": {"number": first}}),
                _ => json!({"destinationPort": {"range": {"start": first, "end": last}}}),
            };
            json!({name: port})
        }
        PolicyPort::Named { name, .. } => json!({"destinationNamedPort": name}),
        PolicyPort::Icmp { .. } => panic!("ICMP in a ClusterNetworkPolicy"),
    };
    if let Some(ports) = &rule.ports {
        said["protocols"] = ports.iter().map(port).collect();
    }
    said
}

fn word(protocol: model::Protocol) -> String {
    protocol.to_string().to_uppercase()
}
