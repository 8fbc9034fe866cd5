//! Random policies, namespaces and pods, for tests.

use std::collections::BTreeSet;

use ipnet::IpNet;
use model::Protocol;
use model::policy::{
    Labels, NamedPort, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PodName, PodSelector,
    Policy, PolicyAction, PolicyEntity, PolicyKind, PolicyName, PolicyPeer, PolicyPort, PolicyRule,
    PolicySubject, PolicyTier, Requirement, Selector,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::{cluster_name, net, node_name, pair, port};

const LABEL: &str = "[a-z0-9]{1,63}";

pub(super) fn labels() -> impl Strategy<Value = Labels> {
    btree_map("[!-~]{1,317}", "[!-~]{0,63}", 0..4)
}

fn namespace_name() -> impl Strategy<Value = NamespaceName> {
    (cluster_name(), LABEL).prop_map(|(cluster, name)| NamespaceName { cluster, name })
}

pub(super) fn namespace() -> impl Strategy<Value = Namespace> {
    (namespace_name(), labels(), any::<bool>()).prop_map(|(name, labels, shared)| Namespace {
        name,
        labels,
        shared,
    })
}

pub(super) fn pod() -> impl Strategy<Value = Pod> {
    let name = (namespace_name(), LABEL).prop_map(|(namespace, name)| PodName { namespace, name });
    (name, pair(), option::of(node_name()), labels(), vec(port(), 0..3)).prop_map(
        |(name, ips, node, labels, ports)| {
            let named = |(name, protocol, port)| NamedPort { name, protocol, port };
            Pod { name, ips, node, labels, ports: ports.into_iter().map(named).collect() }
        },
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    let values = || btree_set("[a-z]{0,5}", 0..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    btree_set(("[a-z]{1,5}", operator).prop_map(|(key, operator)| Requirement { key, operator }), 0..3)
        .prop_map(|requirements| Selector { requirements: requirements.into_iter().collect() })
}

fn pods() -> impl Strategy<Value = PodSelector> {
    let namespaces =
        prop_oneof![LABEL.prop_map(NamespaceChoice::Named), selector().prop_map(NamespaceChoice::Selected),];
    (namespaces, selector()).prop_map(|(namespaces, pods)| PodSelector { namespaces, pods })
}

fn ranges() -> impl Strategy<Value = Vec<IpNet>> {
    vec(net(), 0..6).prop_map(|nets| nets.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
}

fn peer() -> impl Strategy<Value = PolicyPeer> {
    let entity = prop_oneof![
        Just(PolicyEntity::Cluster),
        Just(PolicyEntity::ClusterMesh),
        Just(PolicyEntity::Host),
        Just(PolicyEntity::RemoteNode),
        Just(PolicyEntity::World),
        Just(PolicyEntity::All),
    ];
    prop_oneof![
        pods().prop_map(PolicyPeer::Pods),
        (ranges(), ranges()).prop_map(|(ranges, except)| PolicyPeer::Networks { ranges, except }),
        selector().prop_map(PolicyPeer::Nodes),
        vec("[a-z.*]{1,20}", 0..3).prop_map(PolicyPeer::DomainNames),
        entity.prop_map(PolicyPeer::Entity),
    ]
}

fn policy_port() -> impl Strategy<Value = PolicyPort> {
    let protocol = || prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    let range = (protocol(), any::<u16>(), any::<u16>()).prop_map(|(protocol, a, b)| PolicyPort::Ports {
        protocol,
        first: a.min(b),
        last: a.max(b),
    });
    prop_oneof![
        range,
        (option::of(protocol()), "[a-z]{1,15}")
            .prop_map(|(protocol, name)| PolicyPort::Named { protocol, name }),
        (any::<bool>(), option::of(any::<u8>())).prop_map(|(v6, kind)| PolicyPort::Icmp { v6, kind }),
    ]
}

fn rule() -> impl Strategy<Value = PolicyRule> {
    let action = prop_oneof![Just(PolicyAction::Accept), Just(PolicyAction::Deny), Just(PolicyAction::Pass)];
    let (peers, ports) = (option::of(vec(peer(), 0..3)), option::of(vec(policy_port(), 0..3)));
    ("[!-~]{1,128}", "[ -~]{0,100}", action, peers, ports)
        .prop_map(|(path, name, action, peers, ports)| PolicyRule { path, name, action, peers, ports })
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let kind = prop_oneof![
        Just(PolicyKind::NetworkPolicy),
        Just(PolicyKind::ClusterNetworkPolicy),
        Just(PolicyKind::CiliumNetworkPolicy),
        Just(PolicyKind::CiliumClusterwideNetworkPolicy),
    ];
    let name =
        (cluster_name(), kind, prop_oneof![Just(String::new()), LABEL.boxed()], "[a-z]{1,9}(\\[[0-9]\\])?")
            .prop_map(|(cluster, kind, namespace, name)| PolicyName { cluster, kind, namespace, name });
    let tier = prop_oneof![
        (0u16..=1000).prop_map(|priority| PolicyTier::Admin { priority }),
        Just(PolicyTier::Namespace),
        (0u16..=1000).prop_map(|priority| PolicyTier::Baseline { priority }),
    ];
    let rules = || option::of(vec(rule(), 0..3));
    let subject =
        prop_oneof![pods().prop_map(PolicySubject::Pods), selector().prop_map(PolicySubject::Nodes),];
    (name, tier, any::<bool>(), subject, rules(), rules()).prop_map(
        |(name, tier, distribute, subject, ingress, egress)| Policy {
            name,
            tier,
            distribute,
            subject,
            ingress,
            egress,
        },
    )
}
