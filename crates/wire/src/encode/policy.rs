//! Policies, namespaces and pods.

use ipnet::IpNet;
use model::policy::{
    NamedPort, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PodName, PodSelector, Policy,
    PolicyAction, PolicyEntity, PolicyKind, PolicyName, PolicyPeer, PolicyPort, PolicyRule, PolicySubject,
    PolicyTier, Requirement, Selector,
};

use super::{encode_ip, encode_node_name, encode_port, encode_protocol};
use crate::pb;

pub(super) fn namespace_name(name: &NamespaceName) -> pb::NamespaceName {
    pb::NamespaceName { cluster: name.cluster.to_string(), name: name.name.clone() }
}

pub(super) fn namespace(namespace: &Namespace) -> pb::Namespace {
    pb::Namespace {
        name: Some(namespace_name(&namespace.name)),
        labels: namespace.labels.clone(),
        shared: namespace.shared,
    }
}

pub(super) fn pod_name(name: &PodName) -> pb::PodName {
    pb::PodName {
        cluster: name.namespace.cluster.to_string(),
        namespace: name.namespace.name.clone(),
        name: name.name.clone(),
    }
}

pub(super) fn pod(pod: &Pod) -> pb::Pod {
    let port = |port: &NamedPort| encode_port(&port.name, port.protocol, port.port);
    pb::Pod {
        name: Some(pod_name(&pod.name)),
        ips: pod.ips.iter().map(encode_ip).collect(),
        node: pod.node.as_ref().map(encode_node_name),
        labels: pod.labels.clone(),
        ports: pod.ports.iter().map(port).collect(),
    }
}

pub(super) fn policy_name(name: &PolicyName) -> pb::PolicyName {
    let kind = match name.kind {
        PolicyKind::NetworkPolicy => pb::PolicyKind::NetworkPolicy,
        PolicyKind::ClusterNetworkPolicy => pb::PolicyKind::ClusterNetworkPolicy,
        PolicyKind::CiliumNetworkPolicy => pb::PolicyKind::CiliumNetworkPolicy,
        PolicyKind::CiliumClusterwideNetworkPolicy => pb::PolicyKind::CiliumClusterwideNetworkPolicy,
    };
    pb::PolicyName {
        cluster: name.cluster.to_string(),
        kind: kind.into(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

pub(super) fn policy(policy: &Policy) -> pb::Policy {
    let (tier, priority) = match policy.tier {
        PolicyTier::Admin { priority } => (pb::PolicyTier::Admin, priority),
        PolicyTier::Namespace => (pb::PolicyTier::Namespace, 0),
        PolicyTier::Baseline { priority } => (pb::PolicyTier::Baseline, priority),
    };
    // Whoever knows no policies about nodes misses the subject, and takes none of it.
    let (subject, nodes) = match &policy.subject {
        PolicySubject::Pods(pods) => (Some(pod_selector(pods)), None),
        PolicySubject::Nodes(nodes) => (None, Some(selector(nodes))),
    };
    let rules = |rules: &Vec<PolicyRule>| pb::PolicyRules { rules: rules.iter().map(rule).collect() };
    pb::Policy {
        name: Some(policy_name(&policy.name)),
        tier: tier.into(),
        priority: priority.into(),
        distribute: policy.distribute,
        subject,
        nodes,
        ingress: policy.ingress.as_ref().map(rules),
        egress: policy.egress.as_ref().map(rules),
    }
}

fn rule(rule: &PolicyRule) -> pb::PolicyRule {
    let action = match rule.action {
        PolicyAction::Accept => pb::PolicyAction::Accept,
        PolicyAction::Deny => pb::PolicyAction::Deny,
        PolicyAction::Pass => pb::PolicyAction::Pass,
    };
    pb::PolicyRule {
        path: rule.path.clone(),
        name: rule.name.clone(),
        action: action.into(),
        peers: rule.peers.as_ref().map(|peers| pb::PolicyPeers { peers: peers.iter().map(peer).collect() }),
        ports: rule.ports.as_ref().map(|ports| pb::PolicyPorts { ports: ports.iter().map(port).collect() }),
    }
}

fn peer(peer: &PolicyPeer) -> pb::PolicyPeer {
    use pb::policy_peer::Peer;
    let peer = match peer {
        PolicyPeer::Pods(pods) => Peer::Pods(pod_selector(pods)),
        PolicyPeer::Networks { ranges, except } => {
            let ((ranges4, ranges6), (except4, except6)) = (packed(ranges), packed(except));
            Peer::Networks(pb::Networks { ranges4, ranges6, except4, except6 })
        }
        PolicyPeer::Nodes(nodes) => Peer::Nodes(selector(nodes)),
        PolicyPeer::DomainNames(names) => Peer::DomainNames(pb::DomainNames { names: names.clone() }),
        PolicyPeer::Entity(entity) => Peer::Entity(
            match entity {
                PolicyEntity::Cluster => pb::PolicyEntity::Cluster,
                PolicyEntity::ClusterMesh => pb::PolicyEntity::ClusterMesh,
                PolicyEntity::Host => pb::PolicyEntity::Host,
                PolicyEntity::RemoteNode => pb::PolicyEntity::RemoteNode,
                PolicyEntity::World => pb::PolicyEntity::World,
                PolicyEntity::All => pb::PolicyEntity::All,
            }
            .into(),
        ),
    };
    pb::PolicyPeer { peer: Some(peer) }
}

/// Ranges one after the other, IPv4's and IPv6's.
fn packed(ranges: &[IpNet]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for range in ranges {
        match range {
            IpNet::V4(range) => {
                v4.extend_from_slice(&range.network().octets());
                v4.push(range.prefix_len());
            }
            IpNet::V6(range) => {
                v6.extend_from_slice(&range.network().octets());
                v6.push(range.prefix_len());
            }
        }
    }
    (v4, v6)
}

fn pod_selector(pods: &PodSelector) -> pb::PodSelector {
    use pb::pod_selector::Namespaces;
    let namespaces = match &pods.namespaces {
        NamespaceChoice::Named(name) => Namespaces::Named(name.clone()),
        NamespaceChoice::Selected(namespaces) => Namespaces::Selected(selector(namespaces)),
    };
    pb::PodSelector { namespaces: Some(namespaces), pods: Some(selector(&pods.pods)) }
}

fn selector(selector: &Selector) -> pb::Selector {
    let requirement = |Requirement { key, operator }: &Requirement| {
        let (operator, values) = match operator {
            Operator::In(values) => (pb::Operator::In, Some(values)),
            Operator::NotIn(values) => (pb::Operator::NotIn, Some(values)),
            Operator::Exists => (pb::Operator::Exists, None),
            Operator::DoesNotExist => (pb::Operator::DoesNotExist, None),
        };
        let values = values.into_iter().flatten().cloned().collect();
        pb::Requirement { key: key.clone(), operator: operator.into(), values }
    };
    pb::Selector { requirements: selector.requirements.iter().map(requirement).collect() }
}

fn port(port: &PolicyPort) -> pb::PolicyPort {
    use pb::policy_port::Port;
    let port = match port {
        PolicyPort::Ports { protocol, first, last } => Port::Range(pb::PortRange {
            protocol: encode_protocol(*protocol).into(),
            first: (*first).into(),
            last: (*last).into(),
        }),
        PolicyPort::Named { protocol, name } => Port::Named(pb::PortName {
            protocol: protocol.map_or(pb::Protocol::Unspecified, encode_protocol).into(),
            name: name.clone(),
        }),
        PolicyPort::Icmp { v6, kind } => Port::Icmp(pb::Icmp { v6: *v6, r#type: kind.map(u32::from) }),
    };
    pb::PolicyPort { port: Some(port) }
}
